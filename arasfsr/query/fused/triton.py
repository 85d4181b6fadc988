"""Backend `triton`: fused kernels, forward and backward. Triton is imported on first use."""

from __future__ import annotations

import functools
import os

import numpy as np
import torch
from torch import Tensor

from arasfsr.query.call import QueryCall
from arasfsr.query.fused import limits
from arasfsr.query.fused.limits import constant

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def interpreted() -> bool:
    """Whether Triton interprets kernels on the CPU, for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def interpreter_reason() -> str | None:
    """Why Triton's interpreter cannot run the kernels, or None. Compiled kernels are unaffected."""
    import triton

    if _release(triton.__version__) < (3, 7) and _release(np.__version__) >= (2, 4):  # its loop bounds are arrays
        installed = f"Triton {triton.__version__} and numpy {np.__version__}"
        return f"before Triton 3.7 the interpreter needs numpy below 2.4, got {installed}; pip install 'numpy<2.4'"
    return None


def compiler_reason(capability: tuple[int, int]) -> str | None:
    """Why Triton cannot compile the kernels for a compute capability, or None."""
    import triton

    if capability[0] == 10 and _release(triton.__version__) == (3, 5):  # docs/kernels.md
        return f"Triton {triton.__version__} fails to compile the kernels for compute capability 10; take 3.6"
    return None


@functools.cache
def _load_error() -> str | None:
    """Why the kernels cannot be loaded, or None; then their operator is registered."""
    try:
        import arasfsr.query.fused.triton_launch  # noqa: F401
    except ImportError as error:
        return f"Triton does not load ({type(error).__name__}: {error}); pip install triton"
    return None


@constant
def _machine_reason() -> str | None:
    if not interpreted() and not torch.cuda.is_available():
        return "no CUDA device"
    error: str | None = _load_error()
    return error or (interpreter_reason() if interpreted() else None)


@constant
def _device_reason(index: int) -> str | None:
    old = limits.device_reason(index)
    if old is not None or torch.version.hip is not None:
        return old
    return compiler_reason(torch.cuda.get_device_capability(index))


def reason(call: QueryCall | None) -> str | None:
    """Why the kernels cannot run a call or, for None, any call on this machine; None if they can."""
    unfit: str | None = limits.decoder_reason(call) or _machine_reason()
    if unfit is not None or call is None:
        return unfit
    device = call.features.device
    if device.type == "cuda":
        unfit = _device_reason(device.index or 0)
        if unfit is not None:
            return unfit
    elif not interpreted():
        return f"the features are on device {device}, it needs a CUDA device"
    return limits.call_reason(call, DTYPES)


def run(call: QueryCall) -> Tensor:
    """Decode the call's queries: (B, Q, 3)."""
    from arasfsr.query.fused import triton_launch

    return triton_launch.run(call)
