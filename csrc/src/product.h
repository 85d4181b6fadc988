// The matrix product of a layer: activations in shared memory times weights that stream through a ring of stages.
//
// Eight warps, two down and four across, share a tile of rows x NP; a warp's part of the result stays in its registers.
#ifndef ARASFSR_PRODUCT_H
#define ARASFSR_PRODUCT_H

#include "tile.h"

namespace arasfsr {

constexpr int WARPS_DOWN = 2, WARPS_ACROSS = 4;
constexpr int THREADS = WARPS_DOWN * WARPS_ACROSS * hw::WARP;
constexpr int DEPTH_BYTES = 64;  // of a stage of weights, along the inner dimension

// The threads that share a tile: a whole block.
struct Block {
    static constexpr int THREADS = arasfsr::THREADS;
    static ARASFSR_DEVICE int thread() { return hw::thread(); }
    static ARASFSR_DEVICE void barrier() { hw::barrier(); }
};

// Which dimension of a weight matrix (output, input) is the inner one.
enum class Inner {
    INPUT,  // forward: result = activations * transposed matrix
    OUTPUT  // backward: result = gradients * matrix
};

// A matrix to stream in `steps` stages.
template <class NUMBER>
struct Weights {
    const NUMBER* matrix;
    int row_length;
    int steps;
};

// Stages of DEPTH x NP weights, filled asynchronously one after another.
template <class NUMBER, int NP, int STAGES, Inner INNER>
struct Ring {
    static constexpr int DEPTH = DEPTH_BYTES / static_cast<int>(sizeof(NUMBER));
    using Stage = Tile<INNER == Inner::INPUT ? DEPTH : NP, NUMBER>;
    static constexpr int STAGE_BYTES = NP * DEPTH_BYTES;
    static constexpr int BYTES = STAGES * STAGE_BYTES;
    static constexpr int STEPS = NP / DEPTH;  // of a square matrix

    unsigned char* base;

    ARASFSR_DEVICE Stage stage(int index) const { return {base + index * STAGE_BYTES}; }

    // Where the weights of a step start; with two halves, one matrix follows the other.
    static ARASFSR_DEVICE const NUMBER* at(const Weights<NUMBER>& weights, int step) {
        if (INNER == Inner::OUTPUT) return weights.matrix + step * (DEPTH * NP);
        return weights.matrix + step / STEPS * (NP * NP) + step % STEPS * DEPTH;
    }

    ARASFSR_DEVICE void load(int thread, int index, const Weights<NUMBER>& weights, int step) const {
        const NUMBER* from = at(weights, step);
#pragma unroll
        for (int i = 0; i < STAGE_BYTES / CHUNK_BYTES / THREADS; ++i) {
            const int row = (thread + i * THREADS) / Stage::CHUNKS, chunk = (thread + i * THREADS) % Stage::CHUNKS;
            hw::copy16(stage(index).chunk(row, chunk), from + row * weights.row_length + chunk * Stage::NUMBERS);
        }
    }

    // Starts to fill the first stages. No thread may still be reading the ring.
    ARASFSR_DEVICE void open(const Weights<NUMBER>& weights) const {
        const int thread = hw::thread();
        for (int step = 0; step < STAGES - 1; ++step) {
            if (step < weights.steps) load(thread, step, weights, step);
            hw::copy_commit();
        }
    }

    // The operand of mma for two chunks along the inner dimension and 16 columns: two registers for the first eight
    // columns, two for the others. Floats, which ldmatrix cannot transpose, are read one by one.
    ARASFSR_DEVICE void fragment(uint32_t (&result)[4], int lane, int index, int inner, int column) const {
        const Stage from = stage(index);
        if constexpr (INNER == Inner::INPUT) {
            const int row = column + lane / 16 * 8 + lane % 8;
            hw::load_matrices(result, from.chunk(row, inner / Stage::NUMBERS + lane / 8 % 2));
        } else if constexpr (sizeof(NUMBER) == 2) {
            hw::load_matrices_transposed(result, from.chunk(inner + lane % 16, column / Stage::NUMBERS + lane / 16));
        } else {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                result[i] = hw::bits(from.number(inner + i % 2 * 4 + lane % 4, column + i / 2 * 8 + lane / 4));
            }
        }
    }
};

// A thread's part of a product: four numbers of each of DOWN x ACROSS fragments of 16 x 8.
template <int ROWS, int NP>
struct Total {
    static constexpr int DOWN = ROWS / WARPS_DOWN / 16, ACROSS = NP / WARPS_ACROSS / 8;
    static_assert(DOWN > 0 && ACROSS > 1 && ACROSS % 2 == 0, "a warp takes 16 rows and 16 columns at a time");

    float fragments[DOWN][ACROSS][4];

