"""Kernel: the backward of the content branch, over the activations that `forward` kept; rows are as there."""

from __future__ import annotations

import triton
import triton.language as tl

from arasfsr.kernels.activation import activation_backward
from arasfsr.kernels.numerics import narrow, product

_SIZES = ["images", "queries", "first", "count", "tiles", "rows"]


@triton.jit
def _over_corners(x, BM: tl.constexpr, BN: tl.constexpr):
    """Sums of each four rows: (BM, BN) to (BM / 4, BN)."""
    return tl.sum(tl.reshape(x, (BM // 4, 4, BN)), axis=1)


@triton.jit
def _accumulate(total, at, part, image_index):
    """Store for the first image, add for the later ones; only this block adds to `total`, in order."""
    if image_index > 0:
        part += tl.load(total + at)
    tl.store(total + at, part)


@triton.jit
def _through_output(
    z_gradient, s_gradient, share_gradient, combined, f, s, grad, pixel, valid, share, weight, image_index,
    NP: tl.constexpr, BM: tl.constexpr, BG: tl.constexpr, MODULATED: tl.constexpr, GEOMETRY: tl.constexpr,
    ARITHMETIC: tl.constexpr,
):  # fmt: skip
    """Gradients of z_L, of s_L and of the shares; `combined` gets s_L * sum over corners of share f_L."""
    PART: tl.constexpr = BM // 4
    rows, queries = tl.arange(0, BM), tl.arange(0, PART)
    red = tl.load(grad + pixel, mask=valid, other=0.0)
    green = tl.load(grad + pixel + 1, mask=valid, other=0.0)
    blue = tl.load(grad + pixel + 2, mask=valid, other=0.0)
    of_shares = tl.zeros((BM,), tl.float32)
    for start in range(0, NP, BG):
        column = start + tl.arange(0, BG)
        at = rows[:, None] * NP + column[None, :]
        query_at = queries[:, None] * NP + column[None, :]
        f_above = tl.load(f + at).to(tl.float32)
        gradient = red[:, None] * tl.load(weight + column)[None, :]
        gradient += green[:, None] * tl.load(weight + NP + column)[None, :]
        gradient += blue[:, None] * tl.load(weight + 2 * NP + column)[None, :]
        ensemble = _over_corners(f_above * share[:, None], BM, BG)
        if MODULATED:
            of_s = _over_corners(f_above * share[:, None] * gradient, BM, BG)
            _accumulate(s_gradient, query_at, of_s, image_index)
            ensemble *= tl.load(s + query_at).to(tl.float32)
            gradient *= tl.load(s + (rows // 4)[:, None] * NP + column[None, :]).to(tl.float32)
        tl.store(combined + query_at, ensemble)
        if GEOMETRY:
            of_shares += tl.sum(gradient * f_above, axis=1)
        gradient = activation_backward(f_above, gradient * share[:, None])
        tl.store(z_gradient + at, narrow(gradient, z_gradient, ARITHMETIC))
    if GEOMETRY:
        tl.store(share_gradient + rows, of_shares)


@triton.jit
def _through_layer(
    below, s_gradient, above, f, s, weight, image_index,
    NP: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr,
    MODULATED: tl.constexpr, PRECISION: tl.constexpr, ARITHMETIC: tl.constexpr,
):  # fmt: skip
    """From the gradient of the z above a hidden layer to that of the z below it, and to that of s."""
    PART: tl.constexpr = BM // 4
    rows, queries = tl.arange(0, BM), tl.arange(0, PART)
    for start in tl.range(0, NP, BN, num_stages=1):
        column = start + tl.arange(0, BN)
        of_f = tl.zeros((BM, BN), tl.float32)
        of_product = tl.zeros((BM, BN), tl.float32)
        for depth in tl.range(0, NP, BK, num_stages=STAGES):
            k = depth + tl.arange(0, BK)
            gradient = tl.load(above + rows[:, None] * NP + k[None, :])
            part = k[:, None] * NP + column[None, :]
            of_f = product(gradient, tl.load(weight + part), of_f, PRECISION, ARITHMETIC)
            if MODULATED:
                of_product = product(gradient, tl.load(weight + NP * NP + part), of_product, PRECISION, ARITHMETIC)
        at = rows[:, None] * NP + column[None, :]
        f_below = tl.load(f + at).to(tl.float32)
        if MODULATED:
            of_s = _over_corners(of_product * f_below, BM, BN)
            _accumulate(s_gradient, queries[:, None] * NP + column[None, :], of_s, image_index)
            of_f += of_product * tl.load(s + (rows // 4)[:, None] * NP + column[None, :]).to(tl.float32)
        tl.store(below + at, narrow(activation_backward(f_below, of_f), below, ARITHMETIC))


@triton.jit(do_not_specialize=_SIZES)
def backward(
    z_gradients, s_gradients, share_gradients, combined, f, s, share, grad, content_weight, output_weight,
    images, queries, first, count, tiles, rows,
    LAYERS: tl.constexpr, NP: tl.constexpr, BQ: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    BG: tl.constexpr, STAGES: tl.constexpr, MODULATED: tl.constexpr, GEOMETRY: tl.constexpr,
    PRECISION: tl.constexpr, ARITHMETIC: tl.constexpr,
):  # fmt: skip
    """Gradients of z_1 .. z_L (LAYERS, rows, NP), which are f before the activation, and of s_1 .. s_L.

    s_gradients is (LAYERS, tiles BQ, NP), float32. `combined` (images tiles BQ, NP; float32) gets the input of the
    output layer and, with GEOMETRY, share_gradients (rows,) the gradients of the shares. A program processes BM rows
    for all images that share their queries. `grad` is (images, queries, 3).
    """
    PART: tl.constexpr = BM // 4
    HALVES: tl.constexpr = 2 if MODULATED else 1
    start = tl.cast(tl.program_id(0), tl.int64) * PART
    padded_queries = tl.cast(tiles, tl.int64) * BQ
    slot, slot_s = tl.cast(rows, tl.int64) * NP, padded_queries * NP
    query = start + tl.arange(0, BM) // 4
    valid = query < count
    for image in tl.range(0, images, num_stages=1):
        image_index = tl.cast(image, tl.int64)
        row = (image_index * padded_queries + start) * 4
        at, last = row * NP, (LAYERS - 1) * slot
        top_s = (LAYERS - 1) * slot_s + start * NP
        _through_output(
            z_gradients + last + at, s_gradients + top_s, share_gradients + row,
            combined + (image_index * padded_queries + start) * NP, f + last + at, s + top_s,
            grad, (image_index * queries + first + query) * 3, valid, tl.load(share + row + tl.arange(0, BM)),
            output_weight, image_index, NP, BM, BG, MODULATED, GEOMETRY, ARITHMETIC,
        )  # fmt: skip
        for step in tl.range(1, LAYERS, num_stages=1):
            tl.debug_barrier()
            layer = LAYERS - 1 - step
            _through_layer(
                z_gradients + layer * slot + at, s_gradients + layer * slot_s + start * NP,
                z_gradients + (layer + 1) * slot + at, f + layer * slot + at, s + layer * slot_s + start * NP,
                content_weight + layer * (HALVES * NP * NP), image_index,
                NP, BM, BN, BK, STAGES, MODULATED, PRECISION, ARITHMETIC,
            )  # fmt: skip
        tl.debug_barrier()
