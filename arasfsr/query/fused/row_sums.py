"""Sums over many rows, split into pieces that a GPU processes in parallel, for the weights' gradients of a chunk."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from arasfsr.query.operator import BIAS_SUM

PIECES = 32
"""Pieces of a sum. A 256 x 256 product has too few blocks to fill a GPU; libraries may split along the rows, but need
not."""

NARROW = 32
"""Columns of the left factor up to which a product is narrower than a block, and so bound by memory reads."""

SHORT = 128
"""Rows per piece of a narrow product."""

RUN = 256
"""Rows summed in float32: few enough that the error is far below the rounding of the terms."""


def _cut(x: Tensor, pieces: int) -> Tensor:
    """Reshape (.., rows, n) to (.. times pieces, rows / pieces, n)."""
    return x.reshape(-1, x.shape[-2] // pieces, x.shape[-1])


def _pieces(rows: int, columns: int) -> int:
    """Number of pieces of a product's rows: many for a narrow one, so that enough reads are in flight."""
    if columns <= NARROW and rows % SHORT == 0:
        return rows // SHORT
    return math.gcd(rows, PIECES)


def product_over_rows(a: Tensor, b: Tensor) -> Tensor:
    """a^T b of contiguous (.., rows, m) and (.., rows, k): (.., m, k), summed in float32 in a fixed order.

    float32 is multiplied with torch's current precision setting.
    """
    pieces = _pieces(a.shape[-2], a.shape[-1])
    transposed, right = _cut(a, pieces).transpose(1, 2), _cut(b, pieces)
    if a.device.type == "cuda" and a.dtype != torch.float32:
        products = torch.bmm(transposed, right, out_dtype=torch.float32)
    else:
        products = torch.bmm(transposed.float(), right.float())
    total: Tensor = products.view(*a.shape[:-2], pieces, a.shape[-1], b.shape[-1]).sum(-3)
    return total


def sum_over_rows(a: Tensor) -> Tensor:
    """Sum contiguous (.., rows, n) over the rows: (.., n) in BIAS_SUM."""
    run = math.gcd(a.shape[-2], RUN)
    total: Tensor = a.unflatten(-2, (-1, run)).sum(-2, dtype=torch.float32).sum(-2, dtype=BIAS_SUM)
    return total


def add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a b, in float32, in place."""
    if a.device.type == "cuda" and a.dtype != torch.float32:
        torch.addmm(total, a, b, out_dtype=torch.float32, out=total)
    else:
        total += a.float() @ b.float()
