"""Matrix products of backend `tiled`, by the fastest of torch's ways.

torch's float32 products on a CPU are MKL's, which keeps to AVX2 on other makers' processors; oneDNN uses what the
processor has. Its products with a weight that was laid out for them once, as compiled graphs have them, are the fastest
at a tile's size.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn.grad import conv2d_weight

SMALLEST = 20_480
"""Numbers of a single image beyond which torch gives a convolution to oneDNN."""


def arithmetic_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """What `dtype` is multiplied in: itself, or float32 on a CPU without matrix instructions for it.

    There the parameters are rounded to `dtype` and the arithmetic goes beyond it: ten times faster than emulated
    half-precision products, and closer to the truth.
    """
    if device.type != "cpu" or dtype in (torch.float32, torch.float64):
        return dtype
    native = {
        torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported,
        torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported,
    }
    return dtype if native[dtype]() else torch.float32


def _by_onednn(x: Tensor) -> bool:
    """Whether oneDNN multiplies: on CPUs with AVX-512, where the user has not switched it off."""
    fits = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
    return fits and _has_avx512() and bool(torch.backends.mkldnn.enabled)


@functools.cache
def _has_avx512() -> bool:
    lays_out = hasattr(torch.ops.mkldnn, "_reorder_linear_weight") and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.backends.mkldnn.is_available() and lays_out


class Products:
    """Products with weights that many tiles share; a weight must not change while this lives."""

    def __init__(self) -> None:
        self._laid_out: dict[tuple[int, bool], tuple[Tensor, Tensor]] = {}

    def affine(self, x: Tensor, weight: Tensor, bias: Tensor, scratch: Scratch, name: str) -> Tensor:
        """x weight^T + bias: (rows, k), (n, k) and (n,) to (rows, n), in `scratch` or in memory of its own."""
        if _by_onednn(x):
            return self._linear(x, weight, False, bias)
        return torch.addmm(bias, x, weight.t(), out=scratch.take(name, (x.shape[0], weight.shape[0]), x.dtype))

    def input_gradient(self, grad: Tensor, weight: Tensor, scratch: Scratch, name: str) -> Tensor:
        """grad weight: (rows, n) and (n, k) to (rows, k), in `scratch` or in memory of its own."""
        if _by_onednn(grad):
            return self._linear(grad, weight, True, None)
        return torch.mm(grad, weight, out=scratch.take(name, (grad.shape[0], weight.shape[1]), grad.dtype))

    def _linear(self, x: Tensor, weight: Tensor, transposed: bool, bias: Tensor | None) -> Tensor:
        key = (id(weight), transposed)
        if key not in self._laid_out:
            matrix = weight.t().contiguous() if transposed else weight.contiguous()
            packed = torch.ops.mkldnn._reorder_linear_weight(matrix, x.shape[0])
            self._laid_out[key] = (packed, weight)  # with the weight kept, no other can have its id
        # a ReLU of its own, which it offers, would make NaN zero
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._laid_out[key][0], bias, "none", [], "")
        return found


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """grad^T x: (rows, n) and (rows, k) to (n, k)."""
    if x.dtype == torch.float32 and _by_onednn(x) and x.numel() > SMALLEST:
        shape = (grad.shape[1], x.shape[1], 1, 1)
        found: Tensor = conv2d_weight(_pixels(x), shape, _pixels(grad))
        return found.view(shape[:2])
    return grad.t() @ x


def _pixels(x: Tensor) -> Tensor:
    """(rows, n) as one image of n channels, (1, n, rows, 1) in channels-last order: no copy."""
    return x.view(1, x.shape[0], 1, x.shape[1]).permute(0, 3, 1, 2)


class Scratch:
    """Memory for what lives no longer than a tile, by name: fresh pages for every tile cost a quarter of its time.

    A name's memory holds until it is taken again.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Uninitialised memory of that shape; the largest of a name comes first, or its buffer is made anew."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < size or buffer.dtype != dtype:
            buffer = self._buffers[name] = torch.empty(size, dtype=dtype, device=self._device)
        return buffer[:size].view(shape)
