"""The progress of the commands: a bar on a terminal; elsewhere, a line about a picture that takes long."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from arasfsr.training.logs import duration

LONG_PIXELS = 1 << 20
"""Output pixels from which a picture takes seconds and is announced."""

LONG_SECONDS = 10
"""Time left from which it is announced."""


@dataclass(frozen=True)
class ProgressBar:
    """A bar that is on screen."""

    progress: Progress
    task: TaskID

    def advance(self, amount: float = 1) -> None:
        """Add to the part that is done."""
        self.progress.advance(self.task, amount)

    def update(self, done: float, total: float) -> None:
        """Set the part that is done, and the total."""
        self.progress.update(self.task, completed=done, total=total)


class PictureBar:
    """Shows the pictures of `arasfsr upscale` on a bar, which counts the rows of the output if there is only one."""

    def __init__(self, bar: ProgressBar, pictures: int) -> None:
        self._bar, self._single, self._rows = bar, pictures == 1, 1

    def begin(self, source: Path, before: tuple[int, int], after: tuple[int, int]) -> None:
        """A picture is started, from (height, width) to (height, width)."""
        if self._single:
            self._rows = after[0]
            self._bar.update(0, self._rows)

    def advance(self, part: float) -> None:
        """That fraction of it is done."""
        self._bar.advance(part * self._rows)


class SlowPictures:
    """Announces on standard error the pictures of `arasfsr upscale` that take long, and how long, without a bar."""

    def __init__(self) -> None:
        self._source = Path()
        self._bands, self._second, self._left = 0, 0.0, 0.0

    def begin(self, source: Path, before: tuple[int, int], after: tuple[int, int]) -> None:
        """A picture is started, from (height, width) to (height, width)."""
        self._source = source
        self._bands, self._left = 0, 1.0
        if after[0] * after[1] >= LONG_PIXELS:
            typer.echo(f"{source}: {before[1]} x {before[0]} -> {after[1]} x {after[0]} ...", err=True)

    def advance(self, part: float) -> None:
        """That fraction of it, a band of rows, is done. The second is timed: the first has the encoder's time too."""
        self._bands += 1
        self._left -= part
        if self._bands == 1:
            self._second = time.perf_counter()
        elif self._bands == 2 and self._left > 0:
            seconds = (time.perf_counter() - self._second) / part * self._left
            if seconds >= LONG_SECONDS:
                typer.echo(f"{self._source}: about {duration(seconds)} left", err=True)


@contextmanager
def progress_bar(total: float | None = None, description: str = "") -> Iterator[ProgressBar | None]:
    """Show a progress bar on standard error until the block ends; None if standard error is not a terminal.

    Log lines, and standard output if it is a terminal too, appear above the bar.
    """
    if not sys.stderr.isatty():
        yield None
        return
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    )
    with progress, _logging_to_current_stderr():
        yield ProgressBar(progress, progress.add_task(description, total=total))


@contextmanager
def _logging_to_current_stderr() -> Iterator[None]:
    """Move the root logger's handlers to sys.stderr, which Rich replaces while it draws."""
    moved = [
        (handler, stream)
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and (stream := handler.setStream(sys.stderr)) is not None
    ]
    try:
        yield
    finally:
        for handler, stream in moved:
            handler.setStream(stream)
