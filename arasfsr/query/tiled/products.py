"""Matrix products of backend `tiled`, by torch's fastest method.

On CPUs torch computes float32 products with MKL, which uses only AVX2 on non-Intel processors; oneDNN uses all that the
processor supports. At a tile's size, oneDNN with weights packed once, as in compiled graphs, is fastest.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn.grad import conv2d_weight

SMALLEST = 20_480
"""Elements of a single image above which torch uses oneDNN for a convolution."""


def arithmetic_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The dtype in which `dtype` is multiplied: itself, or float32 on a CPU without matrix instructions for it.

    Parameters are then rounded to `dtype` and multiplied in float32: ten times faster than emulated half-precision
    products, and more accurate.
    """
    if device.type != "cpu" or dtype in (torch.float32, torch.float64):
        return dtype
    native = {
        torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported,
        torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported,
    }
    return dtype if native[dtype]() else torch.float32


def _by_onednn(x: Tensor) -> bool:
    """Whether to multiply with oneDNN: on CPUs with AVX-512, unless the user has disabled it."""
    fits = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
    return fits and _has_avx512() and bool(torch.backends.mkldnn.enabled)


@functools.cache
def _has_avx512() -> bool:
    lays_out = hasattr(torch.ops.mkldnn, "_reorder_linear_weight") and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.backends.mkldnn.is_available() and lays_out


class Products:
    """Products with weights shared by many tiles; weights must not change during the object's lifetime."""

    def __init__(self) -> None:
        self._laid_out: dict[tuple[int, bool], tuple[Tensor, Tensor]] = {}

    def affine(self, x: Tensor, weight: Tensor, bias: Tensor, scratch: Scratch, name: str) -> Tensor:
        """x weight^T + bias: (rows, k), (n, k) and (n,) to (rows, n), in `scratch` or newly allocated."""
        if _by_onednn(x):
            return self._linear(x, weight, False, bias)
        return torch.addmm(bias, x, weight.t(), out=scratch.take(name, (x.shape[0], weight.shape[0]), x.dtype))

    def input_gradient(self, grad: Tensor, weight: Tensor, scratch: Scratch, name: str) -> Tensor:
        """grad weight: (rows, n) and (n, k) to (rows, k), in `scratch` or newly allocated."""
        if _by_onednn(grad):
            return self._linear(grad, weight, True, None)
        return torch.mm(grad, weight, out=scratch.take(name, (grad.shape[0], weight.shape[1]), grad.dtype))

    def _linear(self, x: Tensor, weight: Tensor, transposed: bool, bias: Tensor | None) -> Tensor:
        key = (id(weight), transposed)
        if key not in self._laid_out:
            matrix = weight.t().contiguous() if transposed else weight.contiguous()
            packed = torch.ops.mkldnn._reorder_linear_weight(matrix, x.shape[0])
            self._laid_out[key] = (packed, weight)  # keeping the weight alive reserves its id
        # not with oneDNN's fused ReLU, which turns NaN into zero
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._laid_out[key][0], bias, "none", [], "")
        return out


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """grad^T x: (rows, n) and (rows, k) to (n, k)."""
    if x.dtype == torch.float32 and _by_onednn(x) and x.numel() > SMALLEST:
        shape = (grad.shape[1], x.shape[1], 1, 1)
        gradient: Tensor = conv2d_weight(_pixels(x), shape, _pixels(grad))
        return gradient.view(shape[:2])
    return grad.t() @ x


def _pixels(x: Tensor) -> Tensor:
    """(rows, n) viewed as one image of n channels, (1, n, rows, 1), channels last."""
    return x.view(1, x.shape[0], 1, x.shape[1]).permute(0, 3, 1, 2)


class Scratch:
    """Reusable buffers by name, for tensors that do not outlive a tile: fresh pages would cost a quarter of its time.

    A buffer is valid until its name is taken again.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """An uninitialised tensor. Take a name's largest shape first; a larger one reallocates the buffer."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < size or buffer.dtype != dtype:
            buffer = self._buffers[name] = torch.empty(size, dtype=dtype, device=self._device)
        return buffer[:size].view(shape)
