"""Matrix products of backend `tiled`, each by the faster of torch's two ways.

A float32 `mm` on a CPU is MKL's, and MKL keeps to AVX2 on other makers' processors. A 1 x 1 convolution is oneDNN's,
which uses what the processor has: with AVX-512 twice as fast on Zen 5.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

SMALLEST = 20_480
"""Numbers of a single image beyond which torch gives a convolution to oneDNN."""


def _by_convolution(x: Tensor) -> bool:
    float32_on_cpu = x.dtype == torch.float32 and x.device.type == "cpu"
    return float32_on_cpu and x.numel() > SMALLEST and _has_avx512() and bool(torch.backends.mkldnn.enabled)


@functools.cache
def _has_avx512() -> bool:
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.backends.mkldnn.is_available()


def _pixels(x: Tensor) -> Tensor:
    """(rows, n) as one image of n channels, (1, n, rows, 1) in channels-last order: no copy."""
    return x.view(1, x.shape[0], 1, x.shape[1]).permute(0, 3, 1, 2)


def _rows(image: Tensor) -> Tensor:
    """The image (1, n, rows, 1) as (rows, n)."""
    return image.permute(0, 2, 3, 1).reshape(image.shape[2], image.shape[1])


def affine(x: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> Tensor:
    """x weight^T + bias: (rows, k), (n, k) and (n,) to (rows, n), in `out` or in memory of its own."""
    if _by_convolution(x):
        return _rows(F.conv2d(_pixels(x), weight[:, :, None, None], bias))
    return torch.addmm(bias, x, weight.t(), out=out)


def input_gradient(grad: Tensor, weight: Tensor, out: Tensor) -> Tensor:
    """grad weight: (rows, n) and (n, k) to (rows, k), in `out` or in memory of its own."""
    if _by_convolution(grad):
        return _rows(F.conv2d(_pixels(grad), weight.t()[:, :, None, None]))
    return torch.mm(grad, weight, out=out)


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """grad^T x: (rows, n) and (rows, k) to (n, k)."""
    if _by_convolution(x):
        shape = (grad.shape[1], x.shape[1], 1, 1)
        found: Tensor = conv2d_weight(_pixels(x), shape, _pixels(grad))
        return found.view(shape[:2])
    return grad.t() @ x
