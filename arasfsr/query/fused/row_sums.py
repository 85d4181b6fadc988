"""Sums over very many rows, cut into pieces that a GPU takes side by side: what a chunk adds to weights' gradients."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from arasfsr.query.operator import BIAS_SUM

PIECES = 32
"""Of a sum. A product of 256 x 256 is few blocks of a matrix multiplication, too few for a GPU; libraries may cut along
the rows by themselves, but do not have to."""

NARROW = 32
"""Columns of the left factor up to which a product is less than a block across: it is bound by what it reads."""

SHORT = 128
"""Rows of a narrow product's pieces."""

RUN = 256
"""Rows that are summed in float32: few enough that what is lost is far below what the numbers were rounded by."""


def _cut(x: Tensor, pieces: int) -> Tensor:
    """(.., rows, n) as (.. times pieces, rows / pieces, n)."""
    return x.reshape(-1, x.shape[-2] // pieces, x.shape[-1])


def _pieces(rows: int, columns: int) -> int:
    """How many pieces a product's rows are cut into: of a narrow one many, so that enough of them read at a time."""
    if columns <= NARROW and rows % SHORT == 0:
        return rows // SHORT
    return math.gcd(rows, PIECES)


def product_over_rows(a: Tensor, b: Tensor) -> Tensor:
    """a^T b of dense (.., rows, m) and (.., rows, k): (.., m, k), summed in float32 and in one order.

    float32 is multiplied as torch's own products are.
    """
    pieces = _pieces(a.shape[-2], a.shape[-1])
    transposed, right = _cut(a, pieces).transpose(1, 2), _cut(b, pieces)
    if a.device.type == "cuda" and a.dtype != torch.float32:
        found = torch.bmm(transposed, right, out_dtype=torch.float32)
    else:
        found = torch.bmm(transposed.float(), right.float())
    total: Tensor = found.view(*a.shape[:-2], pieces, a.shape[-1], b.shape[-1]).sum(-3)
    return total


def sum_over_rows(a: Tensor) -> Tensor:
    """Sums of a dense (.., rows, n): (.., n), in the dtype of biases' sums."""
    run = math.gcd(a.shape[-2], RUN)
    total: Tensor = a.unflatten(-2, (-1, run)).sum(-2, dtype=torch.float32).sum(-2, dtype=BIAS_SUM)
    return total


def add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a b, in float32, in place."""
    if a.device.type == "cuda" and a.dtype != torch.float32:
        torch.addmm(total, a, b, out_dtype=torch.float32, out=total)
    else:
        total += a.float() @ b.float()
