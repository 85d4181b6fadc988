"""Requirements of all fused backends on devices and calls; each backend adds its own checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from arasfsr.nn.decoders.mlp import MLPWeights
from arasfsr.query.call import QueryCall

LEAST_CAPABILITY = (8, 0)
"""Lowest compute capability with bfloat16 matrix units."""

WIDTHS = (16, 256)
"""Narrowest and widest decoder."""

LR_PIXELS = 1 << 31
"""LR pixels of an image must be fewer: they are indexed in 32 bits."""


def device_reason(index: int) -> str | None:
    """Why the CUDA device is too old, or None."""
    if torch.version.hip is None and torch.cuda.get_device_capability(index) < LEAST_CAPABILITY:
        actual, least = (".".join(map(str, c)) for c in (torch.cuda.get_device_capability(index), LEAST_CAPABILITY))
        return f"device {index} has compute capability {actual}, it needs {least}"
    return None


def tf32_allowed() -> bool:
    """Whether torch allows TF32 for float32 matrix products on CUDA devices.

    Uses the newer of torch's two interfaces, which reflects both; the older raises if only the newer was set (torch
    issue 166387, as does torch.compile).
    """
    return bool(torch.backends.cuda.matmul.fp32_precision == "tf32")


def decoder_reason(call: QueryCall | None) -> str | None:
    """Why there are no kernels for a call's decoder, or None."""
    if call is None or isinstance(call.weights, MLPWeights):
        return None
    return f"the decoder is {type(call.weights).__name__.removesuffix('Weights')}, it takes MLP"


def call_reason(call: QueryCall, dtypes: tuple[torch.dtype, ...]) -> str | None:
    """Why kernels for `dtypes` do not support a call's dtype, width or size, or None."""
    if call.dtype not in dtypes:
        return f"dtype={call.dtype}, it takes {', '.join(map(str, dtypes))}"
    width = call.weights.output[0].shape[1]
    if not WIDTHS[0] <= width <= WIDTHS[1]:
        return f"a decoder of width {width}, it takes {WIDTHS[0]} to {WIDTHS[1]}"
    h, w = call.features.shape[2:]
    if h * w >= LR_PIXELS:
        return f"features of {h} x {w}, it takes fewer than {LR_PIXELS} pixels"
    return None


Function = TypeVar("Function", bound=Callable[..., object])


def constant(function: Function) -> Function:
    """Mark a function's result as constant for torch.compile, which then calls it once, while tracing.

    Same as torch.compiler.assume_constant_result, but without importing torch._dynamo, which takes two seconds.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
