"""The progress bar of the commands."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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
