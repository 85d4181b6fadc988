"""What the machine can do at most, measured: a large matrix product in each dtype, and a large copy."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.timing import timed

TORCH_DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""The dtypes of cases and the tensors that they multiply."""

SIDES = {"cpu": 1536, "cuda": 8192}
COPIES = {"cpu": 1 << 28, "cuda": 1 << 31}  # bytes of the copy: far beyond any cache
RUNS = 7
RUN_SECONDS = 0.5  # for one matrix product


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    """TF32 products and convolutions on GPUs in `tf32`, and in no other dtype; afterwards as before."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    # torch's older interface sets the newer as well; the newer alone makes torch.compile raise (torch issue 166387)
    matmul.allow_tf32 = cudnn.allow_tf32 = dtype == "tf32"
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def dtypes(device: torch.device) -> list[str]:
    """The dtypes that exist on a device: tf32 on NVIDIA GPUs since Ampere."""
    tf32 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return [dtype for dtype in TORCH_DTYPES if dtype != "tf32" or tf32]


def measure(
    device: torch.device, side: int | None = None, copy_bytes: int | None = None, only: Collection[str] = TORCH_DTYPES
) -> dict[str, Any]:
    """Operations per second of a matrix product in each dtype (of `only`), bytes per second of a copy.

    The best of several runs each, of every way to multiply: a ceiling, not a typical value. Random numbers, since zeros
    draw less power. A copy's bytes are read and written.
    """
    side, copy_bytes = side or SIDES[device.type], copy_bytes or COPIES[device.type]
    sides = {dtype: _affordable(device, dtype, side) for dtype in dtypes(device) if dtype in only}
    rates = {dtype: _rate(device, dtype, sides[dtype], RUNS) for dtype in sides}
    source = torch.randint(256, (copy_bytes,), device=device, dtype=torch.uint8)
    copy = partial(torch.zeros_like(source).copy_, source)
    best = min(timed(copy, device) for _ in range(RUNS))
    return {"matmul_sides": sides, "flops": rates, "copy_bytes": copy_bytes, "bytes_per_second": 2 * copy_bytes / best}


def _rate(device: torch.device, dtype: str, side: int, runs: int) -> float:
    """Operations per second of the fastest way to multiply two matrices of that side: A B; A B^T, as layers have it;
    in float32 on a CPU also a 1 x 1 convolution, which is another library's, of more pixels, as it orders its weights
    first."""
    a, b = (torch.randn(side, side, device=device).to(TORCH_DTYPES[dtype]) for _ in range(2))
    ways = [partial(torch.mm, a, b), partial(torch.mm, a, b.t())]
    if dtype == "float32" and device.type == "cpu" and side % 2 == 0:
        pixels = torch.randn(1, 4 * side, 1, side // 2).permute(0, 3, 1, 2)  # as many multiply-accumulates
        ways.append(partial(F.conv2d, pixels, torch.randn(side // 2, side // 2, 1, 1)))
    seconds = []
    with precision(dtype), torch.no_grad():
        for product in ways:
            product()
            seconds += [timed(product, device) for _ in range(runs)]
    return 2 * side**3 / min(seconds)


def _affordable(device: torch.device, dtype: str, side: int) -> int:
    """The largest of side, side / 2, ... whose product takes at most RUN_SECONDS: emulated dtypes are slow."""
    rate = _rate(device, dtype, max(1, side // 8), 1)
    while 2 * side**3 / rate > RUN_SECONDS and side > 64:
        side //= 2
    return side


def ceiling(flops: Mapping[str, float], dtype: str, device: str) -> tuple[str, float]:
    """The dtype whose rate bounds a case, and the rate.

    On a CPU the larger of `dtype`'s and float32's: without units for half precision, multiplying in float32 is a way
    to compute in it, and `tiled` goes that way (`tiling.arithmetic_dtype`).
    """
    best = max([dtype, "float32"] if device == "cpu" else [dtype], key=lambda name: flops[name])
    return best, flops[best]


def share(macs: float, seconds: float, flops: float) -> float:
    """Part of a ceiling of `flops` operations a second that `macs` multiply-accumulates in `seconds` reach."""
    return 2 * macs / seconds / flops
