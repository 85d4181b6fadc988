"""What a run tells of itself: in files, and to TensorBoard where it is asked to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from arasfsr.errors import TrainingError
from arasfsr.files import replacing

LOG = "log.jsonl"
TEXT_LOG = "log.txt"
BOARD = "tensorboard"


class Silence:
    """The log of processes other than the first: nothing."""

    def write(self, record: dict[str, Any]) -> None:
        """Add a record, which has its step."""

    def say(self, line: str) -> str:
        """Add a line to the text, with the time; the line."""
        return line

    def close(self) -> None:
        """Nothing is written after that."""


class Log(Silence):
    """A run's two logs: JSON lines for programs, from which resuming cuts what came after the checkpoint, and text
    for people, which tells all that happened."""

    def __init__(self, folder: Path, step: int, tensorboard: bool = False) -> None:
        self._board = _board(folder / BOARD, step) if tensorboard else None  # first: it may not be installed
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
        with _told():
            self._file.write(json.dumps(record) + "\n")
        if self._board is not None:
            for name, value in _scalars(record):
                self._board.add_scalar(name, value, record["step"])
            self._board.flush()

    def say(self, line: str) -> str:
        """Add a line to the text, with the time; the line."""
        with _told():
            self._text.write(f"{datetime.now().isoformat(sep=' ', timespec='seconds')}  {line}\n")
        return line

    def close(self) -> None:
        for file in (self._file, self._text):
            with suppress(OSError):  # a line that could not be written was told of then
                file.close()
        if self._board is not None:
            self._board.close()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"the log cannot be written: {error.strerror}; the last checkpoint is whole, go on with --resume"
        ) from error


def _board(folder: Path, step: int) -> Any:
    """TensorBoard's writer, which cuts what came after that step."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError('TensorBoard is asked for, but not installed: pip install "arasfsr[tensorboard]"') from error
    return SummaryWriter(str(folder), purge_step=step + 1)


def _scalars(record: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """A record's numbers under TensorBoard's names."""
    for name in ("loss", "lr", "seconds_per_step"):
        if name in record:
            yield f"training/{name}", record[name]
    scores = {} if record.get("done") else record.get("validation", {})  # the last line repeats them
    for pair, score in scores.items():
        yield f"validation/{pair.replace(':', ' to ')}", score["psnr"]
