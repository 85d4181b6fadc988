"""Block sizes and launch options of each kernel, by architecture, padded width and dtype.

measured.json, next to this file, holds the entries that `python -m benchmarks tune` has measured. Without an entry the
blocks are the largest that fit into registers and shared memory (`python -m benchmarks audit`).
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

MEASURED = Path(__file__).with_name("measured.json")
"""Entries by `key`."""

INTERPRETER = (0, 0)
"""Stands for Triton's interpreter, which is faster with fewer, larger blocks."""

ROCM = (0, 1)
"""Stands for all AMD GPUs, whose architecture numbers are not compute capabilities."""


@dataclass(frozen=True)
class Config:
    """Block of a matrix product, BM rows by BN columns in steps of BK, and launch options."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int


@dataclass(frozen=True)
class Table:
    """The entry of one architecture, padded width and dtype."""

    queries: int
    """Queries of a tile, the rows of the coordinate branch; a multiple of forward.rows / 4 and of backward.rows / 4."""
    gather: int
    """Columns that the first and last layer process at a time."""
    coordinate: tuple[int, int]
    """Columns and depth of the coordinate branch's products."""
    forward: Config
    backward: Config
    weights: Config
    """For the weights' gradients: outputs, inputs, and rows of the sum."""
    blocks: int
    """Blocks of the forward on a multiprocessor at the same time."""


def launch_options(config: Config, rocm: bool) -> dict[str, Any]:
    """Compiler options: no fused multiply-adds (see geometry.py), and as many registers as possible."""
    options = {"num_warps": config.warps, "num_stages": config.stages, "enable_fp_fusion": False}
    return options if rocm else {**options, "maxnreg": 255}


def key(capability: tuple[int, int], width: int, dtype: torch.dtype, precision: str) -> str:
    """The name of an entry, such as sm90/256/bfloat16; float32 is named by its precision, tf32 or ieee."""
    arithmetic = precision if dtype == torch.float32 else str(dtype).removeprefix("torch.")
    architecture = "rocm" if capability == ROCM else f"sm{capability[0]}{capability[1]}"
    return f"{architecture}/{width}/{arithmetic}"


@functools.cache
def _measured() -> dict[str, Table]:
    def config(value: Any) -> Any:
        return Config(**value) if isinstance(value, dict) else tuple(value) if isinstance(value, list) else value

    entries = json.loads(MEASURED.read_text())
    return {name: Table(**{field: config(value) for field, value in entry.items()}) for name, entry in entries.items()}


def table(capability: tuple[int, int], width: int, dtype: torch.dtype, precision: str) -> Table:
    """The entry for a compute capability, a padded width, a dtype and the precision of float32 products."""
    found = _measured().get(key(capability, width, dtype, precision))
    return found or _largest(capability, width, dtype, precision)


def _largest(capability: tuple[int, int], width: int, dtype: torch.dtype, precision: str) -> Table:
    """The entry with the largest blocks that fit."""
    square, narrow = min(width, 64), min(width, 32)
    if capability == INTERPRETER:
        whole = Config(256, width, width, 1, 1)
        return Table(64, width, (width, width), whole, whole, Config(width, width, 64, 1, 1), blocks=1)
    if dtype == torch.float32:
        tf32 = precision == "tf32"
        return Table(
            queries=64,
            gather=16,
            coordinate=(narrow, 16),
            forward=Config(64, square, 16, 8, 3 if tf32 and capability[0] > 8 else 2),
            backward=Config(64, square, 16, 8, 3 if tf32 else 2),
            weights=Config(square, square, 32, 4, 3) if tf32 else Config(square, square, 16, 8, 2),
            blocks=1,
        )
    hopper, blackwell = capability[0] == 9, capability[0] == 10
    if width == 256 and hopper:
        forward, coordinate = Config(128, 256, 32, 8, 3), (128, 32)
    elif width == 256 and blackwell:
        forward, coordinate = Config(128, 128, 32, 8, 3), (64, 32)
    else:
        forward, coordinate = Config(128, square, narrow, 8, 3), (narrow, narrow)
    large = width == 256 and (hopper or blackwell or capability == (8, 0))
    return Table(
        queries=64,
        gather=16,
        coordinate=coordinate,
        forward=forward,
        backward=Config(128 if width == 256 else 64, square, 64 if large and capability[0] > 8 else narrow, 8, 3),
        weights=Config(128, 128, 64, 8, 3) if large else Config(square, square, 64, 4, 3),
        blocks=1,
    )
