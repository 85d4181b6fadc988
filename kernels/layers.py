"""Device functions: the layers of the decoder over a tile, with activations in a scratch buffer that stays in L2.

A tile has a content row for each query and corner, the corner varying fastest, and a coordinate row for each query. The
rows of all buffers are NP long, the width rounded up to a power of two, and zero beyond the width. Between two layers
there is a barrier of the block, as threads read what others have written. `rows` are those of a tile, 0 .. BM - 1 or
0 .. BQ - 1, from `offsets`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from arasfsr.kernels.activation import activation, modulation, modulation_derivative
from arasfsr.kernels.geometry import fourier_encoding
from arasfsr.kernels.numerics import modulate, narrow, product


@triton.jit
def offsets(start, size: tl.constexpr):
    """0 .. size - 1 for `start` below 2^40, by adding a zero that the compiler cannot see.

    It would otherwise compute the addresses of all phases before the first tile and keep them in registers throughout.
    """
    return tl.arange(0, size) + tl.cast(start >> 40, tl.int32)


@triton.jit
def first_layer(
    target, lr_map, rows, lr_rows, rel_weight, rel_y, rel_x, cell_weight, cell_y, cell_x,
    N: tl.constexpr, NP: tl.constexpr, BM: tl.constexpr, BG: tl.constexpr, HAS_CELL: tl.constexpr,
    ARITHMETIC: tl.constexpr,
):  # fmt: skip
    """f_1 = activation(G[lr_row] + I0_rel rel [+ I0_cell cell]) of BM rows, to `target`; weights are (2, NP)."""
    for start in range(0, NP, BG):
        column = start + tl.arange(0, BG)
        z = tl.load(lr_map + lr_rows[:, None] * N + column[None, :], mask=(column < N)[None, :], other=0.0)
        z += rel_y[:, None] * tl.load(rel_weight + column)[None, :]
        z += rel_x[:, None] * tl.load(rel_weight + NP + column)[None, :]
        if HAS_CELL:
            z += cell_y[:, None] * tl.load(cell_weight + column)[None, :]
            z += cell_x[:, None] * tl.load(cell_weight + NP + column)[None, :]
        tl.store(target + rows[:, None] * NP + column[None, :], narrow(activation(z), target, ARITHMETIC))


@triton.jit
def content_layer(
    target, source, s, rows, weight, bias,
    NP: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr,
    MODULATED: tl.constexpr, PRECISION: tl.constexpr, ARITHMETIC: tl.constexpr,
):  # fmt: skip
    """activation(W_f f + W_p (f * s) + bias) of BM rows, from `source` to `target`; weight is (2 or 1, NP, NP)."""
    for start in tl.range(0, NP, BN, num_stages=1):
        column = start + tl.arange(0, BN)
        z = tl.zeros((BM, BN), tl.float32)
        for depth in tl.range(0, NP, BK, num_stages=STAGES):
            k = depth + tl.arange(0, BK)
            f = tl.load(source + rows[:, None] * NP + k[None, :])
            z = product(f, tl.load(weight + column[None, :] * NP + k[:, None]), z, PRECISION, ARITHMETIC)
            if MODULATED:
                modulated = modulate(f, tl.load(s + (rows // 4)[:, None] * NP + k[None, :]), ARITHMETIC)
                weight_p = tl.load(weight + NP * NP + column[None, :] * NP + k[:, None])
                z = product(modulated, weight_p, z, PRECISION, ARITHMETIC)
        next_f = activation(z + tl.load(bias + column)[None, :])
        tl.store(target + rows[:, None] * NP + column[None, :], narrow(next_f, target, ARITHMETIC))


@triton.jit
def output_layer(
    source, s, rows, weight, share,
    NP: tl.constexpr, BM: tl.constexpr, BG: tl.constexpr, MODULATED: tl.constexpr,
):  # fmt: skip
    """Red, green and blue, (BM / 4,) each: sum over corners of share * O (f * s); weight is (3, NP), float32."""
    red = tl.zeros((BM,), tl.float32)
    green = tl.zeros((BM,), tl.float32)
    blue = tl.zeros((BM,), tl.float32)
    for start in range(0, NP, BG):
        column = start + tl.arange(0, BG)
        f = tl.load(source + rows[:, None] * NP + column[None, :]).to(tl.float32)
        if MODULATED:
            f *= tl.load(s + (rows // 4)[:, None] * NP + column[None, :]).to(tl.float32)
        red += tl.sum(f * tl.load(weight + column)[None, :], axis=1)
        green += tl.sum(f * tl.load(weight + NP + column)[None, :], axis=1)
        blue += tl.sum(f * tl.load(weight + 2 * NP + column)[None, :], axis=1)
    red = tl.sum(tl.reshape(red * share, (BM // 4, 4)), axis=1)
    green = tl.sum(tl.reshape(green * share, (BM // 4, 4)), axis=1)
    blue = tl.sum(tl.reshape(blue * share, (BM // 4, 4)), axis=1)
    return red, green, blue


@triton.jit
def _store_modulation(angle, bias, column, s, cosines, at, KEEP: tl.constexpr, ARITHMETIC: tl.constexpr):
    """s = modulation(angle + bias) and, with KEEP, its derivative."""
    angle += tl.load(bias + column)[None, :]
    tl.store(s + at, narrow(modulation(angle, ARITHMETIC), s, ARITHMETIC))
    if KEEP:
        tl.store(cosines + at, narrow(modulation_derivative(angle, ARITHMETIC), s, ARITHMETIC))


@triton.jit
def coordinate_branch(
    s, cosines, slot, rows, y, x, encoding_weight, weight, bias,
    LAYERS: tl.constexpr, NP: tl.constexpr, BQ: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    STAGES: tl.constexpr, KEEP: tl.constexpr, PRECISION: tl.constexpr, ARITHMETIC: tl.constexpr,
):  # fmt: skip
    """s_1 .. s_L of BQ queries at (y, x), `slot` elements apart; weight is (L - 1, NP, NP)."""
    feature = tl.arange(0, 64)
    encoding = narrow(fourier_encoding(y, x, feature), s, ARITHMETIC)
    for start in tl.range(0, NP, BN, num_stages=1):
        column = start + tl.arange(0, BN)
        part = tl.load(encoding_weight + column[None, :] * 64 + feature[:, None])
        angle = product(encoding, part, tl.zeros((BQ, BN), tl.float32), PRECISION, ARITHMETIC)
        _store_modulation(angle, bias, column, s, cosines, rows[:, None] * NP + column[None, :], KEEP, ARITHMETIC)
    for layer in tl.range(1, LAYERS, num_stages=1):
        tl.debug_barrier()
        source = s + (layer - 1) * slot
        matrix = weight + (layer - 1) * NP * NP
        for start in tl.range(0, NP, BN, num_stages=1):
            column = start + tl.arange(0, BN)
            angle = tl.zeros((BQ, BN), tl.float32)
            for depth in tl.range(0, NP, BK, num_stages=STAGES):
                k = depth + tl.arange(0, BK)
                below = tl.load(source + rows[:, None] * NP + k[None, :])
                part = tl.load(matrix + column[None, :] * NP + k[:, None])
                angle = product(below, part, angle, PRECISION, ARITHMETIC)
            at = rows[:, None] * NP + column[None, :]
            _store_modulation(
                angle, bias + layer * NP, column, s + layer * slot, cosines + layer * slot, at, KEEP, ARITHMETIC
            )
    tl.debug_barrier()
