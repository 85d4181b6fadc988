// The emulated compute capability 9.0a against plain arithmetic: warpgroup products, memory barriers, bulk copies.
#include <csignal>
#include <random>
#include <sys/wait.h>
#include <unistd.h>

#include "../src/hw90.h"
#include "../src/streaming.h"
#include "check.h"
#include "model.h"

using namespace arasfsr;

namespace {

constexpr int ROWS = 64, COLUMNS = 256, INNER = 64, STEPS = INNER / 16;
using Left = Panels<ROWS, INNER>;
constexpr int LEFT_BYTES = Left::BYTES, SHARED_BYTES = LEFT_BYTES + COLUMNS * INNER * 2;

template <class T>
struct Matrices {
    std::vector<uint16_t> a = std::vector<uint16_t>(ROWS * INNER), b = std::vector<uint16_t>(COLUMNS * INNER);
    std::vector<double> product = std::vector<double>(ROWS * COLUMNS);

    Matrices() {
        std::mt19937 random(7);
        std::normal_distribution<float> normal;
        for (uint16_t& x : a) x = hw::to_16(T{}, normal(random));
        for (uint16_t& x : b) x = hw::to_16(T{}, normal(random));
        for (int i = 0; i < ROWS; ++i) {
            for (int j = 0; j < COLUMNS; ++j) {
                for (int k = 0; k < INNER; ++k) {
                    product[i * COLUMNS + j] += static_cast<double>(hw::from_16(T{}, a[i * INNER + k])) *
                                                hw::from_16(T{}, b[j * INNER + k]);
                }
            }
        }
    }
};

uint32_t pair(const std::vector<uint16_t>& numbers, int at) {
    return numbers[at] | static_cast<uint32_t>(numbers[at + 1]) << 16;
}

// A warpgroup's work on a pair of matrices: written to shared memory by threads, multiplied, stored as the ISA says.
template <class T>
struct Product {
    const Matrices<T>& matrices;
    std::vector<double>& actual;
    const Left left{hw::shared()};
    const Tile<INNER> expected{hw::shared() + LEFT_BYTES};
    float total[hw::ACCUMULATORS] = {};
    uint32_t a[STEPS][4] = {};

    void put_in() const {
        for (int i = hw::thread() * 2; i < ROWS * INNER; i += 2 * hw::WARPGROUP) {
            left.pair(i / INNER, i % INNER) = pair(matrices.a, i);
        }
        for (int i = hw::thread() * 2; i < COLUMNS * INNER; i += 2 * hw::WARPGROUP) {
            expected.pair(i / INNER, i % INNER) = pair(matrices.b, i);
        }
    }

    void start(bool registers) {
        hw::wgmma_fence();
        for (int k = 0; k < STEPS; ++k) {
            const uint64_t b = hw::swizzled_matrix(expected.base) + 2 * k;
            if (registers) {
                hw::wgmma(T{}, total, a[k], b);
            } else {
                hw::wgmma(T{}, total, hw::swizzled_matrix(left.base) + 2 * k, b, k > 0);
            }
        }
        hw::wgmma_commit();
    }

    void load_registers() {
        const int thread = hw::thread(), row = thread / 32 * 16 + thread % 16;
        for (int k = 0; k < STEPS; ++k) hw::load_matrices(a[k], left.chunk(row, 2 * k + thread % 32 / 16));
    }

