"""What a run keeps on disk: checkpoints to resume from and the model so far."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from arasfsr.errors import CheckpointError
from arasfsr.files import replacing

STATE = "last.ckpt"
MODEL = "model.safetensors"


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Replace the folder's checkpoint, whole or not at all."""
    with replacing(folder / STATE) as temporary:
        torch.save(state, temporary)


def read_state(folder: Path) -> dict[str, Any]:
    """The folder's checkpoint.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    path = folder / STATE
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {STATE} to resume from")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    return state
