// The emulated device against plain arithmetic: formats, warp instructions, asynchronous copies, deadlocks.
#include <csignal>
#include <random>
#include <sys/wait.h>
#include <unistd.h>

#include "../src/product.h"
#include "check.h"

using namespace arasfsr;

namespace {

template <class T>
void formats_round_trip() {
    for (uint32_t x = 0; x < 65536; ++x) {
        const float value = hw::from_16(T{}, static_cast<uint16_t>(x));
        if (!std::isnan(value)) CHECK(hw::to_16(T{}, value) == x);
    }
}

void ties_go_to_even() {
    CHECK(hw::to_16(Bfloat16{}, 1.0f + 1.0f / 256) == hw::to_16(Bfloat16{}, 1.0f));
    CHECK(hw::to_16(Bfloat16{}, 1.0f + 3.0f / 256) == hw::to_16(Bfloat16{}, 1.0f + 4.0f / 256));
    CHECK(hw::to_16(Float16{}, 1.0f + 1.0f / 2048) == hw::to_16(Float16{}, 1.0f));
    CHECK(hw::to_16(Float16{}, 1.0f + 3.0f / 2048) == hw::to_16(Float16{}, 1.0f + 4.0f / 2048));
    CHECK(hw::to_16(Float16{}, std::ldexp(1.5f, -24)) == 2);
    CHECK(hw::to_16(Float16{}, std::ldexp(0.5f, -24)) == 0);
    CHECK(hw::to_16(Float16{}, 65519.0f) == 0x7BFF);
    CHECK(hw::to_16(Float16{}, 65520.0f) == 0x7C00);
    CHECK(hw::to_16(Float16{}, -1e9f) == 0xFC00);
}

struct Matrices {
    uint16_t a[16][16], b_by_columns[16][16], b_by_rows[16][16];  // b has 16 inner numbers and 16 columns
    double product[16][16];
};

template <class T>
Matrices random_matrices() {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    Matrices result{};
    for (int i = 0; i < 16; ++i) {
        for (int j = 0; j < 16; ++j) {
            result.a[i][j] = hw::to_16(T{}, normal(random));
            result.b_by_rows[i][j] = result.b_by_columns[j][i] = hw::to_16(T{}, normal(random));
        }
    }
    for (int i = 0; i < 16; ++i) {
        for (int j = 0; j < 16; ++j) {
            for (int k = 0; k < 16; ++k) {
                result.product[i][j] += static_cast<double>(hw::from_16(T{}, result.a[i][k])) *
                                        hw::from_16(T{}, result.b_by_rows[k][j]);
            }
        }
    }
    return result;
}

// A lane's part of a product of 16 x 16, stored where the ISA says it is.
template <class T>
void store_product(std::vector<double>& to, const uint32_t (&a)[4], const uint32_t (&b)[4]) {
    const int lane = hw::thread();
    for (int half = 0; half < 2; ++half) {
        float total[4] = {};
        hw::mma(T{}, total, a, b + 2 * half);
        for (int i = 0; i < 4; ++i) {
            to[(lane / 4 + i / 2 * 8) * 16 + half * 8 + lane % 4 * 2 + i % 2] = total[i];
        }
    }
}

// Fragments by ldmatrix, the right one from either layout, and their product by mma.
template <class T>
void fragments_multiply(bool transposed) {
    const Matrices matrices = random_matrices<T>();
    std::vector<double> actual(256), expected(&matrices.product[0][0], &matrices.product[0][0] + 256);
    emulation::run(1, 32, 0, [&] {
        const int lane = hw::thread();
        uint32_t a[4], b[4];
        hw::load_matrices(a, &matrices.a[lane % 16][lane / 16 * 8]);
        if (transposed) {
            hw::load_matrices_transposed(b, &matrices.b_by_rows[lane % 16][lane / 16 * 8]);
        } else {
            hw::load_matrices(b, &matrices.b_by_columns[lane / 16 * 8 + lane % 8][lane / 8 % 2 * 8]);
        }
        store_product<T>(actual, a, b);
    });
    CHECK(check::relative_error(actual, expected) < 1e-6);
}

void tf32_is_rounded_away_from_zero() {
    const float step = 1.0f / 1024;
    CHECK(hw::from_bits(hw::to_tf32(1.0f + step / 2)) == 1.0f + step);
    CHECK(hw::from_bits(hw::to_tf32(-1.0f - step / 2)) == -1.0f - step);
    CHECK(hw::from_bits(hw::to_tf32(1.0f + 0.499f * step)) == 1.0f);
    CHECK(std::isinf(hw::from_bits(hw::to_tf32(INFINITY))));
    CHECK(std::isnan(hw::from_bits(hw::to_tf32(NAN))));
}

// The same in TF32: 8 inner numbers at a time, the right fragment by ldmatrix from columns, or from rows one by one.
void tf32_fragments_multiply(bool transposed) {
    struct {
        alignas(16) float a[16][8], b_by_columns[16][8], b_by_rows[8][16];
    } matrices{};
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    std::vector<double> actual(256), expected(256);
    for (int i = 0; i < 16; ++i) {
        for (int k = 0; k < 8; ++k) {
            matrices.a[i][k] = hw::from_bits(hw::to_tf32(normal(random)));
            matrices.b_by_rows[k][i] = matrices.b_by_columns[i][k] = hw::from_bits(hw::to_tf32(normal(random)));
        }
    }
    for (int i = 0; i < 256; ++i) {
        for (int k = 0; k < 8; ++k) {
            expected[i] += static_cast<double>(matrices.a[i / 16][k]) * matrices.b_by_rows[k][i % 16];
        }
    }
    emulation::run(1, 32, 0, [&] {
        const int lane = hw::thread();
        uint32_t a[4], b[4];
        hw::load_matrices(a, &matrices.a[lane % 16][lane / 16 * 4]);
        if (transposed) {
            for (int i = 0; i < 4; ++i) b[i] = hw::bits(matrices.b_by_rows[i % 2 * 4 + lane % 4][i / 2 * 8 + lane / 4]);
        } else {
            hw::load_matrices(b, &matrices.b_by_columns[lane / 16 * 8 + lane % 8][lane / 8 % 2 * 4]);
        }
        store_product<Tf32>(actual, a, b);
    });
    CHECK(check::relative_error(actual, expected) < 1e-6);
}

void tiles_hold_what_is_put_in() {
    std::vector<uint32_t> numbers(64 * 128 / 2);
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<uint32_t>(i);
    alignas(16) static uint32_t aligned[64 * 128 / 2], back[64 * 128 / 2];
    std::copy(numbers.begin(), numbers.end(), aligned);
    emulation::run(1, THREADS, Tile<128>::bytes(64), [&] {
        const Tile<128> tile{hw::shared()};
        fetch_tile<64, Block>(tile, aligned);
        hw::copy_commit();
        hw::copy_wait<0>();
        hw::barrier();
        CHECK(tile.pair(hw::thread() % 64, 6) == static_cast<uint32_t>(hw::thread() % 64 * 64 + 3));
        store_tile<64, Block>(back, tile);
    });
    CHECK(std::equal(numbers.begin(), numbers.end(), back));
}

// A warp's eight addresses of one matrix fall on all 32 banks, whatever the row's length.
template <int COLUMNS, class Number = uint16_t>
void tiles_have_no_conflicts() {
    const Tile<COLUMNS, Number> tile{nullptr};
    for (int index = 0; index < Tile<COLUMNS, Number>::CHUNKS; ++index) {
        bool taken[8] = {};
        for (int row = 8; row < 16; ++row) taken[reinterpret_cast<uintptr_t>(tile.chunk(row, index)) / 16 % 8] = true;
        for (bool bank : taken) CHECK(bank);
    }
}

void copies_land_when_waited_for() {
    alignas(16) const uint32_t source[4] = {1, 2, 3, 4};
    emulation::run(1, 32, 16, [&] {
        if (hw::thread() != 0) return;
        const uint32_t* target = reinterpret_cast<const uint32_t*>(hw::shared());
        hw::copy16(hw::shared(), source);
        hw::copy_commit();
        hw::copy_commit();
        hw::copy_wait<2>();
        CHECK(target[0] == 0xFFFFFFFFu);
        hw::copy_wait<1>();
        CHECK(target[0] == 1 && target[3] == 4);
    });
}

void aborts(void (*kernel)()) {
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        if (std::freopen("/dev/null", "w", stderr) == nullptr) std::exit(EXIT_FAILURE);
        emulation::run(1, 64, 16, kernel);
        std::exit(EXIT_SUCCESS);
    }
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

}  // namespace

int main() {
    formats_round_trip<Bfloat16>();
    formats_round_trip<Float16>();
    ties_go_to_even();
    for (bool transposed : {false, true}) {
        fragments_multiply<Bfloat16>(transposed);
        fragments_multiply<Float16>(transposed);
        tf32_fragments_multiply(transposed);
    }
    tf32_is_rounded_away_from_zero();
    tiles_hold_what_is_put_in();
    tiles_have_no_conflicts<32>();
    tiles_have_no_conflicts<64>();
    tiles_have_no_conflicts<256>();
    tiles_have_no_conflicts<16, float>();
    tiles_have_no_conflicts<256, float>();
    copies_land_when_waited_for();
    aborts([] {
        if (hw::thread() != 5) hw::barrier();  // a thread that never comes
    });
    aborts([] {
        if (hw::thread() == 0) hw::barrier();  // lanes that part
        hw::shuffle_xor(0.0f, 1);
    });
    aborts([] {
        alignas(16) static const uint32_t source[4] = {};
        hw::copy16(hw::shared(), source);  // a copy that nobody waits for
    });
    return check::report("fragments");
}