    void store() const {
        const int thread = hw::thread(), lane = thread % 32;
        for (int i = 0; i < hw::ACCUMULATORS; ++i) {
            const int row = thread / 32 * 16 + lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
            actual[row * COLUMNS + column] = total[i];
        }
    }
};

// The relative error of what `work` makes of a product.
template <class T, class Work>
double error_of(const Work& work) {
    const Matrices<T> matrices;
    std::vector<double> actual(ROWS * COLUMNS);
    emulation::run(1, hw::WARPGROUP, SHARED_BYTES, [&] {
        Product<T> product{matrices, actual};
        work(product);
    });
    return check::relative_error(actual, matrices.product);
}

template <class T>
void products_are_correct(bool registers) {
    const double error = error_of<T>([&](Product<T>& product) {
        product.put_in();
        hw::fence_asynchronous();
        hw::barrier();
        if (registers) product.load_registers();
        product.start(registers);
        hw::wgmma_finish(product.total);
        product.store();
    });
    CHECK(error < 1e-6);
}

// As ldmatrix reads them: what lane l has of matrix j is at (l / 4, l % 4 * 2) of it.
void matrices_are_stored_where_the_isa_says() {
    alignas(16) static uint16_t stored[16][16];
    emulation::run(1, 32, 0, [] {
        const int lane = hw::thread();
        uint32_t matrices[4];
        for (int j = 0; j < 4; ++j) {
            const int index = (lane / 4 + j % 2 * 8) * 16 + lane % 4 * 2 + j / 2 * 8;
            matrices[j] = static_cast<uint32_t>(index) | static_cast<uint32_t>(index + 1) << 16;
        }
        hw::store_matrices(&stored[lane % 16][lane / 16 * 8], matrices);
    });
    for (int i = 0; i < 256; ++i) CHECK(stored[i / 16][i % 16] == i);
}

// A missing step goes wrong here as on a device.
void mistakes_show() {
    using Work = Product<Bfloat16>;
    CHECK(error_of<Bfloat16>([](Work& product) {  // no fence between the threads' writes and wgmma
              product.put_in();
              hw::barrier();
              product.start(false);
              hw::wgmma_finish(product.total);
              product.store();
          }) > 1);
    CHECK(error_of<Bfloat16>([](Work& product) {  // the result is taken before the wait
              product.put_in();
              hw::fence_asynchronous();
              hw::barrier();
              product.start(false);
              product.store();
              hw::wgmma_finish(product.total);
          }) > 0.5);
    CHECK(error_of<Bfloat16>([](Work& product) {  // an operand's registers are overwritten before the wait
              product.put_in();
              hw::fence_asynchronous();
              hw::barrier();
              product.load_registers();
              product.start(true);
              for (auto& fragment : product.a) fragment[0] = 0;
              hw::wgmma_finish(product.total);
              product.store();
          }) > 0.1);
    CHECK(error_of<Bfloat16>([](Work& product) {  // and its shared memory
              product.put_in();
              hw::fence_asynchronous();
              hw::barrier();
              product.start(false);
              product.left.pair(hw::thread() % ROWS, 0) = 0;
              hw::fence_asynchronous();
              hw::wgmma_finish(product.total);
              product.store();
          }) > 0.1);
}

// Each of two blocks fetches a half for both, twice to the same place.
void both_blocks_of_a_cluster_get_what_each_copies() {
    constexpr int BYTES = 256, HALF = BYTES / 2;
    alignas(16) static uint16_t source[2][BYTES / 2];
    for (int i = 0; i < BYTES; ++i) source[i / (BYTES / 2)][i % (BYTES / 2)] = static_cast<uint16_t>(i);
    int seen = 0, early = 0;
    const auto kernel = [&] {
        auto* full = reinterpret_cast<hw::Mbarrier*>(hw::shared() + BYTES);
        auto* empty = full + 1;
        if (hw::thread() == 0) {
            hw::mbarrier_init(full, 1);
            hw::mbarrier_init(empty, 2 * 2);
            hw::mbarrier_publish();
        }
        hw::cluster_barrier();
        const int start = hw::cluster_rank() * HALF, warp = hw::thread() / 32, lane = hw::thread() % 32;
        for (int turn = 0; turn < 2; ++turn) {
            if (hw::thread() == 0) {
                hw::mbarrier_wait(empty, turn ^ 1, hw::Awaited::ROWS_READ, 0);
                hw::mbarrier_expect(full, BYTES);
                const auto* from = reinterpret_cast<const unsigned char*>(source[turn]) + start;
                hw::copy_bulk(hw::shared() + start, from, HALF, full, 3);
                early += hw::shared()[start] != emulation::POISON;
            }
            if (warp == 0) continue;
            hw::mbarrier_wait(full, turn, hw::Awaited::ROWS, 0);
            seen += std::memcmp(hw::shared(), source[turn], BYTES) == 0;
            hw::shuffle_xor(0.0f, 1);  // all lanes have read
            if (lane < 2) hw::mbarrier_arrive(empty, lane);
        }
        hw::cluster_barrier();
    };
    for (const char* seed : {"0", "1", "2", "3"}) {
        setenv("ARASFSR_EMULATION_SEED", seed, 1);
        seen = early = 0;
        emulation::run(4, 96, BYTES + 16, kernel, 2);
        CHECK(seen == 4 * 64 * 2 && early == 0);
    }
    unsetenv("ARASFSR_EMULATION_SEED");
}

// The message of a kernel that ends the process.
std::string report_of(void (*kernel)(), int blocks = 1, int threads = hw::WARPGROUP) {
    std::fflush(stdout);
    int ends[2];
    if (pipe(ends) != 0) return "no pipe";
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        emulation::run(blocks, threads, StreamRing::BYTES + 1024, kernel, blocks);
        std::exit(EXIT_SUCCESS);
    }
    close(ends[1]);
    std::string report;
    char part[4096];
    for (ssize_t bytes; (bytes = read(ends[0], part, sizeof part)) > 0;) {
        report.append(part, static_cast<size_t>(bytes));
    }
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT ? report : "it has ended";
}

