"""Kernel: gradients of the hidden layers' weights and biases: products of gradients and activations, over all rows."""

from __future__ import annotations

import triton
import triton.language as tl

from arasfsr.kernels.numerics import modulate, product


@triton.jit(do_not_specialize=["rows", "split_rows", "queries"])
def weight_gradient(
    weight_sums, bias_sums, z_gradients, f, s, rows, queries, split_rows,
    LAYERS: tl.constexpr, NP: tl.constexpr, BO: tl.constexpr, BI: tl.constexpr, BR: tl.constexpr,
    STAGES: tl.constexpr, HALVES: tl.constexpr, HALF: tl.constexpr, PRECISION: tl.constexpr, ARITHMETIC: tl.constexpr,
):  # fmt: skip
    """Add to weight_sums (splits, LAYERS - 1, 2 or 1, NP, NP; float32) and bias_sums (splits, LAYERS - 1, NP; float64).

    z_gradients and f are (LAYERS, rows, NP), s (LAYERS, queries, NP); an image has 4 * queries rows. HALF selects the
    inputs: 0 for f, 1 for f * s. A program computes a block of BO outputs by BI inputs of one layer over one split of
    the rows: sums have a fixed order, without atomics.
    """
    WIDE: tl.constexpr = NP // BI
    block = tl.program_id(0)
    output = block // WIDE * BO + tl.arange(0, BO)
    source = block % WIDE * BI + tl.arange(0, BI)
    layer = tl.cast(tl.program_id(1), tl.int64)
    split = tl.cast(tl.program_id(2), tl.int64)
    slot = tl.cast(rows, tl.int64) * NP
    below = f + layer * slot
    above = z_gradients + (layer + 1) * slot
    modulation = s + layer * (tl.cast(queries, tl.int64) * NP)
    total = tl.zeros((BO, BI), tl.float32)
    bias = tl.zeros((BO,), tl.float64)
    for start in tl.range(split * split_rows, tl.minimum((split + 1) * split_rows, rows), BR, num_stages=STAGES):
        row = start + tl.arange(0, BR)
        gradient = tl.load(above + row[None, :] * NP + output[:, None])
        inputs = tl.load(below + row[:, None] * NP + source[None, :])
        if HALF == 1:
            s_row = row // 4 % queries
            inputs = modulate(inputs, tl.load(modulation + s_row[:, None] * NP + source[None, :]), ARITHMETIC)
        else:
            bias += tl.sum(gradient.to(tl.float32), axis=1).to(tl.float64)
        total = product(gradient, inputs, total, PRECISION, ARITHMETIC)
    at = weight_sums + (((split * (LAYERS - 1) + layer) * HALVES + HALF) * NP + output[:, None]) * NP + source[None, :]
    tl.store(at, tl.load(at) + total)
    if HALF == 0 and block % WIDE == 0:
        at_bias = bias_sums + (split * (LAYERS - 1) + layer) * NP + output
        tl.store(at_bias, tl.load(at_bias) + bias)
