"""Device functions: rounding, sine and matrix product, the same on every target and in the interpreter."""

from __future__ import annotations

import triton
import triton.language as tl

_ROUND = tl.constexpr(12582912.0)  # 1.5 * 2^23: adding it leaves no bit for a fraction

# pi/2 in three parts: products of the first two with an integer of up to 12 bits are exact, fused or not
_HALF_PI_1 = tl.constexpr(1.5703125)
_HALF_PI_2 = tl.constexpr(4.837512969970703125e-4)
_HALF_PI_3 = tl.constexpr(7.54978995489188216e-8)
_INVERSE_PI = tl.constexpr(0.3183098861837907)

# (sin(r) - r) / r^3 in r^2 on [-pi/2, pi/2], fitted to an absolute error of 5e-9
_SINE_3 = tl.constexpr(-1.66666571e-1)
_SINE_5 = tl.constexpr(8.33301729e-3)
_SINE_7 = tl.constexpr(-1.98066152e-4)
_SINE_9 = tl.constexpr(2.60005467e-6)


@triton.jit
def relu(x):
    """The larger of x and 0, NaN of NaN: a number that is none is not to be hidden."""
    return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def round_half_even(x):
    """The nearest whole number, ties to even, of |x| < 2^22."""
    return (x + _ROUND) - _ROUND


@triton.jit
def sine(x, quarter):
    """sin(x + quarter * pi/2) of float32 x, quarter being 0 or 1, to 1.3e-7 where |x| < 4096."""
    turn = round_half_even(x * _INVERSE_PI + 0.5 * quarter)
    halves = 2.0 * turn - quarter
    r = ((x - halves * _HALF_PI_1) - halves * _HALF_PI_2) - halves * _HALF_PI_3
    square = r * r
    tail = _SINE_3 + square * (_SINE_5 + square * (_SINE_7 + square * _SINE_9))
    value = r + r * square * tail
    odd = turn.to(tl.int32) & 1
    return tl.where(odd == 1, -value, value)


@triton.jit
def _as_bfloat16(x):
    """float32 x, rounded to nearest even to what bfloat16 can hold."""
    bits = x.to(tl.int32, bitcast=True)
    bits += 0x7FFF + ((bits >> 16) & 1)
    return (bits & -65536).to(tl.float32, bitcast=True)


@triton.jit
def _as_tf32(x):
    """float32 x, rounded to nearest, ties away from zero, to what TF32 can hold; NaN stays NaN."""
    bits = (x.to(tl.int32, bitcast=True) + 0x1000) & -8192
    return tl.where(x == x, bits.to(tl.float32, bitcast=True), x)


@triton.jit
def _rounded(x, ROUNDING: tl.constexpr):
    """float32 x as the products are to read it. ROUNDING names what a store or a product would not do by itself.

    "tf32": matrix units that are given float32 leave its last bits out, which errs twice as much as rounding and all to
    one side. "bfloat16": Triton's interpreter truncates, and its arithmetic in bfloat16 is wrong. "": nothing.
    """
    if ROUNDING == "tf32":
        x = _as_tf32(x)
    elif ROUNDING == "bfloat16":
        x = _as_bfloat16(x)
    return x


@triton.jit
def narrow(x, pointer, ROUNDING: tl.constexpr):
    """float32 x in the dtype that is stored at `pointer`, rounded to nearest."""
    return _rounded(x, ROUNDING).to(pointer.dtype.element_ty)


@triton.jit
def product(a, b, total, PRECISION: tl.constexpr, ROUNDING: tl.constexpr):
    """total + a @ b, accumulated in float32; a and b are `narrow` already."""
    if ROUNDING == "bfloat16":
        return tl.dot(a.to(tl.float32), b.to(tl.float32), total, input_precision="ieee")
    return tl.dot(a, b, total, input_precision=PRECISION)


@triton.jit
def modulate(f, s, ROUNDING: tl.constexpr):
    """f * s in their own dtype."""
    if ROUNDING == "bfloat16":
        return _as_bfloat16(f.to(tl.float32) * s.to(tl.float32))
    else:  # noqa: RET505, what follows a return is compiled, too
        return _rounded(f * s, ROUNDING)