void aborts(void (*kernel)(), const char* message, int blocks = 1) {
    const std::string report = report_of(kernel, blocks);
    CHECK_CASE(report.find(message) != std::string::npos, report);
}

hw::Mbarrier* some_barrier() { return reinterpret_cast<hw::Mbarrier*>(hw::shared()); }
void wait_for_it() { hw::mbarrier_wait(some_barrier(), 0, hw::Awaited::ROWS, 3); }

void deadlocks_are_reported() {
    aborts(wait_for_it, "a memory barrier that nobody has initialised");
    aborts([] {
        if (hw::thread() > 0) return;
        hw::mbarrier_init(some_barrier(), 1);
        hw::mbarrier_expect(some_barrier(), 16);  // no copy follows
        wait_for_it();
    }, "lanes 0 to 0: waiting for stage 3 of z and f to be filled (phase parity 0)");
    aborts([] {
        if (hw::thread() > 0) return;
        hw::mbarrier_init(some_barrier(), 2);
        hw::mbarrier_arrive(some_barrier(), 0);  // the second never comes
        wait_for_it();
    }, "stage 3 of z and f");
    aborts([] { if (hw::cluster_rank() == 0) hw::cluster_barrier(); }, "a barrier of the cluster", 2);
    const auto product = [](bool fence, bool wait) {
        float total[hw::ACCUMULATORS];
        if (fence) hw::wgmma_fence();
        hw::wgmma(Bfloat16{}, total, hw::swizzled_matrix(hw::shared()), hw::swizzled_matrix(hw::shared()), false);
        hw::wgmma_commit();
        if (wait) hw::wgmma_finish(total);
    };
    static const auto with = product;
    aborts([] { with(false, true); }, "a product without a fence");
    aborts([] { with(true, false); }, "without waiting for its products");
}

// Two blocks with a ring of weights; if FORGETS, one warp does not release a stage.
template <bool FORGETS>
void pass_stages() {
    constexpr int TURNS = StreamRing::STAGES + 2;
    alignas(16) static unsigned char stages[TURNS * Stream::STAGE_BYTES];
    StreamRing ring(hw::shared(), hw::shared() + StreamRing::BYTES);
    const auto units = [] { return int64_t{1}; };
    run_cluster(
        ring, units, [&] { ring.fill(stages, 0, TURNS); },
        [&](int64_t) {
            for (int i = 0; i < TURNS; ++i) {
                ring.wait();
                ring.advance();
                if (!FORGETS || hw::thread() / hw::WARP != 9 || i != 1) ring.release_last();
            }
        });
}

// The emulation names, for every warp, the barrier it waits for, as the watchdog on a device does for one of them.
void a_missing_arrival_is_reported_by_name() {
    CHECK(report_of(pass_stages<false>, CLUSTER, STREAMING_THREADS) == "it has ended");
    const std::string report = report_of(pass_stages<true>, CLUSTER, STREAMING_THREADS);
    for (const char* line : {"emulation: deadlock\n",
                             "  block 1, warp 0, lanes 0 to 0: waiting for stage 1 of the weights to be released "
                             "(phase parity 0)\n",
                             "  block 0, warp 4, lanes 0 to 31: waiting for stage 1 of the weights to be filled "
                             "(phase parity 1)\n"}) {
        CHECK_CASE(report.find(line) != std::string::npos, report);
    }
}

