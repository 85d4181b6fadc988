// Test equipment: wgmma in plain C++, warp by warp, with the fragments and the matrix descriptors of the PTX ISA.
//
// A warpgroup multiplies 64 rows; warp w of it has rows 16 w .. 16 w + 15, in the fragments of mma.
#ifndef ARASFSR_WARPGROUP_H
#define ARASFSR_WARPGROUP_H

#include <array>

#include "instructions.h"

namespace arasfsr::emulation {

// A matrix in shared memory whose rows run along the inner dimension, with 128-byte swizzle: groups of eight rows of
// 128 bytes are `stride` bytes apart; bits 4 to 6 of the address are XORed with bits 7 to 9. Transposed, a row has 64
// numbers along the outer dimension, a group has eight along the inner one, and the next 64 are `leading` bytes apart.
struct SwizzledMatrix {
    const unsigned char* memory;  // of the block, as the asynchronous proxy sees it
    uint32_t start, stride, leading;

    static SwizzledMatrix of(uint64_t descriptor) {
        if (descriptor >> 62 != 1) fail("a matrix descriptor without 128-byte swizzle");
        if (descriptor >> 49 & 7) fail("a matrix descriptor with a base offset");
        return {published_of(rank()), static_cast<uint32_t>(descriptor & 0x3FFF) << 4,
                static_cast<uint32_t>(descriptor >> 32 & 0x3FFF) << 4,
                static_cast<uint32_t>(descriptor >> 16 & 0x3FFF) << 4};
    }

    uint16_t at(int row, int inner) const {
        return read(start + row / 8 * stride + row % 8 * 128 + inner * 2);
    }

    uint16_t at_transposed(int outer, int inner) const {
        return read(start + outer / 64 * leading + inner / 8 * stride + inner % 8 * 128 + outer % 64 * 2);
    }

  private:
    uint16_t read(uint32_t plain) const {
        uint16_t number;
        std::memcpy(&number, memory + (plain ^ (plain >> 7 & 7) << 4), 2);
        return number;
    }
};

constexpr int WGMMA_COLUMNS = 256, WGMMA_INNER = 16;

// A lane's operands of wgmma.m64n256k16.
struct Wgmma {
    float* total;        // of each 8 columns j: (g, 8 j + 2t), (g, 8 j + 2t + 1), (g + 8, ..), (g + 8, ..)
    const uint32_t* a;   // as for mma, or NULL to use the descriptor
    uint64_t a_matrix, b_matrix;
    bool add;            // to total, which is otherwise overwritten
    bool transposed = false;  // the columns of b are contiguous
};

template <float (*FROM)(uint16_t)>
void wgmma_execute(const std::array<Wgmma, WARP>& lanes, int warp_of_group) {
    static float b[WGMMA_INNER][WGMMA_COLUMNS], a[16][WGMMA_INNER];
    const SwizzledMatrix right = SwizzledMatrix::of(lanes[0].b_matrix);
    for (int column = 0; column < WGMMA_COLUMNS; ++column) {
        for (int k = 0; k < WGMMA_INNER; ++k) {
            b[k][column] = FROM(lanes[0].transposed ? right.at_transposed(column, k) : right.at(column, k));
        }
    }
    for (int lane = 0; lane < WARP && lanes[0].a != nullptr; ++lane) {
        for (int j = 0; j < 8; ++j) {
            const int row = lane / 4 + 8 * (j / 2 % 2), k = 2 * (lane % 4) + 8 * (j / 4) + j % 2;
            a[row][k] = FROM(static_cast<uint16_t>(lanes[lane].a[j / 2] >> (16 * (j % 2))));
        }
    }
    if (lanes[0].a == nullptr) {
        const SwizzledMatrix left = SwizzledMatrix::of(lanes[0].a_matrix);
        for (int row = 0; row < 16; ++row) {
            for (int k = 0; k < WGMMA_INNER; ++k) a[row][k] = FROM(left.at(16 * warp_of_group + row, k));
        }
    }
    for (int row = 0; row < 16; ++row) {
        std::array<double, WGMMA_COLUMNS> sum{};
        for (int k = 0; k < WGMMA_INNER; ++k) {
            const double factor = a[row][k];
            for (int column = 0; column < WGMMA_COLUMNS; ++column) sum[column] += factor * b[k][column];
        }
        for (int column = 0; column < WGMMA_COLUMNS; ++column) {
            const Wgmma& owner = lanes[row % 8 * 4 + column % 8 / 2];
            float& total = owner.total[column / 8 * 4 + row / 8 * 2 + column % 2];
            total = static_cast<float>(sum[column] + (owner.add ? total : 0.0f));
        }
    }
}

// wgmma.mma_async: may read registers and shared memory, and write the result, at any time until the wait.
template <float (*FROM)(uint16_t)>
void wgmma(void* const lanes[WARP]) {
    std::array<Wgmma, WARP> operands;
    for (int lane = 0; lane < WARP; ++lane) operands[lane] = *static_cast<const Wgmma*>(lanes[lane]);
    const int warp_of_group = thread() / WARP % 4;
    defer([=] { wgmma_execute<FROM>(operands, warp_of_group); });
}

// wgmma.fence, commit_group and wait_group of a whole warp.
inline void wgmma_fence(void* const*) { defer_allow(true); }
inline void wgmma_commit(void* const*) { defer_commit(); }
inline void wgmma_wait(void* const lanes[WARP]) {
    defer_wait(*static_cast<const int*>(lanes[0]));
    defer_allow(false);
}

}  // namespace arasfsr::emulation
#endif
