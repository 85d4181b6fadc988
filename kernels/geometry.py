"""Device functions: coordinates of queries, the corners of the local ensemble, the skip; mirrors arasfsr.coords.

In a + b * c the product must be rounded before the sum, as in the Python code: the highest octave of the Fourier
encoding multiplies a difference in rounding by 512. The kernels are therefore compiled without fused multiply-adds.
"""

from __future__ import annotations

import triton
import triton.language as tl

from arasfsr.coords import AREA_FLOOR, CORNER_SHIFT
from arasfsr.kernels.numerics import round_half_even, sine

_LOW = tl.constexpr(-1 + CORNER_SHIFT)
_HIGH = tl.constexpr(1 - CORNER_SHIFT)
_AREA_FLOOR = tl.constexpr(AREA_FLOOR)


@triton.jit
def coordinates(query_index, valid, coord, grid, GRID: tl.constexpr):
    """(y, x) of queries; an arbitrary point in [-1, 1] for those that are not valid.

    `grid` is the region's width, top and left, then (step, start) of y and of x.
    """
    if GRID:
        region_width, region_top, region_left, step_y, start_y, step_x, start_x = grid
        query_index = tl.where(valid, query_index, 0)
        y = (region_top + query_index // region_width).to(tl.float32) * step_y + start_y
        x = (region_left + query_index % region_width).to(tl.float32) * step_x + start_x
    else:
        y = tl.load(coord + 2 * query_index, mask=valid, other=0.0)
        x = tl.load(coord + 2 * query_index + 1, mask=valid, other=0.0)
    return y, x


@triton.jit
def corner_on_axis(x, shift, n):
    """The LR pixel, of n, on the side of `shift` (v/n + 1e-6), and (x - its centre) n."""
    moved = tl.minimum(tl.maximum(x + shift, _LOW), _HIGH)
    nearest = round_half_even(((moved + 1.0) * n - 1.0) * 0.5)
    nearest = tl.minimum(tl.maximum(nearest, 0.0), n - 1.0)
    centre = tl.div_rn(2.0 * nearest + 1.0, tl.zeros_like(nearest) + n) - 1.0
    return nearest.to(tl.int32), (x - centre) * n


@triton.jit
def corners(y, x, corner, lr):
    """LR pixel (row by row), rel y, rel x and share of the ensemble for corner 0 .. 3 (vy outer) of queries at (y, x).

    `lr` is (h, w), then v/n + 1e-6 for v = -1 and 1, of y and of x.
    """
    h, w, shift_up, shift_down, shift_left, shift_right = lr
    height, width = h.to(tl.float32), w.to(tl.float32)
    row_up, rel_up = corner_on_axis(y, shift_up, height)
    row_down, rel_down = corner_on_axis(y, shift_down, height)
    column_left, rel_left = corner_on_axis(x, shift_left, width)
    column_right, rel_right = corner_on_axis(x, shift_right, width)
    down, right = corner >= 2, corner % 2 == 1
    lr_pixel = tl.where(down, row_down, row_up) * w + tl.where(right, column_right, column_left)
    rel_y, rel_x = tl.where(down, rel_down, rel_up), tl.where(right, rel_right, rel_left)
    opposite = tl.abs(tl.where(down, rel_up, rel_down) * tl.where(right, rel_left, rel_right)) + _AREA_FLOOR
    total = tl.abs(rel_up * rel_left) + _AREA_FLOOR
    total += tl.abs(rel_up * rel_right) + _AREA_FLOOR
    total += tl.abs(rel_down * rel_left) + _AREA_FLOOR
    total += tl.abs(rel_down * rel_right) + _AREA_FLOOR
    return lr_pixel, rel_y, rel_x, tl.div_rn(opposite, total)


@triton.jit
def fourier_encoding(y, x, column):
    """Columns of [p, sin(2^k p), cos(2^k p) for k = 0 .. 9] for p = (y, x); 0 after the last one."""
    feature = tl.maximum(column - 2, 0)
    octave = feature // 4
    scale = ((octave + 127) << 23).to(tl.float32, bitcast=True)
    quarter = ((feature // 2) % 2).to(tl.float32)
    p = tl.where((column % 2 == 0)[None, :], y[:, None], x[:, None])
    value = sine(p * scale[None, :], quarter[None, :])
    encoded = tl.where((column < 2)[None, :], p, value)
    return tl.where((column < 42)[None, :], encoded, 0.0)


@triton.jit
def skip(image, plane, y, x, h, w, channel: tl.constexpr, valid):
    """A channel of the LR image at (y, x): bilinear, with border padding. `plane` is the offset of the first pixel."""
    height, width = h.to(tl.float32), w.to(tl.float32)
    row = tl.minimum(tl.maximum(((y + 1.0) * height - 1.0) * 0.5, 0.0), height - 1.0)
    column = tl.minimum(tl.maximum(((x + 1.0) * width - 1.0) * 0.5, 0.0), width - 1.0)
    top, left = tl.floor(row), tl.floor(column)
    below, beside = row - top, column - left
    first_row, first_column = top.to(tl.int32), left.to(tl.int32)
    next_row, next_column = tl.minimum(first_row + 1, h - 1), tl.minimum(first_column + 1, w - 1)
    base = image + plane + channel * tl.cast(h, tl.int64) * w
    above = tl.load(base + first_row * w + first_column, mask=valid, other=0.0) * (1.0 - beside)
    above += tl.load(base + first_row * w + next_column, mask=valid, other=0.0) * beside
    under = tl.load(base + next_row * w + first_column, mask=valid, other=0.0) * (1.0 - beside)
    under += tl.load(base + next_row * w + next_column, mask=valid, other=0.0) * beside
    return above * (1.0 - below) + under * below