// Every number of every matrix is in its place of its stage.
void a_stream_holds_every_weight(bool modulated) {
    tests::Case config;
    config.width = config.padded = Stream::OUTPUTS;
    config.modulated = modulated;
    const tests::Model model(config);
    const arasfsr_problem& problem = model.problem;
    const Stream stream = Stream::of(problem);
    CHECK(stream.stages() == (modulated ? 1 + 2 * 4 + 2 * 4 * 2 : 2 * 4));
    const tests::Buffer<unsigned char> ordered(static_cast<size_t>(stream.bytes()));
    CHECK(order_stream<Stream>(problem, ordered.data()).code == ARASFSR_OK);
    int stage = 0, wrong = 0;
    const auto next_holds = [&](const void* matrix, int row_length, int column) {
        const Stream::Stage actual{ordered.data() + stage++ * Stream::STAGE_BYTES};
        for (int i = 0; i < Stream::OUTPUTS * Stream::INPUTS; i += 2) {
            const int row = i / Stream::INPUTS, k = i % Stream::INPUTS;
            const uint16_t* expected = static_cast<const uint16_t*>(matrix) + row * row_length + column + k;
            wrong += std::memcmp(&actual.pair(row, k), expected, 4) != 0;
        }
    };
    const auto square = [](const void* matrices, int index) {
        return static_cast<const uint16_t*>(matrices) + index * Stream::OUTPUTS * Stream::OUTPUTS;
    };
    if (modulated) next_holds(problem.encoding_weight, ARASFSR_ENCODING, 0);
    for (int layer = 0; modulated && layer < 2; ++layer) {
        for (int k = 0; k < 256; k += 64) next_holds(square(problem.modulator_weight, layer), 256, k);
    }
    const int halves = modulated ? 2 : 1;
    for (int layer = 0; layer < 2; ++layer) {
        for (int k = 0; k < 256; k += 64) {
            for (int half = 0; half < halves; ++half) {
                next_holds(square(problem.content_weight, layer * halves + half), 256, k);
            }
        }
    }
    CHECK(stage == stream.stages() && wrong == 0);
}

// The backward's stream holds the content branch's weights, transposed, from the last matrix to the first.
void the_backward_s_stream_holds_every_weight(bool modulated) {
    tests::Case config;
    config.width = config.padded = Stream::OUTPUTS;
    config.modulated = modulated;
    const tests::Model model(config);
    const BackwardStream stream = BackwardStream::of(model.problem);
    const int matrices = modulated ? 4 : 2;
    CHECK(stream.stages() == matrices * 4);
    const tests::Buffer<unsigned char> ordered(static_cast<size_t>(stream.bytes()));
    CHECK(order_stream<BackwardStream>(model.problem, ordered.data()).code == ARASFSR_OK);
    int wrong = 0;
    for (int stage = 0; stage < stream.stages(); ++stage) {
        const Stream::Stage actual{ordered.data() + stage * Stream::STAGE_BYTES};
        const uint16_t* matrix = static_cast<const uint16_t*>(model.problem.content_weight) +
                                 (matrices - 1 - stage / 4) * Stream::OUTPUTS * Stream::OUTPUTS;
        for (int i = 0; i < Stream::OUTPUTS * Stream::INPUTS; i += 2) {
            const int row = i / Stream::INPUTS, k = i % Stream::INPUTS;
            for (int next = 0; next < 2; ++next) {
                const uint16_t expected = matrix[(stage % 4 * Stream::INPUTS + k + next) * Stream::OUTPUTS + row];
                wrong += static_cast<uint16_t>(actual.pair(row, k) >> (16 * next)) != expected;
            }
        }
    }
    CHECK(wrong == 0);
}

}  // namespace

int main() {
    for (const char* seed : {"0", "1"}) {
        setenv("ARASFSR_EMULATION_SEED", seed, 1);
        for (bool registers : {false, true}) {
            products_are_correct<Bfloat16>(registers);
            products_are_correct<Float16>(registers);
        }
    }
    unsetenv("ARASFSR_EMULATION_SEED");
    matrices_are_stored_where_the_isa_says();
    mistakes_show();
    both_blocks_of_a_cluster_get_what_each_copies();
    deadlocks_are_reported();
    a_missing_arrival_is_reported_by_name();
    a_stream_holds_every_weight(true);
    a_stream_holds_every_weight(false);
    the_backward_s_stream_holds_every_weight(true);
    the_backward_s_stream_holds_every_weight(false);
    return check::report("warpgroup");
}
