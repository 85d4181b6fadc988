// Kernel for compute capability 9.0a: from the LR map G to the picture, or, kept for the backward, to every layer's
// activations, at a width of 256.
//
// Two blocks of a cluster share one stream of weights: each copies half of a stage to both. A block has one producer
// warp and two consumers, warpgroups that know nothing of each other but the ring: each takes tiles of 64 queries in
// turn, their coordinate branch first (64 rows), then for every image their four parts (64 content rows). One's sines
// and epilogues run under the other's products. A product takes f from shared memory and f s from registers.
#ifndef ARASFSR_FORWARD90_H
#define ARASFSR_FORWARD90_H

#include "decoder.h"
#include "hw90.h"
#include "stream.h"

namespace arasfsr {

constexpr int CLUSTER = 2;    // blocks
constexpr int CONSUMERS = 2;  // warpgroups of a block, after the producer's

// The threads of a consumer. Barrier 0 is the block's.
struct Warpgroup {
    static constexpr int THREADS = hw::WARPGROUP, WARPS = THREADS / hw::WARP;
    static ARASFSR_DEVICE int thread() { return hw::thread() % THREADS; }
    static ARASFSR_DEVICE void barrier() { hw::barrier(hw::thread() / THREADS, THREADS); }
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

    // By one thread, before the barrier of the cluster.
    ARASFSR_DEVICE void initialise() const {
        for (int i = 0; i < STAGES; ++i) {
            hw::mbarrier_init(&barriers.full[i], 1);
            hw::mbarrier_init(&barriers.empty[i], CLUSTER * CONSUMERS * Warpgroup::WARPS);
        }
        hw::mbarrier_publish();
    }

    // By one thread of each block, which copies its share of the stage to all of them.
    ARASFSR_DEVICE void fill(const unsigned char* stage) {
        constexpr int SHARE = Stream::STAGE_BYTES / CLUSTER;
        const int start = hw::cluster_rank() * SHARE;
        hw::mbarrier_wait(&barriers.empty[place], parity ^ 1);  // at first, the phase before counts as over
        hw::mbarrier_expect(&barriers.full[place], Stream::STAGE_BYTES);
        hw::copy_bulk(base + place * Stream::STAGE_BYTES + start, stage + start, SHARE, &barriers.full[place],
                      (1 << CLUSTER) - 1);
        advance();
    }

    ARASFSR_DEVICE const unsigned char* wait() const {
        hw::mbarrier_wait(&barriers.full[place], parity);
        return base + place * Stream::STAGE_BYTES;
    }

    // By every warp: it is done with the stage before the present one.
    ARASFSR_DEVICE void release_last() const {
        const int lane = hw::thread() % hw::WARP;
        if (lane < CLUSTER) hw::mbarrier_arrive(&barriers.empty[(place + STAGES - 1) % STAGES], lane);
    }

    ARASFSR_DEVICE void advance() {
        place = (place + 1) % STAGES;
        if (place == 0) parity ^= 1;
    }

  private:
    unsigned char* const base;
    Barriers& barriers;
    int place = 0, parity = 0;
};

// A thread's part of a product of 64 x 256.
struct Accumulators {
    float numbers[hw::ACCUMULATORS];

    // Calls with (row, column, and the numbers there and right of there) for every pair this thread holds.
    template <class Function>
    ARASFSR_DEVICE void each_pair(const Function& function) {
        const int thread = Warpgroup::thread(), lane = thread % hw::WARP;
        const int row = thread / hw::WARP * 16 + lane / 4, column = lane % 4 * 2;
#pragma unroll
        for (int i = 0; i < hw::ACCUMULATORS; i += 4) {
            function(row, column + i * 2, numbers[i], numbers[i + 1]);
            function(row + 8, column + i * 2, numbers[i + 2], numbers[i + 3]);
        }
    }
};

template <class T>
class Forward90 {
    static constexpr int NP = Stream::OUTPUTS, ROWS = 64;
    static constexpr int PARTS = ARASFSR_TILE * CORNERS / ROWS;
    static constexpr int STEPS = Stream::INPUTS / 16;  // of wgmma with a stage
    static constexpr int STEP = 32 >> 4;               // from one to the next in a descriptor's address
    using F = Panels<ROWS, NP>;
    using Layers = Decoder<T, NP, ROWS, Warpgroup, F>;

    static constexpr int S_BYTES = Tile<NP>::bytes(Layers::QUERIES);

