// Sine and cosine in float32 without a slow path for large arguments: accurate to float32 and the same on every target,
// or, for the 16-bit formats, by the special-function unit.
#ifndef ARASFSR_NUMERICS_H
#define ARASFSR_NUMERICS_H

#include "hw.h"

namespace arasfsr {

// sin(x + quarter pi/2) for quarter 0 or 1, with an absolute error below 1.3e-7 for |x| < 4096.
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

// x modulo 2 pi, in [-pi, pi], with an absolute error below 1.3e-7 for |x| < 2^20 and below 3e-7 for |x| < 2^24.
ARASFSR_DEVICE float within_a_turn(float x) {
    constexpr float inverse_turn = 0.15915494309189535f;
    // float32 has no bits for a fraction next to 1.5 * 2^23: adding and subtracting it rounds to an integer
    constexpr float magic = 12582912.0f;
    // 2 pi in two parts; the difference with the first has few enough bits to be exact
    constexpr float turn_1 = 6.2831854820251465f, turn_2 = -1.7484556000744883e-7f;

    const float turns = hw::add(hw::fused(x, inverse_turn, magic), -magic);
    return hw::fused(-turns, turn_2, hw::fused(-turns, turn_1, x));
}

// An angle whose sine and cosine are stored in format T. For the 16-bit formats, whose rounding errs by up to 2.4e-4
// (float16) or 2e-3 (bfloat16), they have an absolute error below 7e-7.
template <class T>
class Angle {
  public:
    explicit ARASFSR_DEVICE Angle(float x) : reduced(within_a_turn(x)) {}
    ARASFSR_DEVICE float sine() const { return hw::fast_sine(reduced); }
    ARASFSR_DEVICE float cosine() const { return hw::fast_cosine(reduced); }

  private:
    const float reduced;
};

template <>
class Angle<Tf32> {
  public:
    explicit ARASFSR_DEVICE Angle(float x) : x(x) {}
    ARASFSR_DEVICE float sine() const { return arasfsr::sine(x, 0.0f); }
    ARASFSR_DEVICE float cosine() const { return arasfsr::sine(x, 1.0f); }

  private:
    const float x;
};

}  // namespace arasfsr
#endif
