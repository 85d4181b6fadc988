// Kernel for compute capability 9.0a: the gradients of the hidden layers' weights and biases at a padded width of 256,
// with modulation: products of z with f and with f s, which is formed in registers, summed over the rows of a chunk.
//
// A block computes the gradients for 64 inputs of a layer: one warpgroup multiplies z by their f, the other by their f
// s. The four blocks that read the same z run at the same time, so that it comes from the L2 cache. Two of them form a
// cluster, and each copies half of z to both: f and z have the same order in global as in shared memory.
#ifndef ARASFSR_WEIGHTS90_H
#define ARASFSR_WEIGHTS90_H

#include "streaming.h"
#include "geometry.h"

namespace arasfsr {

struct WeightArguments {
    arasfsr_problem problem;
    arasfsr_kept kept;
    const void* z;
    float* weights;
    double* biases;
    int64_t splits;
};

template <class T>
class Weights90 {
    static constexpr int NP = Stream::OUTPUTS, ROWS = 64, INPUTS = 64, QUERIES = ROWS / CORNERS;
    static constexpr int HALVES = 2, PANELS = NP / INPUTS;
    using Gradients = Panels<ROWS, NP>;
    using Inputs = Tile<INPUTS>;

    static constexpr int WORKERS = HALVES * hw::WARPGROUP;  // threads; one thread of another warpgroup copies f and z
    static constexpr int WORKERS_BARRIER = 1;

    struct Stage {  // of shared memory
        static constexpr int z = 0;
        static constexpr int f = z + Gradients::BYTES;
        static constexpr int s = f + Inputs::bytes(ROWS);
        static constexpr int end = s + Inputs::bytes(QUERIES);
    };
    static_assert(Stage::end % 1024 == 0, "swizzles repeat every 1024 bytes");

    static constexpr int STAGES = 5;
    static constexpr int AHEAD = STAGES - 2;  // one is being read, and products may still read the one before
    static constexpr int STEPS = ROWS / 16;   // of wgmma with a stage
    static constexpr int STEP = 2048 >> 4;    // from one to the next in a descriptor's address

    struct Barriers {  // full: f and z have arrived; empty: both blocks have read the stage
        hw::Mbarrier full[STAGES], empty[STAGES];
    };

  public:
    static constexpr int THREADS = WORKERS + hw::WARPGROUP;
    static constexpr int SHARED_BYTES = STAGES * Stage::end + static_cast<int>(sizeof(Barriers));
    static_assert(SHARED_BYTES <= 227 * 1024, "more than a block can have");
    static_assert(PANELS % CLUSTER == 0, "the blocks of a cluster must read rows of the same layer");

    // How many parts the rows are split into, so that there are enough blocks for the device.
    static int64_t splits(const arasfsr_problem& problem, int processors) {
        return std::max(processors / (PANELS * std::max(problem.layers - 1, 1)), 1);
    }
    static int64_t blocks(const arasfsr_problem& problem, int64_t splits) {
        return splits * (problem.layers - 1) * PANELS;
    }

    explicit ARASFSR_DEVICE Weights90(const WeightArguments& arguments)
        : call(arguments),
          panel(static_cast<int>(hw::block() % PANELS)),
          layer(static_cast<int>(hw::block() / PANELS % (arguments.problem.layers - 1))),
          split(hw::block() / PANELS / (arguments.problem.layers - 1)) {}

    ARASFSR_DEVICE void run() {
        const int64_t pairs = all_rows() / (2 * ROWS);  // of stages: operands alternate between two sets of registers
        const int64_t first = pairs * split / call.splits * 2, end = pairs * (split + 1) / call.splits * 2;
        if (first == end) return;  // as does the other block of the cluster
        if (hw::thread() == 0) initialise();
        hw::cluster_barrier();  // the barriers are ready for copies and arrivals from the other block
        if (hw::thread() < WORKERS) {
            hw::take_registers<hw::CONSUMER_REGISTERS>();
            work(first, end);
        } else {
            hw::give_registers<hw::PRODUCER_REGISTERS>();
            if (hw::thread() == WORKERS) {
                for (int64_t stage = first; stage < end; ++stage) copy_rows(stage, stage - first);
            }
        }
        hw::cluster_barrier();  // no thread arrives at the barriers of a block that has exited
    }