    struct Layout {  // of shared memory; what wgmma reads comes first, as swizzles want it aligned
        static constexpr int f = 0;
        static constexpr int ring = f + CONSUMERS * F::BYTES;
        static constexpr int s = ring + StreamRing::BYTES;
        static constexpr int rows = s + CONSUMERS * S_BYTES;
        static constexpr int sums = rows + CONSUMERS * Layers::ROWS_BYTES;
        static constexpr int barriers = sums + CONSUMERS * Layers::SUMS_BYTES;
        static constexpr int end = barriers + static_cast<int>(sizeof(StreamRing::Barriers));
    };

  public:
    static constexpr int SHARED_BYTES = Layout::end, QUERIES = Layers::QUERIES;
    static constexpr int THREADS = (1 + CONSUMERS) * hw::WARPGROUP;
    static constexpr int TILES = CLUSTER * CONSUMERS;  // that a cluster takes at a time
    static_assert(SHARED_BYTES <= 227 * 1024, "what a block can have");
    static_assert(Layout::ring % 1024 == 0, "swizzles repeat every 1024 bytes");

    explicit ARASFSR_DEVICE Forward90(const ForwardArguments& arguments)
        : call(arguments),
          problem(arguments.problem),
          consumer(hw::thread() < hw::WARPGROUP ? 0 : hw::thread() / hw::WARPGROUP - 1),
          layers(arguments, hw::shared() + Layout::f + consumer * F::BYTES,
                 hw::shared() + Layout::s + consumer * S_BYTES,
                 hw::shared() + Layout::rows + consumer * Layers::ROWS_BYTES,
                 hw::shared() + Layout::sums + consumer * Layers::SUMS_BYTES),
          ring(hw::shared() + Layout::ring, hw::shared() + Layout::barriers) {}

    ARASFSR_DEVICE void run() {
        if (hw::thread() == 0) ring.initialise();
        hw::cluster_barrier();  // barriers are there for copies and arrivals from the other block
        if (hw::thread() < hw::WARPGROUP) {
            hw::give_registers<24>();
            if (hw::thread() == 0) each_turn([&](int64_t) { produce(); });
        } else {
            hw::take_registers<240>();
            each_turn([&](int64_t first) { consume(first + hw::cluster_rank() * CONSUMERS + consumer); });
        }
        hw::cluster_barrier();  // nobody arrives at the barriers of a block that has gone
    }

  private:
    // Calls with the first of the cluster's tiles, turn by turn.
    template <class Function>
    ARASFSR_DEVICE void each_turn(const Function& function) {
        const int64_t cluster = hw::block() / CLUSTER, clusters = hw::blocks() / CLUSTER;
        for (int64_t first = cluster * TILES; first < call.kept.tiles; first += clusters * TILES) function(first);
    }

    ARASFSR_DEVICE void produce() {
        const Stream stream = Stream::of(problem);
        const int content = stream.coordinate_stages(), end = stream.stages();
        fill(0, content);
        for (int i = 0; i < problem.images * PARTS; ++i) fill(content, end);
    }

    ARASFSR_DEVICE void fill(int first, int end) {
        for (int stage = first; stage < end; ++stage) ring.fill(call.stream + stage * Stream::STAGE_BYTES);
    }

    // A consumer without a tile takes the last one too, and writes what another does: it may not leave the stream.
    ARASFSR_DEVICE void consume(int64_t given) {
        const int64_t tile = given < call.kept.tiles ? given : call.kept.tiles - 1;
        if (problem.modulated) coordinate_branch(tile);
        for (int which = 0; which < problem.images; ++which) {
            for (int part = 0; part < PARTS; ++part) content_branch(tile, which, part);
        }
    }

    ARASFSR_DEVICE void coordinate_branch(int64_t tile) {
        layers.encode(tile);
        publish();
        {
            Accumulators angles;
            multiply<1, false>(angles);
            sines(angles, tile, 0);
        }
        for (int layer = 1; layer < problem.layers; ++layer) {
            Accumulators angles;
            multiply<Stream::PANELS, false>(angles);
            sines(angles, tile, layer);
        }
        Warpgroup::barrier();  // s is there for all
    }

    ARASFSR_DEVICE void sines(Accumulators& angles, int64_t tile, int layer) {
        Warpgroup::barrier();  // all have read f
        layers.modulation(angles, layer, layers.cosines_of(tile, layer));
        publish();
        store_tile<ARASFSR_TILE, Warpgroup>(s_of(tile, layer), layers.f);
    }

    ARASFSR_DEVICE uint16_t* s_of(int64_t tile, int layer) const {
        return layers.s_of(hw::block() * CONSUMERS + consumer, tile, layer);
    }