    ARASFSR_DEVICE void clear() {
#pragma unroll
        for (int m = 0; m < DOWN; ++m) {
#pragma unroll
            for (int n = 0; n < ACROSS; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) fragments[m][n][i] = 0.0f;
            }
        }
    }

    // The first row and column of the thread's warp.
    static ARASFSR_DEVICE int row_of(int thread) { return thread / hw::WARP / WARPS_ACROSS * (ROWS / WARPS_DOWN); }
    static ARASFSR_DEVICE int column_of(int thread) { return thread / hw::WARP % WARPS_ACROSS * (NP / WARPS_ACROSS); }

    // Stores function(row, column, x, y, of_column(column)) for every pair x, y of adjacent numbers that this thread
    // holds, x being at (row, column).
    template <class Matrix, class OfColumn, class Function>
    ARASFSR_DEVICE void store(const Matrix& to, const OfColumn& of_column, const Function& function) {
        each_pair([&](int row, int column, float& x, float& y) {
            to.pair(row, column) = function(row, column, x, y, of_column(column));
        });
    }

    // Calls function(row, column, x, y) for every pair x, y of adjacent numbers that this thread holds.
    template <class Function>
    ARASFSR_DEVICE void each_pair(const Function& function) {
        const int thread = hw::thread(), lane = thread % hw::WARP;
        const int row = row_of(thread) + lane / 4, column = column_of(thread) + lane % 4 * 2;
#pragma unroll
        for (int n = 0; n < ACROSS; ++n) {
#pragma unroll
            for (int m = 0; m < DOWN; ++m) {
                float(&four)[4] = fragments[m][n];
                function(row + m * 16, column + n * 8, four[0], four[1]);
                function(row + m * 16 + 8, column + n * 8, four[2], four[3]);
            }
        }
    }
};

// total += activations * weights, whose first stages `ring.open` has started to fill. The steps beyond one square
// matrix multiply activations * s, formed in registers; row r of the activations meets row r / 4 of s.
//
// When it returns, other warps may still be reading the ring and the activations.
template <class T, int ROWS, int NP, class NUMBER, int STAGES, Inner INNER>
ARASFSR_DEVICE void multiply(Total<ROWS, NP>& total, const Tile<NP, NUMBER>& activations,
                             const Ring<NUMBER, NP, STAGES, INNER>& ring, const Weights<NUMBER>& weights,
                             const Tile<NP, NUMBER>& s) {
    using Sum = Total<ROWS, NP>;
    using Stages = Ring<NUMBER, NP, STAGES, INNER>;
    constexpr int NUMBERS = Tile<NP, NUMBER>::NUMBERS;
    const int thread = hw::thread(), lane = thread % hw::WARP;
    const int row = Sum::row_of(thread) + lane % 16, chunk = lane / 16, column = Sum::column_of(thread);
    int reading = 0, filling = STAGES - 1;
    for (int step = 0; step < weights.steps; ++step) {
        hw::copy_wait<STAGES - 2>();
        hw::barrier();  // the step's stage has arrived for all threads, and all have read the previous one
        if (step + STAGES - 1 < weights.steps) ring.load(thread, filling, weights, step + STAGES - 1);
        hw::copy_commit();
        const int first = step % Stages::STEPS * (Stages::DEPTH / NUMBERS) + chunk;
        const bool modulated = step >= Stages::STEPS;
#pragma unroll
        for (int inner = 0; inner < Stages::DEPTH; inner += 2 * NUMBERS) {
            uint32_t left[Sum::DOWN][4];
#pragma unroll
            for (int m = 0; m < Sum::DOWN; ++m) {
                hw::load_matrices(left[m], activations.chunk(row + m * 16, first + inner / NUMBERS));
            }
            if (modulated) {
#pragma unroll
                for (int m = 0; m < Sum::DOWN; ++m) {
                    uint32_t factor[4];
                    hw::load_matrices(factor, s.chunk((row + m * 16) / 4, first + inner / NUMBERS));
#pragma unroll
                    for (int i = 0; i < 4; ++i) left[m][i] = hw::multiply_registers<T>(left[m][i], factor[i]);
                }
            }
#pragma unroll
            for (int n = 0; n < Sum::ACROSS; n += 2) {
                uint32_t right[4];
                ring.fragment(right, lane, reading, inner, column + n * 8);
#pragma unroll
                for (int m = 0; m < Sum::DOWN; ++m) {
                    hw::mma(T{}, total.fragments[m][n], left[m], right);
                    hw::mma(T{}, total.fragments[m][n + 1], left[m], right + 2);
                }
            }
        }
        reading = reading + 1 == STAGES ? 0 : reading + 1;
        filling = filling + 1 == STAGES ? 0 : filling + 1;
    }
}

}  // namespace arasfsr
#endif
