"""What every fused backend asks of a device and of a call; each has a check of its own for the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from arasfsr.nn.decoders.mlp import MLPWeights
from arasfsr.query.call import QueryCall

LEAST_CAPABILITY = (8, 0)
"""Compute capability of the first GPUs with matrix units for bfloat16."""

WIDTHS = (16, 256)
"""Narrowest and widest decoder."""

CELLS = 1 << 31
"""LR pixels an image may not reach: cells are counted in 32 bits."""


def device_reason(index: int) -> str | None:
    """Why the CUDA device of that index is too old, if it is."""
    if torch.version.hip is None and torch.cuda.get_device_capability(index) < LEAST_CAPABILITY:
        found, least = (".".join(map(str, c)) for c in (torch.cuda.get_device_capability(index), LEAST_CAPABILITY))
        return f"device {index} has compute capability {found}, it needs {least}"
    return None


def tf32_allowed() -> bool:
    """Whether torch allows TF32 to float32 matrix products on CUDA devices.

    Read by the newer of torch's two interfaces, which tells what either has set; the older raises after the newer was
    set alone (torch issue 166387: so does torch.compile).
    """
    return bool(torch.backends.cuda.matmul.fp32_precision == "tf32")


def decoder_reason(call: QueryCall | None) -> str | None:
    """Why there are no kernels for a call's decoder, if there are none."""
    if call is None or isinstance(call.weights, MLPWeights):
        return None
    return f"the decoder is {type(call.weights).__name__.removesuffix('Weights')}, it takes MLP"


def call_reason(call: QueryCall, dtypes: tuple[torch.dtype, ...]) -> str | None:
    """Why a call's dtype, width or size is none that kernels for `dtypes` take, if it is not."""
    if call.dtype not in dtypes:
        return f"dtype={call.dtype}, it takes {', '.join(map(str, dtypes))}"
    width = call.weights.output[0].shape[1]
    if not WIDTHS[0] <= width <= WIDTHS[1]:
        return f"a decoder of width {width}, it takes {WIDTHS[0]} to {WIDTHS[1]}"
    h, w = call.features.shape[2:]
    if h * w >= CELLS:
        return f"features of {h} x {w}, it takes fewer than {CELLS} pixels"
    return None


F = TypeVar("F", bound=Callable[..., object])


def constant(function: F) -> F:
    """What a function returns is a constant to torch.compile: it is called once, while tracing.

    As torch.compiler.assume_constant_result, which imports torch._dynamo to set the same mark: two seconds.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