    ARASFSR_DEVICE void content_branch(int64_t tile, int which, int part) {
        const int64_t start = tile * ARASFSR_TILE + part * QUERIES;
        fetch_s(tile, part, 1);
        layers.find_rows(start, which);
        if (layers.keeps()) layers.keep_rows(start, which);
        Warpgroup::barrier();
        layers.first_layer();
        receive();
        if (layers.keeps()) layers.keep_f(start, which, 1);
        for (int layer = 1; layer < problem.layers; ++layer) {  // f holds f_layer, s holds s_layer
            Accumulators product;
            if (problem.modulated) {
                multiply<Stream::PANELS, true>(product);
            } else {
                multiply<Stream::PANELS, false>(product);
            }
#ifndef ARASFSR_TEST_MISSING_BARRIER
            Warpgroup::barrier();  // all have read f and s
#endif
            fetch_s(tile, part, layer + 1);
            layers.hidden_layer(product, layer);
            receive();
            if (layers.keeps()) layers.keep_f(start, which, layer + 1);
        }
        if (layers.keeps()) {
            Warpgroup::barrier();  // all have read f
        } else {
            layers.output_layer(start, which);
        }
    }

    // Starts copying a part's s_layer.
    ARASFSR_DEVICE void fetch_s(int64_t tile, int part, int layer) {
        if (!problem.modulated) return;
        fetch_tile<QUERIES, Warpgroup>(layers.s, s_of(tile, layer - 1) + part * (QUERIES * NP));
        hw::copy_commit();
    }

    // f, and s that was being copied, are there for all.
    ARASFSR_DEVICE void receive() {
        hw::copy_wait<0>();
        publish();
    }

    // f is there for all, and for wgmma.
    ARASFSR_DEVICE void publish() {
        hw::fence_asynchronous();
        Warpgroup::barrier();
    }

    // total = W f, or W_f f + W_p (f s), of PANELS times 64 numbers of f, with the ring's next stages. While the
    // products with one stage run, the operand of the next is formed.
    template <int PANELS, bool MODULATED>
    ARASFSR_DEVICE void multiply(Accumulators& total) {
        uint32_t modulated[STEPS][4];
#pragma unroll
        for (int panel = 0; panel < PANELS; ++panel) {
            const uint64_t left = hw::swizzled_matrix(layers.f.panel(panel).base);
            const uint64_t right = hw::swizzled_matrix(ring.wait());
            hw::wgmma_fence();
#pragma unroll
            for (int k = 0; k < STEPS; ++k) {
                hw::wgmma(T{}, total.numbers, left + k * STEP, right + k * STEP, panel + k > 0);
            }
            next_stage(panel == 0);
            if constexpr (MODULATED) multiply_modulated(total, modulated, panel);
        }
        hw::wgmma_finish(total.numbers);
        ring.release_last();
    }

    // total += W_p (f s) of one panel, by way of registers that are free again two stages later.
    ARASFSR_DEVICE void multiply_modulated(Accumulators& total, uint32_t (&modulated)[STEPS][4], int panel) {
        const int thread = Warpgroup::thread(), lane = thread % hw::WARP;
        const int row = thread / hw::WARP * 16 + lane % 16;
#pragma unroll
        for (int k = 0; k < STEPS; ++k) {
            const int number = panel * (Stream::INPUTS / CHUNK) + 2 * k + lane / 16;
            uint32_t factor[4];
            hw::load_matrices(modulated[k], layers.f.chunk(row, number));
            hw::load_matrices(factor, layers.s.chunk(row / CORNERS, number));
#pragma unroll
            for (int i = 0; i < 4; ++i) modulated[k][i] = hw::multiply_pairs<T>(modulated[k][i], factor[i]);
        }
        const uint64_t right = hw::swizzled_matrix(ring.wait());
        hw::wgmma_fence();
#pragma unroll
        for (int k = 0; k < STEPS; ++k) hw::wgmma(T{}, total.numbers, modulated[k], right + k * STEP);
        next_stage(false);
    }

    // The products with this stage are on their way; those before are done.
    ARASFSR_DEVICE void next_stage(bool first) {
        hw::wgmma_commit();
        hw::wgmma_wait<1>();
        if (!first) ring.release_last();
        ring.advance();
    }

    const ForwardArguments& call;
    const arasfsr_problem& problem;
    const int consumer;
    const Layers layers;
    StreamRing ring;
};

template <class T>
ARASFSR_KERNEL(Forward90<T>::THREADS, 1) forward90(const ARASFSR_PARAMETER ForwardArguments arguments) {
    Forward90<T>(arguments).run();
}

template <class T>
Kernel<ForwardArguments> forward90_kernel_of() {
    using K = Forward90<T>;
    return {&forward90<T>, K::SHARED_BYTES, K::QUERIES, K::THREADS, CLUSTER, K::TILES, true};
}

}  // namespace arasfsr
#endif
