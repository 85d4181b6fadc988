"""The golden cases: checkpoints of the authors' implementation (*.pth), and what it computes with them (*.npz).

tests/golden holds small ones; the environment variable ARASFSR_GOLDEN names another folder to take in its place.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arasfsr import ImplicitSR, load_model
from arasfsr.query.skip import bilinear_skip

VARIABLE = "ARASFSR_GOLDEN"

_COMMITTED_FOLDER = Path(__file__).parents[1] / "golden"

GOLDEN = Path(os.environ.get(VARIABLE) or _COMMITTED_FOLDER)
"""The folder in use."""

COMMITTED = {path.stem for path in _COMMITTED_FOLDER.glob("*.pth")}
"""The names of the cases in tests/golden."""

GOLDEN_NAMES = sorted(path.stem for path in GOLDEN.glob("*.pth"))
"""The names of the cases in use: asfsr* and the baselines."""

BASELINE_DECODERS = ("lte", "diinn")
"""Decoders that no fused backend serves."""

MLP_NAMES = [name for name in GOLDEN_NAMES if not name.startswith(BASELINE_DECODERS)]
"""The cases that they serve."""

Case = tuple[ImplicitSR, dict[str, Tensor]]


def load_golden(name: str) -> Case:
    """The model of that name, and what the authors' implementation made of it."""
    arrays: Any = np.load(GOLDEN / f"{name}.npz")
    return load_model(GOLDEN / f"{name}.pth"), {key: torch.from_numpy(arrays[key]) for key in arrays}


def on(device: torch.device, case: Case) -> Case:
    """The case on a device."""
    model, golden = case
    return model.to(device), {key: value.to(device) for key, value in golden.items()}


def own_output(model: ImplicitSR, golden: dict[str, Tensor], prediction: Tensor, coord: Tensor) -> Tensor:
    """The decoder's own part of a prediction: the skip hides errors."""
    return prediction - bilinear_skip(golden["inp"], coord) if model.config.skip else prediction