  private:
    ARASFSR_DEVICE void work(int64_t first, int64_t end) const {
        for (int i = 0; i < AHEAD; ++i) {
            if (first + i < end) load(first + i, i);
            hw::copy_commit();
        }
        Accumulators total;
#pragma unroll
        for (int i = 0; i < hw::ACCUMULATORS; ++i) total.numbers[i] = 0.0f;
        uint32_t inputs[2][STEPS][4];
        hw::Two bias{};
        int reading = 0, parity = 0;
        for (int64_t stage = first; stage < end; stage += 2) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                hw::mbarrier_wait(&barriers().full[reading], parity, hw::Awaited::ROWS, reading);
                multiply(total, inputs[i], bias, stage + i, end, reading, stage > first);
                if (++reading < STAGES) continue;
                reading = 0;
                parity ^= 1;
            }
        }
        hw::wgmma_finish(total.numbers);
        add_weights(total);
        add_biases(bias);
    }

    ARASFSR_DEVICE Barriers& barriers() const { return *reinterpret_cast<Barriers*>(place(STAGES)); }

    ARASFSR_DEVICE void initialise() const {
        for (int i = 0; i < STAGES; ++i) {
            hw::mbarrier_init(&barriers().full[i], 1);
            hw::mbarrier_init(&barriers().empty[i], CLUSTER);
        }
        hw::mbarrier_publish();
    }

    // Called by one thread of each block for a stage that `before` others precede: copies half of z to both blocks, and
    // f.
    ARASFSR_DEVICE void copy_rows(int64_t stage, int64_t before) const {
        constexpr int PART_BYTES = Gradients::BYTES / CLUSTER;
        const int index = static_cast<int>(before % STAGES), parity = static_cast<int>(before / STAGES % 2);
        const int rank = hw::cluster_rank();
        const int64_t rows = (layer * all_rows() + stage * ROWS) * (NP * 2);
        const auto* const z =
            static_cast<const unsigned char*>(call.z) + all_rows() * (NP * 2) + rows + rank * PART_BYTES;
        const auto* const f = static_cast<const unsigned char*>(call.kept.f) + rows + panel * Gradients::PANEL_BYTES;
        hw::mbarrier_wait(&barriers().empty[index], parity ^ 1,  // returns at once in the first phase
                          hw::Awaited::ROWS_READ, index);
        hw::mbarrier_expect(&barriers().full[index], Gradients::BYTES + Gradients::PANEL_BYTES);
        hw::copy_bulk(place(index) + Stage::f, f, Gradients::PANEL_BYTES, &barriers().full[index], 1 << rank);
        hw::copy_bulk(place(index) + Stage::z + rank * PART_BYTES, z, PART_BYTES, &barriers().full[index],
                      (1 << CLUSTER) - 1);
    }

    ARASFSR_DEVICE int64_t padded_queries() const { return call.kept.tiles * ARASFSR_TILE; }
    ARASFSR_DEVICE int64_t all_rows() const { return call.problem.images * padded_queries() * CORNERS; }
    static ARASFSR_DEVICE unsigned char* place(int index) { return hw::shared() + index * Stage::end; }

    // Starts to copy the s of 64 rows to a stage of the ring.
    ARASFSR_DEVICE void load(int64_t stage, int index) const {
        const int thread = hw::thread(), row = thread / Inputs::CHUNKS, chunk = thread % Inputs::CHUNKS;
        if (row >= QUERIES) return;
        const int64_t query = stage * QUERIES % padded_queries();
        const int64_t row_of_s = layer * padded_queries() + query;
        const auto* s = static_cast<const uint16_t*>(call.kept.s) + row_of_s * NP + panel * INPUTS;
        hw::copy16(Inputs{place(index) + Stage::s}.chunk(row, chunk), s + row * NP + chunk * CHUNK);
    }

    // Starts the products with a stage whose f and z have arrived, and waits for those with the previous stage.
    // `others` says whether a stage precedes that one.
    ARASFSR_DEVICE void multiply(Accumulators& total, uint32_t (&inputs)[STEPS][4], hw::Two& bias, int64_t stage,
                                 int64_t end, int reading, bool others) const {
        const int next = (reading + AHEAD) % STAGES;
        hw::copy_wait<AHEAD - 1>();
        hw::barrier(WORKERS_BARRIER, WORKERS);  // s has arrived, and the stage before the last one, `next`, is free
        if (others && hw::thread() < CLUSTER) hw::mbarrier_arrive(&barriers().empty[next], hw::thread());
        if (stage + AHEAD < end) load(stage + AHEAD, next);
        hw::copy_commit();
        read_inputs(inputs, reading);
        const uint64_t right = hw::swizzled_columns(place(reading) + Stage::z, Gradients::PANEL_BYTES);
        hw::wgmma_fence();
#pragma unroll
        for (int k = 0; k < STEPS; ++k) hw::wgmma_by_columns(T{}, total.numbers, inputs[k], right + k * STEP);
        hw::wgmma_commit();
        add_rows(bias, reading);
        hw::wgmma_wait<1>();
    }

    // The left operand: f of 16 inputs for each warp, transposed; in the second warpgroup times s.
    ARASFSR_DEVICE void read_inputs(uint32_t (&inputs)[STEPS][4], int reading) const {
        const int thread = hw::thread(), lane = thread % hw::WARP, warp = thread / hw::WARP % Warpgroup::WARPS;
        const Inputs f{place(reading) + Stage::f}, s{place(reading) + Stage::s};
        const int row = lane / 16 * 8 + lane % 8, chunk = warp * 2 + lane / 8 % 2;
#pragma unroll
        for (int k = 0; k < STEPS; ++k) hw::load_matrices_transposed(inputs[k], f.chunk(row + k * 16, chunk));
        if (thread < hw::WARPGROUP) return;
        const int query = lane % 4 / 2, column = warp * 16 + lane / 4;  // of the lane's first pair of rows
#pragma unroll
        for (int k = 0; k < STEPS; ++k) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const uint32_t factor = s.number(k * 4 + query + i / 2 * 2, column + i % 2 * 8);
                inputs[k][i] = hw::multiply_registers<T>(inputs[k][i], factor | factor << 16);
            }
        }
    }

    // Adds up the rows of the block's 64 outputs of z: a thread has two outputs and every eighth row.
    ARASFSR_DEVICE void add_rows(hw::Two& bias, int reading) const {
        const int thread = hw::thread(), column = thread % hw::WARP * 2, row = thread / hw::WARP;
        const typename Gradients::Panel z = Gradients{place(reading) + Stage::z}.panel(panel);
#pragma unroll
        for (int i = 0; i < ROWS; i += WORKERS / hw::WARP) {
            const uint32_t pair = z.pair(row + i, column);
            bias.x += hw::lower<T>(pair);
            bias.y += hw::upper<T>(pair);
        }
    }

    ARASFSR_DEVICE void add_weights(Accumulators& total) const {
        const int half = hw::thread() / hw::WARPGROUP;
        const int64_t matrix = (split * (call.problem.layers - 1) + layer) * HALVES + half;
        float* const to = call.weights + matrix * (NP * NP) + panel * INPUTS;
        total.each_pair([&](int input, int output, float& x, float& y) {
            to[output * NP + input] += x;
            to[(output + 1) * NP + input] += y;
        });
    }

    ARASFSR_DEVICE void add_biases(const hw::Two& bias) const {
        constexpr int WARPS = WORKERS / hw::WARP;
        float* const all = reinterpret_cast<float*>(hw::shared());
        const int thread = hw::thread();
        hw::barrier(WORKERS_BARRIER, WORKERS);  // all have read the last stage
        *reinterpret_cast<hw::Two*>(all + thread * 2) = bias;
        hw::barrier(WORKERS_BARRIER, WORKERS);
        if (thread >= INPUTS) return;
        float sum = 0.0f;
        for (int warp = 0; warp < WARPS; ++warp) sum += all[warp * INPUTS + thread];
        call.biases[(split * (call.problem.layers - 1) + layer) * NP + panel * INPUTS + thread] += sum;
    }

    const WeightArguments& call;
    const int panel, layer;
    const int64_t split;
};

template <class T>
ARASFSR_KERNEL(Weights90<T>::THREADS, 1) weights90(const ARASFSR_PARAMETER WeightArguments arguments) {
    Weights90<T>(arguments).run();
}

}  // namespace arasfsr
#endif
