"""3 x 3 convolutions of the feature map, in float32 at least as accurate as torch's matrix products."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from arasfsr.nn.memo import remembered

BLOCK = 1 << 17
"""LR pixels, over all images, unfolded along x at a time: 113 MB with 72 channels."""

SMALL = 1 << 15
"""Up to this many are unfolded in both directions if autograd does not save the result: 85 MB with 72 channels."""


def by_products(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether to convolve by matrix products, which use TF32 only if torch allows it for them.

    cuDNN's convolutions have a separate setting, which allows TF32 by default.
    """
    return device.type == "cuda" and dtype == torch.float32


def convolve(features: Tensor, weight: Tensor, *terms: Tensor) -> Tensor:
    """The convolution of (B, D, h, w) by (n, D, 3, 3), zero-padded, plus the terms: contiguous (B, h, w, n).

    Each term is (1 or B, 1 or h, 1 or w, n).
    """
    batch, _, h, w = features.shape
    if not by_products(features.device, features.dtype):
        channels_last = features.contiguous(memory_format=torch.channels_last)  # the output's layout: no transpose
        return (F.conv2d(channels_last, weight, padding=1).permute(0, 2, 3, 1) + _sum(terms)).contiguous()
    if batch * h * w <= SMALL and not torch.is_grad_enabled():
        return _at_once(features, weight, terms)
    taps = remembered([weight], "taps", lambda: weight.permute(2, 3, 1, 0).flatten(1, 2).contiguous())
    if batch * h * w <= BLOCK:
        return _rows(features, taps, terms, 0, h)
    out = features.new_empty(batch, h, w, weight.shape[0])
    step = max(1, BLOCK // (batch * w))
    for first in range(0, h, step):
        last = min(first + step, h)
        parts = [term if term.shape[1] == 1 else term[:, first:last] for term in terms]
        out[:, first:last] = _rows(features, taps, parts, first, last)
    return out


def _sum(terms: Sequence[Tensor]) -> Tensor:
    return functools.reduce(operator.add, terms)


def _at_once(features: Tensor, weight: Tensor, terms: Sequence[Tensor]) -> Tensor:
    """The convolution by one product: for small maps the host's launch overhead dominates, so few operators."""
    batch, _, h, w = features.shape
    taps = remembered([weight], "all taps", lambda: weight.flatten(1).t().contiguous())
    total = _sum(terms).expand(batch, h, w, -1).flatten(1, 2)
    unfolded = F.unfold(features, 3, padding=1).transpose(1, 2)
    return torch.baddbmm(total, unfolded, taps.expand(batch, -1, -1)).view(batch, h, w, weight.shape[0])


def _rows(features: Tensor, taps: Tensor, terms: Sequence[Tensor], first: int, last: int) -> Tensor:
    """Rows first .. last - 1 of the convolution by taps (3, 3 D, n), plus the terms: (B, last - first, w, n).

    The map is unfolded along x only, with one product per row of taps: unfolding in both directions would write three
    times as much, and autograd would save it.
    """
    batch, _, h, w = features.shape
    inner = features[:, :, max(0, first - 1) : last + 1].permute(0, 2, 3, 1)
    padded = F.pad(inner, (0, 0, 1, 1, int(first == 0), int(last == h)))
    unfolded = torch.cat([padded[:, :, x : x + w] for x in range(3)], dim=-1)
    above, middle, below = (unfolded[:, y : y + last - first].flatten(1, 2) for y in range(3))
    matrices = [tap.expand(batch, -1, -1) for tap in taps]
    out = torch.bmm(above, matrices[0]).baddbmm_(middle, matrices[1]).baddbmm_(below, matrices[2])
    return out.view(batch, last - first, w, taps.shape[-1]) + _sum(terms)
