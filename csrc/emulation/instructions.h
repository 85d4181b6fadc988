// Test equipment: warp instructions in plain C++, with the fragment layouts of the PTX ISA, and 16-bit formats.
//
// In all fragments below, lane l has g = l / 4 and t = l % 4. A register holds two 16-bit numbers, the lower first.
#ifndef ARASFSR_INSTRUCTIONS_H
#define ARASFSR_INSTRUCTIONS_H

#include <cmath>
#include <cstdint>
#include <cstring>

#include "emulator.h"

namespace arasfsr::emulation {

inline uint32_t bits_of(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}

inline float float_of(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

inline float from_bfloat16(uint16_t x) { return float_of(static_cast<uint32_t>(x) << 16); }

// Rounded to nearest, ties to even.
inline uint16_t to_bfloat16(float x) {
    if (std::isnan(x)) return 0x7FFF;
    const uint32_t bits = bits_of(x);
    return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

inline float from_float16(uint16_t x) {
    const int exponent = (x >> 10) & 31, fraction = x & 1023;
    float magnitude;
    if (exponent == 31) {
        magnitude = fraction ? NAN : INFINITY;
    } else if (exponent == 0) {
        magnitude = std::ldexp(static_cast<float>(fraction), -24);
    } else {
        magnitude = std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
    }
    return x & 0x8000 ? -magnitude : magnitude;
}

// Rounded to nearest, ties to even; 65520 and more is infinite.
inline uint16_t to_float16(float x) {
    const uint16_t sign = static_cast<uint16_t>((bits_of(x) >> 16) & 0x8000);
    const float magnitude = std::fabs(x);
    if (std::isnan(x)) return 0x7FFF;
    if (magnitude >= 65520.0f) return sign | 0x7C00;
    int exponent = -14;  // numbers below 2^-14 have the smallest exponent
    if (magnitude >= 6.103515625e-05f) exponent = std::ilogb(magnitude);
    const int places = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));
    // 1024 .. 2048 units above the smallest exponent; a carry into the exponent is correct
    return static_cast<uint16_t>(sign | (places + ((exponent + 14) << 10)));
}

// Rounded to nearest, ties away from zero; the bits of a float32 whose last 13 are zero.
inline uint32_t to_tf32(float x) {
    return std::isnan(x) ? 0x7FFFE000u : (bits_of(x) + 0x1000u) & 0xFFFFE000u;
}

// A sine or cosine with an error similar to that of a device's special-function unit, whose documented limit is
// 2^-20.5: rounded to multiples of 2^-20.
inline float as_coarse_as_the_unit(float x) { return std::ldexp(std::nearbyint(std::ldexp(x, 20)), -20); }

struct Ldmatrix {
    uint32_t* result;  // four registers
    const void* row;   // lane l's is row l % 8 of matrix l / 8: eight numbers
    bool transposed;
};

// Register j holds (g, 2t) and (g, 2t + 1) of matrix j; transposed, (2t, g) and (2t + 1, g).
inline void ldmatrix(void* const lanes[WARP]) {
    for (int lane = 0; lane < WARP; ++lane) {
        const Ldmatrix& mine = *static_cast<const Ldmatrix*>(lanes[lane]);
        const int g = lane / 4, t = lane % 4;
        for (int matrix = 0; matrix < 4; ++matrix) {
            uint16_t pair[2];
            for (int i = 0; i < 2; ++i) {
                const int row = mine.transposed ? 2 * t + i : g, column = mine.transposed ? g : 2 * t + i;
                const void* from = static_cast<const Ldmatrix*>(lanes[8 * matrix + row])->row;
                std::memcpy(&pair[i], static_cast<const uint16_t*>(from) + column, 2);
            }
            mine.result[matrix] = pair[0] | static_cast<uint32_t>(pair[1]) << 16;
        }
    }
}

struct Stmatrix {
    const uint32_t* matrices;  // four registers
    void* row;                 // as for ldmatrix
};

inline void stmatrix(void* const lanes[WARP]) {
    for (int lane = 0; lane < WARP; ++lane) {
        const Stmatrix& mine = *static_cast<const Stmatrix*>(lanes[lane]);
        const int g = lane / 4, t = lane % 4;
        for (int matrix = 0; matrix < 4; ++matrix) {
            void* to = static_cast<const Stmatrix*>(lanes[8 * matrix + g])->row;
            std::memcpy(static_cast<uint16_t*>(to) + 2 * t, &mine.matrices[matrix], 4);
        }
    }
}

struct Mma {
    float* total;       // 16 x 8: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)
    const uint32_t* a;  // 16 x 16, pairs along the row: (g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8)
    const uint32_t* b;  // 16 x 8, pairs along the column: (2t, g), (2t + 8, g)
};

// Adds to each lane's part of the total its part of a b.
template <int DEPTH>
void add_product(void* const lanes[WARP], const float (&a)[16][DEPTH], const float (&b)[DEPTH][8]) {
    for (int lane = 0; lane < WARP; ++lane) {
        const Mma& mine = *static_cast<const Mma*>(lanes[lane]);
        const int g = lane / 4, t = lane % 4;
        for (int j = 0; j < 4; ++j) {
            const int row = g + 8 * (j / 2), column = 2 * t + j % 2;
            double sum = mine.total[j];
            for (int k = 0; k < DEPTH; ++k) sum += static_cast<double>(a[row][k]) * b[k][column];
            mine.total[j] = static_cast<float>(sum);
        }
    }
}

template <float (*FROM)(uint16_t)>
void mma(void* const lanes[WARP]) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < WARP; ++lane) {
        const Mma& mine = *static_cast<const Mma*>(lanes[lane]);
        const int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 2; ++i) {
            for (int j = 0; j < 4; ++j) {
                a[g + 8 * (j % 2)][2 * t + 8 * (j / 2) + i] = FROM(static_cast<uint16_t>(mine.a[j] >> (16 * i)));
            }
            for (int j = 0; j < 2; ++j) b[2 * t + 8 * j + i][g] = FROM(static_cast<uint16_t>(mine.b[j] >> (16 * i)));
        }
    }
    add_product(lanes, a, b);
}

// In TF32 a is 16 x 8, (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4); b is 8 x 8, (t, g), (t + 4, g). The bits of a
// register beyond TF32 are not read.
inline void mma_tf32(void* const lanes[WARP]) {
    float a[16][8], b[8][8];
    for (int lane = 0; lane < WARP; ++lane) {
        const Mma& mine = *static_cast<const Mma*>(lanes[lane]);
        const int g = lane / 4, t = lane % 4;
        for (int j = 0; j < 4; ++j) a[g + 8 * (j % 2)][t + 4 * (j / 2)] = float_of(mine.a[j] & 0xFFFFE000u);
        for (int j = 0; j < 2; ++j) b[t + 4 * j][g] = float_of(mine.b[j] & 0xFFFFE000u);
    }
    add_product(lanes, a, b);
}

struct Shuffle {
    float value, result;
    int mask;
};

// shfl.sync.bfly: lane l reads lane l ^ mask.
inline void shuffle_xor(void* const lanes[WARP]) {
    for (int lane = 0; lane < WARP; ++lane) {
        Shuffle& mine = *static_cast<Shuffle*>(lanes[lane]);
        mine.result = static_cast<const Shuffle*>(lanes[lane ^ mine.mask])->value;
    }
}

}  // namespace arasfsr::emulation
#endif
