"""Device functions: coordinates of queries, the corners of the local ensemble, the skip (mirrors arasfsr.coords).

They rely on a + b * c being rounded twice: kernels that call them are compiled without fused multiply-adds, because the
highest octave of the Fourier encoding multiplies a rounding of the coordinate by 512.
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
def coordinates(query, valid, coord, grid, GRID: tl.constexpr):
    """(y, x) of the queries of that number; where not valid, of some place inside [-1, 1].

    `grid` is (width, top, left) of the region, then (step, start) of the grid's y and x.
    """
    if GRID:
        width, top, left, step_y, start_y, step_x, start_x = grid
        query = tl.where(valid, query, 0)
        y = (top + query // width).to(tl.float32) * step_y + start_y
        x = (left + query % width).to(tl.float32) * step_x + start_x
    else:
        y = tl.load(coord + 2 * query, mask=valid, other=0.0)
        x = tl.load(coord + 2 * query + 1, mask=valid, other=0.0)
    return y, x


@triton.jit
def corner_on_axis(x, shift, n):
    """The LR cell among n that lies towards `shift` (v/n + 1e-6), and (x - its centre) n."""
    moved = tl.minimum(tl.maximum(x + shift, _LOW), _HIGH)
    cell = round_half_even(((moved + 1.0) * n - 1.0) * 0.5)
    cell = tl.minimum(tl.maximum(cell, 0.0), n - 1.0)
    centre = tl.div_rn(2.0 * cell + 1.0, tl.zeros_like(cell) + n) - 1.0
    return cell.to(tl.int32), (x - centre) * n


@triton.jit
def corners(y, x, corner, lr):
    """Of corner 0 .. 3 (vy outer) of queries at (y, x): LR cell row by row, rel y, rel x, share of the ensemble.

    `lr` is (h, w), then v/n + 1e-6 for v = -1 and 1 of y, and of x.
    """
    h, w, shift_up, shift_down, shift_left, shift_right = lr
    height, width = h.to(tl.float32), w.to(tl.float32)
    row_up, rel_up = corner_on_axis(y, shift_up, height)
    row_down, rel_down = corner_on_axis(y, shift_down, height)
    column_left, rel_left = corner_on_axis(x, shift_left, width)
    column_right, rel_right = corner_on_axis(x, shift_right, width)
    down, right = corner >= 2, corner % 2 == 1
    cell = tl.where(down, row_down, row_up) * w + tl.where(right, column_right, column_left)
    rel_y, rel_x = tl.where(down, rel_down, rel_up), tl.where(right, rel_right, rel_left)
    opposite = tl.abs(tl.where(down, rel_up, rel_down) * tl.where(right, rel_left, rel_right)) + _AREA_FLOOR
    total = tl.abs(rel_up * rel_left) + _AREA_FLOOR
    total += tl.abs(rel_up * rel_right) + _AREA_FLOOR
    total += tl.abs(rel_down * rel_left) + _AREA_FLOOR
    total += tl.abs(rel_down * rel_right) + _AREA_FLOOR
    return cell, rel_y, rel_x, tl.div_rn(opposite, total)


@triton.jit
def fourier_encoding(y, x, column):
    """Columns of [p, sin(2^k p), cos(2^k p) for k = 0 .. 9] of p = (y, x); 0 beyond the last one."""
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
    """A channel of the LR image at (y, x), bilinear, border padding; `plane` is the first pixel's offset."""
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
