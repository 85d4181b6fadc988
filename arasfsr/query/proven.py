"""Backends that "auto" prefers on a GPU: those in proven.json, with committed results for its architecture.

`python -m tools.gpu.publish DEVICE` writes that file from benchmark results: by compute capability and arithmetic,
the backends that passed every check and were faster than tiled, fastest first.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import torch

from arasfsr.query.fused.limits import constant, tf32_allowed

PROVEN = Path(__file__).with_name("proven.json")


@functools.cache
def _proven() -> dict[str, dict[str, list[str]]]:
    content: dict[str, dict[str, list[str]]] = json.loads(PROVEN.read_text())
    return content


def architecture(index: int) -> str:
    """A CUDA device's architecture as named in proven.json, such as sm90."""
    if torch.version.hip is not None:
        return "rocm"
    major, minor = torch.cuda.get_device_capability(index)
    return f"sm{major}{minor}"


def arithmetic(dtype: torch.dtype) -> str:
    """A compute dtype's name in proven.json: that of the dtype, or tf32 if float32 is multiplied in TF32."""
    return "tf32" if dtype == torch.float32 and tf32_allowed() else str(dtype).removeprefix("torch.")


def of_architecture(name: str) -> dict[str, list[str]]:
    """The fused backends proven on an architecture by arithmetic, fastest first."""
    return _proven().get(name, {})


@constant
def on_gpu(index: int, dtype: torch.dtype) -> list[str]:
    """The fused backends proven on a CUDA device for a compute dtype, fastest first."""
    return of_architecture(architecture(index)).get(arithmetic(dtype), [])
