// Shared by the kernels for compute capability 9.0a: clusters whose blocks share a stream of weights, and products with
// its stages.
//
// The two blocks of a cluster share the stream: each copies half of a stage to both. A block has one producer warp and
// two consumers, warpgroups that are independent except for the ring.
#ifndef ARASFSR_STREAMING_H
#define ARASFSR_STREAMING_H

#include "hw90.h"
#include "stream.h"

namespace arasfsr {

constexpr int CLUSTER = 2;    // blocks
constexpr int CONSUMERS = 2;  // warpgroups of a block, after the producer's
constexpr int STREAMING_THREADS = (1 + CONSUMERS) * hw::WARPGROUP;
constexpr int AT_A_TIME = CLUSTER * CONSUMERS;  // units of work that a cluster processes at the same time

// The threads of a consumer. Barrier 0 is that of the block.
struct Warpgroup {
    static constexpr int THREADS = hw::WARPGROUP, WARPS = THREADS / hw::WARP;
    static ARASFSR_DEVICE int thread() { return hw::thread() % THREADS; }
    static ARASFSR_DEVICE void barrier() { hw::barrier(hw::thread() / THREADS, THREADS); }

    // Makes what its threads have written to shared memory visible to all of them, and to wgmma.
    static ARASFSR_DEVICE void publish() {
        hw::fence_asynchronous();
        barrier();
    }
};

// Stages of weights in shared memory, filled by the producers of both blocks and released by all their consumers.
class StreamRing {
  public:
    static constexpr int STAGES = 4;
    static constexpr int BYTES = STAGES * Stream::STAGE_BYTES;

    struct Barriers {
        hw::Mbarrier full[STAGES], empty[STAGES];
    };

    ARASFSR_DEVICE StreamRing(unsigned char* base, unsigned char* barriers)
        : base(base), barriers(*reinterpret_cast<Barriers*>(barriers)) {}

    // Called by one thread, before the barrier of the cluster.
    ARASFSR_DEVICE void initialise() const {
        for (int i = 0; i < STAGES; ++i) {
            hw::mbarrier_init(&barriers.full[i], 1);
            hw::mbarrier_init(&barriers.empty[i], CLUSTER * CONSUMERS * Warpgroup::WARPS);
        }
        hw::mbarrier_publish();
    }

    // Fills the ring with stages `first` to `end` of a stream; called by one thread of each block.
    ARASFSR_DEVICE void fill(const unsigned char* stream, int first, int end) {
        for (int stage = first; stage < end; ++stage) fill(stream + stage * Stream::STAGE_BYTES);
    }

    // Fills a stage, of which each block copies a part to all blocks.
    ARASFSR_DEVICE void fill(const unsigned char* stage) {
        constexpr int PART_BYTES = Stream::STAGE_BYTES / CLUSTER;
        const int start = hw::cluster_rank() * PART_BYTES;
        hw::mbarrier_wait(&barriers.empty[place()], parity() ^ 1,  // returns at once in the first phase
                          hw::Awaited::WEIGHTS_READ, place());
        hw::mbarrier_expect(&barriers.full[place()], Stream::STAGE_BYTES);
        hw::copy_bulk(base + place() * Stream::STAGE_BYTES + start, stage + start, PART_BYTES,
                      &barriers.full[place()], (1 << CLUSTER) - 1);
        advance();
    }

    ARASFSR_DEVICE const unsigned char* wait() const {
        hw::mbarrier_wait(&barriers.full[place()], parity(), hw::Awaited::WEIGHTS, place());
        return base + place() * Stream::STAGE_BYTES;
    }

    // Called by every warp when it no longer needs the stage before the current one.
    ARASFSR_DEVICE void release_last() const {
        const int lane = hw::thread() % hw::WARP;
        if (lane < CLUSTER) hw::mbarrier_arrive(&barriers.empty[(place() + STAGES - 1) % STAGES], lane);
    }

    // For a consumer without work: skips that many stages. Only the threads that release a stage wait for it; for
    // others the barrier could be a phase ahead.
    ARASFSR_DEVICE void drain(int stages) {
        const bool releases = hw::thread() % hw::WARP < CLUSTER;
        for (int i = 0; i < stages; ++i) {
            if (releases) wait();
            advance();
            release_last();
        }
    }

