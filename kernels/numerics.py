"""Device functions: rounding, sine and matrix product, with the same results on every target and in the interpreter."""

from __future__ import annotations

import triton
import triton.language as tl

_ROUND = tl.constexpr(12582912.0)  # 1.5 * 2^23: adding it leaves no bit for a fraction

# pi/2 in three parts: products of the first two with an integer of up to 12 bits are exact, fused or not
_HALF_PI_1 = tl.constexpr(1.5703125)
_HALF_PI_2 = tl.constexpr(4.837512969970703125e-4)
_HALF_PI_3 = tl.constexpr(7.54978995489188216e-8)
_INVERSE_PI = tl.constexpr(0.3183098861837907)

# 2 pi in two parts; the difference with the first has few enough bits to be exact
_TURN_1 = tl.constexpr(6.2831854820251465)
_TURN_2 = tl.constexpr(-1.7484556000744883e-7)
_INVERSE_TURN = tl.constexpr(0.15915494309189535)

# (sin(r) - r) / r^3 in r^2 on [-pi/2, pi/2], fitted to an absolute error of 5e-9
_SINE_3 = tl.constexpr(-1.66666571e-1)
_SINE_5 = tl.constexpr(8.33301729e-3)
_SINE_7 = tl.constexpr(-1.98066152e-4)
_SINE_9 = tl.constexpr(2.60005467e-6)


@triton.jit
def round_half_even(x):
    """The nearest integer, ties to even, for |x| < 2^22."""
    return (x + _ROUND) - _ROUND


@triton.jit
def sine(x, quarter):
    """sin(x + quarter * pi/2) of float32 x for quarter 0 or 1, with an absolute error below 1.3e-7 for |x| < 4096."""
    turn = round_half_even(x * _INVERSE_PI + 0.5 * quarter)
    halves = 2.0 * turn - quarter
    r = ((x - halves * _HALF_PI_1) - halves * _HALF_PI_2) - halves * _HALF_PI_3
    square = r * r
    tail = _SINE_3 + square * (_SINE_5 + square * (_SINE_7 + square * _SINE_9))
    value = r + r * square * tail
    odd = turn.to(tl.int32) & 1
    return tl.where(odd == 1, -value, value)


@triton.jit
def _within_a_turn(x):
    """x modulo 2 pi, in [-pi, pi], with an absolute error below 1.3e-7 for |x| < 2^20."""
    turns = tl.fma(x, tl.full(x.shape, _INVERSE_TURN, tl.float32), tl.full(x.shape, _ROUND, tl.float32)) - _ROUND
    r = tl.fma(-turns, tl.full(x.shape, _TURN_1, tl.float32), x)
    return tl.fma(-turns, tl.full(x.shape, _TURN_2, tl.float32), r)


@triton.jit
def wave(x, COSINE: tl.constexpr, ARITHMETIC: tl.constexpr):
    """sin or cos of float32 x; if ARITHMETIC is "unit", by the special-function unit with an error below 7e-7."""
    if ARITHMETIC == "unit":
        NAME: tl.constexpr = "cos" if COSINE else "sin"
        x = tl.inline_asm_elementwise(
            NAME + ".approx.f32 $0, $1;", "=f,f", [_within_a_turn(x)], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        x = sine(x, 1.0 if COSINE else 0.0)
    return x


@triton.jit
def _as_bfloat16(x):
    """float32 x rounded to bfloat16, ties to even."""
    bits = x.to(tl.int32, bitcast=True)
    bits += 0x7FFF + ((bits >> 16) & 1)
    return (bits & -65536).to(tl.float32, bitcast=True)


@triton.jit
def _as_tf32(x):
    """float32 x rounded to TF32, ties away from zero; NaN stays NaN."""
    bits = (x.to(tl.int32, bitcast=True) + 0x1000) & -8192
    return tl.where(x == x, bits.to(tl.float32, bitcast=True), x)


@triton.jit
def _rounded(x, ARITHMETIC: tl.constexpr):
    """float32 x rounded for the products that read it, where the store or the product would not round it correctly.

    ARITHMETIC is "tf32": matrix units truncate float32 to TF32, with twice the error of rounding, and a bias;
    "bfloat16": Triton's interpreter truncates to bfloat16, and computes wrongly in it; "unit" (16 bits on NVIDIA's
    GPUs) or "plain": nothing to do.
    """
    if ARITHMETIC == "tf32":
        x = _as_tf32(x)
    elif ARITHMETIC == "bfloat16":
        x = _as_bfloat16(x)
    return x


@triton.jit
def narrow(x, pointer, ARITHMETIC: tl.constexpr):
    """float32 x rounded to nearest, in the dtype of `pointer`."""
    return _rounded(x, ARITHMETIC).to(pointer.dtype.element_ty)


@triton.jit
def product(a, b, total, PRECISION: tl.constexpr, ARITHMETIC: tl.constexpr):
    """total + a @ b, accumulated in float32; a and b have been rounded by `narrow`."""
    if ARITHMETIC == "bfloat16":
        return tl.dot(a.to(tl.float32), b.to(tl.float32), total, input_precision="ieee")
    return tl.dot(a, b, total, input_precision=PRECISION)


@triton.jit
def modulate(f, s, ARITHMETIC: tl.constexpr):
    """f * s in their dtype."""
    if ARITHMETIC == "bfloat16":
        return _as_bfloat16(f.to(tl.float32) * s.to(tl.float32))
    else:  # noqa: RET505, what follows a return is compiled, too
        return _rounded(f * s, ARITHMETIC)
