"""What "auto" may take first on a GPU: backends whose results on such a device are committed, in proven.json.

`python -m tools.gpu.publish DEVICE` writes that file from runs' results: by compute capability and arithmetic
the backends that were right on every probe and faster than tiled, the fastest first.
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
    found: dict[str, dict[str, list[str]]] = json.loads(PROVEN.read_text())
    return found


def architecture(index: int) -> str:
    """A CUDA device's kind in proven.json, such as sm90."""
    if torch.version.hip is not None:
        return "rocm"
    major, minor = torch.cuda.get_device_capability(index)
    return f"sm{major}{minor}"


def arithmetic(dtype: torch.dtype) -> str:
    """A compute dtype's name there: float32 goes by how it is multiplied, float32 or tf32."""
    return "tf32" if dtype == torch.float32 and tf32_allowed() else str(dtype).removeprefix("torch.")


def of_architecture(name: str) -> dict[str, list[str]]:
    """By arithmetic the fused backends that are proven on such devices, the fastest first."""
    return _proven().get(name, {})


@constant
def on_gpu(index: int, dtype: torch.dtype) -> list[str]:
    """The fused backends that are proven on a CUDA device in a compute dtype, the fastest first."""
    return of_architecture(architecture(index)).get(arithmetic(dtype), [])