    ARASFSR_DEVICE void advance() { ++passed; }

  private:
    ARASFSR_DEVICE int place() const { return static_cast<int>(passed % STAGES); }
    ARASFSR_DEVICE int parity() const { return static_cast<int>(passed / STAGES % 2); }

    unsigned char* const base;
    Barriers& barriers;
    uint32_t passed = 0;  // stages, modulo a power of two: one register for place and parity
};

// A thread's part of a product of 64 x 256.
struct Accumulators {
    float numbers[hw::ACCUMULATORS];

    // Stores function(row, column, x, y, of_column(column)) for every pair x, y of adjacent numbers that this thread
    // holds, x being at (row, column). Calls `of_column` for eight columns before the first result is used.
    template <class OfColumn, class Function>
    ARASFSR_DEVICE void store(const Panels<64, Stream::OUTPUTS>& to, const OfColumn& of_column,
                              const Function& function) const {
        constexpr int AT_ONCE = 8;
        const int thread = Warpgroup::thread(), lane = thread % hw::WARP, first_row = thread / hw::WARP * 16;
        const int row = first_row + lane / 4, column = lane % 4 * 2;
#pragma unroll
        for (int first = 0; first < hw::ACCUMULATORS / 4; first += AT_ONCE) {
            decltype(of_column(0)) ahead[AT_ONCE];
#pragma unroll
            for (int i = 0; i < AT_ONCE; ++i) ahead[i] = of_column(column + (first + i) * 8);
#pragma unroll
            for (int i = 0; i < AT_ONCE; i += 2) {  // 16 x 16 numbers of a warp
                uint32_t matrices[4];
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    const int chunk = first + i + j / 2;
                    const float* pair = numbers + chunk * 4 + j % 2 * 2;
                    matrices[j] =
                        function(row + j % 2 * 8, column + chunk * CHUNK, pair[0], pair[1], ahead[i + j / 2]);
                }
                const auto panel = to.panel((first + i) / 8);  // of eight chunks
                hw::store_matrices(panel.chunk(first_row + lane % 16, (first + i) % 8 + lane / 16), matrices);
            }
        }
    }

    // Calls function(row, column, x, y) for every pair x, y of adjacent numbers that this thread holds. Loads in the
    // function may be moved ahead, but within AT_ONCE numbers only.
    template <int AT_ONCE = hw::ACCUMULATORS, class Function>
    ARASFSR_DEVICE void each_pair(const Function& function) {
        const int thread = Warpgroup::thread(), lane = thread % hw::WARP;
        const int row = thread / hw::WARP * 16 + lane / 4, column = lane % 4 * 2;
#pragma unroll
        for (int i = 0; i < hw::ACCUMULATORS; i += 4) {
            if (i > 0 && i % AT_ONCE == 0) hw::keep_order();
            function(row, column + i * 2, numbers[i], numbers[i + 1]);
            function(row + 8, column + i * 2, numbers[i + 2], numbers[i + 3]);
        }
    }
};

// The index of the thread's consumer in the block.
ARASFSR_DEVICE int consumer_index() { return hw::thread() < hw::WARPGROUP ? 0 : hw::thread() / hw::WARPGROUP - 1; }

// The body of a kernel: in every turn the producers call `produce`, and each consumer calls `consume` with the index of
// its unit of work. In the last turn that may be `units` or above; the consumer then has to drain its stages.
template <class Units, class Produce, class Consume>
ARASFSR_DEVICE void run_cluster(
    const StreamRing& ring, const Units& units, const Produce& produce, const Consume& consume) {
    const auto first = [] { return hw::block() / CLUSTER * AT_A_TIME; };
    const auto step = [] { return hw::blocks() / CLUSTER * AT_A_TIME; };
    const auto rank = [] { return hw::cluster_rank() * CONSUMERS + consumer_index(); };
    if (hw::thread() == 0) ring.initialise();
    hw::cluster_barrier();  // the barriers are ready for copies and arrivals from the other block
    if (hw::thread() < hw::WARPGROUP) {
        hw::give_registers<hw::PRODUCER_REGISTERS>();
        if (hw::thread() == 0) {
            for (int64_t unit = first(); unit < units(); unit += step()) produce();
        }
    } else {
        hw::take_registers<hw::CONSUMER_REGISTERS>();
        for (int64_t unit = first() + rank(); unit - rank() < units(); unit += step()) consume(unit);
    }
    hw::cluster_barrier();  // no thread arrives at the barriers of a block that has exited
}

