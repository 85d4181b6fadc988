// What the kernels for compute capability 9.0a share: blocks of a cluster with one stream of weights, and products with
// its stages.
//
// Two blocks of a cluster share the stream: each copies half of a stage to both. A block has one producer warp and two
// consumers, warpgroups that know nothing of each other but the ring.
#ifndef ARASFSR_STREAMING_H
#define ARASFSR_STREAMING_H

#include "hw90.h"
#include "stream.h"

namespace arasfsr {

constexpr int CLUSTER = 2;    // blocks
constexpr int CONSUMERS = 2;  // warpgroups of a block, after the producer's
constexpr int STREAMING_THREADS = (1 + CONSUMERS) * hw::WARPGROUP;
constexpr int AT_A_TIME = CLUSTER * CONSUMERS;  // units of work that a cluster takes

// The threads of a consumer. Barrier 0 is the block's.
struct Warpgroup {
    static constexpr int THREADS = hw::WARPGROUP, WARPS = THREADS / hw::WARP;
    static ARASFSR_DEVICE int thread() { return hw::thread() % THREADS; }
    static ARASFSR_DEVICE void barrier() { hw::barrier(hw::thread() / THREADS, THREADS); }

    // What its threads have written to shared memory is there for all of them, and for wgmma.
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

    // By one thread, before the barrier of the cluster.
    ARASFSR_DEVICE void initialise() const {
        for (int i = 0; i < STAGES; ++i) {
            hw::mbarrier_init(&barriers.full[i], 1);
            hw::mbarrier_init(&barriers.empty[i], CLUSTER * CONSUMERS * Warpgroup::WARPS);
        }
        hw::mbarrier_publish();
    }

    // Stages `first` to `end` of a stream, by one thread of each block.
    ARASFSR_DEVICE void fill(const unsigned char* stream, int first, int end) {
        for (int stage = first; stage < end; ++stage) fill(stream + stage * Stream::STAGE_BYTES);
    }

    // A stage, of which each block copies its share to all of them.
    ARASFSR_DEVICE void fill(const unsigned char* stage) {
        constexpr int SHARE = Stream::STAGE_BYTES / CLUSTER;
        const int start = hw::cluster_rank() * SHARE;
        hw::mbarrier_wait(&barriers.empty[place()], parity() ^ 1,  // at first, the phase before counts as over
                          hw::Awaited::WEIGHTS_READ, place());
        hw::mbarrier_expect(&barriers.full[place()], Stream::STAGE_BYTES);
        hw::copy_bulk(base + place() * Stream::STAGE_BYTES + start, stage + start, SHARE, &barriers.full[place()],
                      (1 << CLUSTER) - 1);
        advance();
    }

    ARASFSR_DEVICE const unsigned char* wait() const {
        hw::mbarrier_wait(&barriers.full[place()], parity(), hw::Awaited::WEIGHTS, place());
        return base + place() * Stream::STAGE_BYTES;
    }

    // By every warp: it is done with the stage before the present one.
    ARASFSR_DEVICE void release_last() const {
        const int lane = hw::thread() % hw::WARP;
        if (lane < CLUSTER) hw::mbarrier_arrive(&barriers.empty[(place() + STAGES - 1) % STAGES], lane);
    }

    // A consumer that has nothing to compute lets that many stages pass. Only those of its threads wait that release:
    // one that did not would find the barrier a phase ahead.
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

    // Stores to the rows what `function` makes of every pair that this thread holds, called with (row, column, the
    // numbers there and right of there, and what `of_column` has for that column), which is asked for eight columns
    // before the first is used.
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
                const auto panel = to.panel((first + i) / 8);  // eight chunks each
                hw::store_matrices(panel.chunk(first_row + lane % 16, (first + i) % 8 + lane / 16), matrices);
            }
        }
    }

    // Calls with (row, column, and the numbers there and right of there) for every pair this thread holds. What the
    // function loads for one pair may begin before another's turn, but for AT_ONCE numbers at the most.
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

// Which of its block's consumers a thread belongs to.
ARASFSR_DEVICE int consumer_number() { return hw::thread() < hw::WARPGROUP ? 0 : hw::thread() / hw::WARPGROUP - 1; }

// The whole of a kernel: in every turn the producers call `produce`, and each consumer `consume` with its unit of work.
// In the last turn there may be fewer than `units`, and a consumer without one has to drain its stages.
template <class Units, class Produce, class Consume>
ARASFSR_DEVICE void run_cluster(
    const StreamRing& ring, const Units& units, const Produce& produce, const Consume& consume) {
    const auto first = [] { return hw::block() / CLUSTER * AT_A_TIME; };
    const auto step = [] { return hw::blocks() / CLUSTER * AT_A_TIME; };
    const auto own = [] { return hw::cluster_rank() * CONSUMERS + consumer_number(); };
    if (hw::thread() == 0) ring.initialise();
    hw::cluster_barrier();  // barriers are there for copies and arrivals from the other block
    if (hw::thread() < hw::WARPGROUP) {
        hw::give_registers<hw::PRODUCER_REGISTERS>();
        if (hw::thread() == 0) {
            for (int64_t unit = first(); unit < units(); unit += step()) produce();
        }
    } else {
        hw::take_registers<hw::CONSUMER_REGISTERS>();
        for (int64_t unit = first() + own(); unit - own() < units(); unit += step()) consume(unit);
    }
    hw::cluster_barrier();  // nobody arrives at the barriers of a block that has gone
}

template <class K, class Arguments>
Kernel<Arguments> streaming_kernel(void (*function)(Arguments)) {
    hw::watch_kernels();
    return {function, K::SHARED_BYTES, K::QUERIES, STREAMING_THREADS, CLUSTER, AT_A_TIME, true};
}

// f of a warpgroup, as wgmma reads it.
using Rows = Panels<64, Stream::OUTPUTS>;

// Whether what is kept of f, and z of the layers after the first, lie in memory as Rows lie in shared memory: where
// only these kernels read them, weights90.h among them.
ARASFSR_DEVICE bool kept_as_rows(const arasfsr_problem& problem) { return problem.modulated && problem.layers > 1; }

// Bytes in the order in which they lie, as rows that a crew copies.
struct Plain {
    static constexpr int CHUNKS = Rows::CHUNKS;
    unsigned char* base;
    ARASFSR_DEVICE unsigned char* chunk(int row, int number) const {
        return base + (row * CHUNKS + number) * CHUNK_BYTES;
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

    // Begins the product with a panel of f; that with the panel before it is done.
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

    // Likewise of a panel in registers, the next after another.
    ARASFSR_DEVICE void start(Accumulators& total, const uint32_t (&panel)[STEPS][4]) {
        start(total, panel, [] {});
    }

    // Calls `meanwhile` while the panel before may still be under way.
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
    // The products with this stage are on their way; those before are done.
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
