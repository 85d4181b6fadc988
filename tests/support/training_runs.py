"""Small training runs, and what they log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MODEL: dict[str, Any] = {
    "encoder": {"blocks": 1, "features": 8},
    "frequency": {"channels": 2, "width": 4, "blocks": 1},
    "decoder": {"width": 16, "layers": 2},
}
RUN: dict[str, Any] = {
    "model": MODEL,
    "data": {"lr_sizes": [6, 8], "scale": [1, 3], "queries": 64},
    "validation": {"images": 1, "pairs": [[8, 16]], "every": 4},
    "log_every": 1,
}
"""The configuration of a run, without its length."""

FIVE_SIZES = [(24 + i, 28) for i in range(5)]


def with_budget(run: dict[str, Any], lr_pixels: int, queries: int) -> dict[str, Any]:
    """A run's configuration with a budget instead of what that replaces."""
    data = {name: entry for name, entry in run["data"].items() if name != "queries"}
    rest = {name: entry for name, entry in run.items() if name != "batch"}
    return {**rest, "data": data, "budget": {"lr_pixels": lr_pixels, "queries": queries}}


def save_smooth_images(folder: Path, sizes: Sequence[tuple[int, int]]) -> Path:
    """Save images 0.png, 1.png ... of these sizes, (width, height); the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i, size in enumerate(sizes):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


def records(run: Path) -> list[dict[str, Any]]:
    """The records of a run's log."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def losses(run: Path) -> dict[int, float]:
    """The losses in a run's log, by step."""
    return {record["step"]: record["loss"] for record in records(run) if "loss" in record}
