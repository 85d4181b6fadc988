"""What a run keeps on disk: checkpoints to resume from, the model so far, the log of losses."""

from __future__ import annotations

import json
import pickle
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from arasfsr.atomic import replacing
from arasfsr.errors import CheckpointError

STATE = "last.ckpt"
MODEL = "model.safetensors"
LOG = "log.jsonl"
TEXT_LOG = "log.txt"


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


class Log:
    """A run's two logs: JSON lines for programs, from which resuming cuts what came after the checkpoint, and text
    for people, which tells all that happened."""

    def __init__(self, folder: Path, step: int) -> None:
        path = folder / LOG
        kept = []
        if path.is_file():
            for line in path.read_text().splitlines():
                try:
                    record = json.loads(line)
                    if record["step"] <= step and not record.get("done"):  # a run's last line, which comes anew
                        kept.append(line)
                except (json.JSONDecodeError, KeyError, TypeError):
                    continue  # the line that a kill cut short
        with replacing(path) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept))
        self._file = path.open("a", buffering=1)
        self._text = (folder / TEXT_LOG).open("a", buffering=1)

    def write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")

    def say(self, line: str) -> str:
        """Add a line to the text, with the time; the line."""
        self._text.write(f"{datetime.now().isoformat(sep=' ', timespec='seconds')}  {line}\n")
        return line

    def close(self) -> None:
        self._file.close()
        self._text.close()
