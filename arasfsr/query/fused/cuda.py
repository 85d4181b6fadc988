"""Backend `cuda`: the native core's fused kernels, forward and backward. The core is loaded on first use."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from arasfsr.architectures import covers
from arasfsr.query.call import QueryCall
from arasfsr.query.fused import cuda_core, limits
from arasfsr.query.fused.limits import constant

DTYPES = (torch.bfloat16, torch.float16)
"""Supported dtypes, besides float32 if torch allows TF32."""

TF32 = ", and torch.float32 if torch allows TF32: torch.set_float32_matmul_precision('high')"


def emulated() -> bool:
    """Whether the kernels are emulated on the CPU, for tests."""
    return cuda_core.emulated() is not None


@functools.cache
def _load_error() -> str | None:
    """Why the kernels cannot be loaded, or None; then their operator is registered."""
    try:
        cuda_core.load()
    except ImportError as error:
        return str(error)
    import arasfsr.query.fused.cuda_launch  # noqa: F401

    return None


@constant
def _machine_reason() -> str | None:
    if not emulated() and not torch.cuda.is_available():
        return "no CUDA device"
    return _load_error()


def _host_reason(device: torch.device) -> str | None:
    """Why the kernels cannot run on a device other than CUDA, or None."""
    machine: str | None = _machine_reason()
    if machine is None and not (emulated() and device.type == "cpu"):
        where = "ARASFSR_EMULATED runs the kernels on the CPU" if emulated() else "it needs a CUDA device"
        return f"the features are on device {device}, {where}"
    return machine


@constant
def _device_reason(index: int) -> str | None:
    if emulated():
        return f"the features are on device cuda:{index}, ARASFSR_EMULATED runs the kernels on the CPU"
    return _load_error() or reason_of_device(index)


@functools.cache
def reason_of_device(index: int) -> str | None:
    """Why the kernels cannot run on this CUDA device, or None. Cached: every call asks."""
    if torch.version.hip is not None:
        return "this build of torch is for ROCm, it needs CUDA"
    old = limits.device_reason(index)
    if old is not None:
        return old
    capability = torch.cuda.get_device_capability(index)
    held = cuda_core.load().architectures()
    if not covers(held, capability):
        name = ".".join(map(str, capability))
        return f"device {index} has compute capability {name}, the extension holds code for {held}"
    return None


@constant
def _takes_float32() -> bool:
    return limits.tf32_allowed()


def _dtype_and_size_reason(call: QueryCall) -> str | None:
    if call.dtype != torch.float32:
        return limits.call_reason(call, DTYPES)
    if not _takes_float32():
        return f"{limits.call_reason(call, DTYPES)}{TF32}"
    return limits.call_reason(call, (*DTYPES, torch.float32))


def reason(call: QueryCall | None) -> str | None:
    """Why the kernels cannot run a call or, for None, any call on this machine; None if they can."""
    if call is None:
        return _machine_reason()
    unfit: str | None = limits.decoder_reason(call)
    if unfit is None:
        device = call.features.device
        unfit = _device_reason(device.index or 0) if device.type == "cuda" else _host_reason(device)
    if unfit is None:
        unfit = _dtype_and_size_reason(call)
    if unfit is not None or torch.compiler.is_compiling():  # when compiling, the core checks at run time
        return unfit
    from arasfsr.query.fused import cuda_launch

    return cuda_launch.refusal(call)


def run(call: QueryCall) -> Tensor:
    """Decode the call's queries: (B, Q, 3)."""
    from arasfsr.query.fused import cuda_launch

    return cuda_launch.run(call)
