// The sine of the coordinate branch: the same on every target, in float32, without a slow path for large arguments.
#ifndef ARASFSR_NUMERICS_H
#define ARASFSR_NUMERICS_H

#include "hw.h"

namespace arasfsr {

// sin(x + quarter pi/2), quarter being 0 or 1, to 1.3e-7 where |x| < 4096.
ARASFSR_HOST_DEVICE float sine(float x, float quarter) {
    // pi/2 in three parts: products of the first two with an integer of up to 12 bits are exact, fused or not
    constexpr float half_pi_1 = 1.5703125f, half_pi_2 = 4.837512969970703125e-4f, half_pi_3 = 7.54978995489188216e-8f;
    constexpr float inverse_pi = 0.3183098861837907f;
    // (sin(r) - r) / r^3 in r^2 on [-pi/2, pi/2], fitted to an absolute error of 5e-9
    constexpr float c3 = -1.66666571e-1f, c5 = 8.33301729e-3f, c7 = -1.98066152e-4f, c9 = 2.60005467e-6f;

    const float turn = rintf(x * inverse_pi + 0.5f * quarter);
    const float halves = 2.0f * turn - quarter;
    const float r = ((x - halves * half_pi_1) - halves * half_pi_2) - halves * half_pi_3;
    const float square = r * r;
    const float tail = c3 + square * (c5 + square * (c7 + square * c9));
    const float value = r + r * square * tail;
    return static_cast<int>(turn) & 1 ? -value : value;
}

}  // namespace arasfsr
#endif
