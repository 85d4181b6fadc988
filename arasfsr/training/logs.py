"""The logs of a run: JSON lines, text and, if asked for, TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from arasfsr.errors import ArgumentError, TrainingError
from arasfsr.files import replacing

LOG = "log.jsonl"
TEXT_LOG = "log.txt"
BOARD = "tensorboard"


class NullLog:
    """The log of all ranks but 0: does nothing."""

    def write(self, record: dict[str, Any]) -> None:
        """Append a record, which has the key "step", to the JSON lines."""

    def say(self, line: str) -> None:
        """Append a line with the time to the text log."""

    def close(self) -> None:
        """Close the files."""


class Log(NullLog):
    """The logs of a run in its folder.

    The JSON lines are for programs: those after `step`, the step resumed from, are removed. The text is for people and
    keeps everything.

    Raises:
        ArgumentError: TensorBoard is asked for but not installed.
        TrainingError: a line cannot be written, in `write` and `say`.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool = False) -> None:
        self._board = _board(folder / BOARD, step) if tensorboard else None  # first: it may not be installed
        self._folder = folder
        path = folder / LOG
        kept = []
        if path.is_file():
            for line in path.read_text().splitlines():
                try:
                    record = json.loads(line)
                    if record["step"] <= step and not record.get("done"):  # the last line is written again
                        kept.append(line)
                except (json.JSONDecodeError, KeyError, TypeError):
                    continue  # a line cut short by a kill
        with replacing(path) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept))
        self._file = path.open("a", buffering=1)
        self._text = (folder / TEXT_LOG).open("a", buffering=1)

    def remove(self) -> None:
        """Remove the files of a run that could not begin."""
        for name in (LOG, TEXT_LOG):
            (self._folder / name).unlink(missing_ok=True)

    def write(self, record: dict[str, Any]) -> None:
        with _write_errors():
            self._file.write(json.dumps(record) + "\n")
        if self._board is not None:
            for name, value in _scalars(record):
                self._board.add_scalar(name, value, record["step"])
            self._board.flush()

    def say(self, line: str) -> None:
        with _write_errors():
            self._text.write(f"{datetime.now().isoformat(sep=' ', timespec='seconds')}  {line}\n")

    def close(self) -> None:
        for file in (self._file, self._text):
            with suppress(OSError):  # of a line whose failure has been raised already
                file.close()
        if self._board is not None:
            self._board.close()


def duration(seconds: float) -> str:
    """A time in words: 40 s, 12 min, 1 h 32 min."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def _write_errors() -> Iterator[None]:
    """Raise an OSError as a TrainingError."""
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"cannot write the log: {error.strerror}; the last checkpoint is intact, continue with --resume"
        ) from error


def _board(folder: Path, step: int) -> Any:
    """TensorBoard's writer; what it wrote after `step` is hidden."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ArgumentError('TensorBoard is not installed: pip install "arasfsr[tensorboard]"') from error
    return SummaryWriter(str(folder), purge_step=step + 1)


def _scalars(record: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a record, with their names in TensorBoard."""
    for name in ("loss", "lr", "seconds_per_step"):
        if name in record:
            yield f"training/{name}", record[name]
    scores = {} if record.get("done") else record.get("validation", {})  # the last line repeats them
    for pair, score in scores.items():
        yield f"validation/{pair.replace(':', ' to ')}", score["psnr"]
