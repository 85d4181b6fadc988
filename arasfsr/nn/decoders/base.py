"""Shared by the decoders: parameters of layers, geometry of queries, and the literal local ensemble."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arasfsr.coords import Corners

Layer = tuple[Tensor, Tensor]
"""Weight (outputs, inputs, ...) and bias (outputs,) of a linear layer or a convolution."""


def layer_of(module: nn.Module) -> Layer:
    """The parameters of a linear layer or a convolution."""
    assert isinstance(module, (nn.Linear, nn.Conv2d))
    assert module.bias is not None
    return module.weight, module.bias


def cast(layers: Iterable[Layer], dtype: torch.dtype) -> list[Layer]:
    """The layers in another dtype; gradients flow back to the originals."""
    return [(weight.to(dtype), bias.to(dtype)) for weight, bias in layers]


class Geometry(NamedTuple):
    """Geometry of queries, in float32 or float64."""

    coord: Tensor
    """(1 or B, Q, 2)."""
    cell: Tensor
    """(1 or B, 1 or Q, 2): the cell in half LR pixels."""
    corners: Corners
    """Corners of the local ensemble; fields are (4, 1 or B, Q)."""


def unfold(features: Tensor) -> Tensor:
    """The 3 x 3 neighbourhood of every LR pixel, zero-padded: (B, D, h, w) to (B, 9 D, h w)."""
    return F.unfold(features, 3, padding=1)


def ensemble(lr: Tensor, geometry: Geometry, output: Callable[[Tensor, int], Tensor]) -> Tensor:
    """The local ensemble, corner by corner: (B, Q, 3) in the geometry's dtype.

    `lr` is (B, C, h w); `output(rows, corner)` returns a corner's output (B, Q, 3) from its rows (B, Q, C) of `lr`.
    """
    batch, channels, _ = lr.shape
    total: Tensor | None = None
    for corner in range(4):
        lr_pixel = geometry.corners.lr_pixel[corner]
        index = lr_pixel.unsqueeze(1).expand(batch, channels, lr_pixel.shape[-1])
        part = geometry.corners.share[corner].unsqueeze(-1) * output(lr.gather(2, index).transpose(1, 2), corner)
        total = part if total is None else total + part
    assert total is not None
    return total