template <class K, class Arguments>
Kernel<Arguments> streaming_kernel(void (*function)(Arguments)) {
    hw::watch_kernels();
    return {function, K::SHARED_BYTES, K::QUERIES, STREAMING_THREADS, CLUSTER, AT_A_TIME, true};
}

// f of a warpgroup, in the layout that wgmma reads.
using Rows = Panels<64, Stream::OUTPUTS>;

// Whether the kept f, and the gradients z of the layers after the first, have the layout of Rows in global memory too:
// only if no other kernels read them, which is so if weights90.h computes the weights' gradients.
ARASFSR_DEVICE bool kept_as_rows(const arasfsr_problem& problem) { return problem.modulated && problem.layers > 1; }

// Bytes in their order in memory, for fetch_tile.
struct Plain {
    static constexpr int CHUNKS = Rows::CHUNKS;
    unsigned char* base;
    ARASFSR_DEVICE unsigned char* chunk(int row, int index) const {
        return base + (row * CHUNKS + index) * CHUNK_BYTES;
    }
};

// Products of a warpgroup's rows with the ring's next stages.
template <class T>
class StreamedProduct {
  public:
    static constexpr int STEPS = Stream::INPUTS / 16;  // of wgmma with a stage
    static constexpr int STEP = 32 >> 4;               // from one to the next in a descriptor's address

    explicit ARASFSR_DEVICE StreamedProduct(StreamRing& ring) : ring(ring) {}

    // total = W f, or with ADD total += W f, of PANELS times 64 numbers of f.
    template <int PANELS, bool ADD>
    ARASFSR_DEVICE void multiply(Accumulators& total, const Rows& f) {
#pragma unroll
        for (int panel = 0; panel < PANELS; ++panel) start<ADD>(total, f, panel);
        finish(total);
    }

    // Starts the product with a panel of f, and waits for that with the previous panel.
    template <bool ADD>
    ARASFSR_DEVICE void start(Accumulators& total, const Rows& f, int panel) {
        const uint64_t left = hw::swizzled_matrix(f.panel(panel).base);
        const uint64_t right = hw::swizzled_matrix(ring.wait());
        hw::wgmma_fence();
#pragma unroll
        for (int k = 0; k < STEPS; ++k) {
            hw::wgmma(T{}, total.numbers, left + k * STEP, right + k * STEP, ADD || panel + k > 0);
        }
        next_stage(panel == 0);
    }

    // The same with a panel in registers, which is not the first.
    ARASFSR_DEVICE void start(Accumulators& total, const uint32_t (&panel)[STEPS][4]) {
        start(total, panel, [] {});
    }

    // Calls `meanwhile` before it waits for the previous panel.
    template <class Meanwhile>
    ARASFSR_DEVICE void start(
        Accumulators& total, const uint32_t (&panel)[STEPS][4], const Meanwhile& meanwhile) {
        const uint64_t right = hw::swizzled_matrix(ring.wait());
        hw::wgmma_fence();
#pragma unroll
        for (int k = 0; k < STEPS; ++k) hw::wgmma(T{}, total.numbers, panel[k], right + k * STEP);
        hw::wgmma_commit();
        meanwhile();
        last_done(false);
        ring.advance();
    }

    ARASFSR_DEVICE void finish(Accumulators& total) {
        hw::wgmma_finish(total.numbers);
        ring.release_last();
    }

  private:
    // After the products with a stage have been issued: waits for the previous ones, and advances.
    ARASFSR_DEVICE void next_stage(bool first) {
        hw::wgmma_commit();
        last_done(first);
        ring.advance();
    }

    ARASFSR_DEVICE void last_done(bool first) {
        hw::wgmma_wait<1>();
        if (!first) ring.release_last();
    }

    StreamRing& ring;
};

}  // namespace arasfsr
#endif
