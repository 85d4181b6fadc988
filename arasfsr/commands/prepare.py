"""`arasfsr prepare`: a training set of aligned faces out of a folder of photographs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from arasfsr.preparation.manifest import Record

SMALLEST_SQUARE = 8
"""Pixels of a square's side below which there is no face to see."""


def prepare(
    source: Annotated[
        Path,
        typer.Argument(metavar="SRC", exists=True, file_okay=False, help="A folder of photographs, with its folders."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", file_okay=False, help="The folder of the faces, and of manifest.jsonl."
        ),
    ],
    min_side: Annotated[
        int,
        typer.Option(
            "--min-side",
            metavar="N",
            help="Leave out faces whose square has fewer pixels a side; none is enlarged.",
        ),
    ] = 128,
    max_side: Annotated[
        int, typer.Option("--max-side", metavar="N", help="Shrink larger squares to so many pixels a side.")
    ] = 1024,
    min_sharpness: Annotated[
        float,
        typer.Option(
            "--min-sharpness",
            metavar="S",
            help="Leave out squares that hold less detail: 0.42 and more is usual, enlarged twice 0.3; 0 keeps all.",
        ),
    ] = 0.36,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", help="Threads; by default one a processor.")
    ] = None,
) -> None:
    """Make a training set of aligned faces out of a folder of photographs.

    Every face with two eyes becomes a square PNG with the eyes' midpoint at 0.50 of the width and 0.44 of the height,
    and the eyes 0.26 of the side apart; faces that are turned by more than 5 degrees are turned upright. What is left
    out, and why, stands in DIR/manifest.jsonl. A run that was interrupted goes on where it was. Photographs that
    cannot be read are named, and the exit status is then 1. Needs the extra `prepare` (OpenCV).
    """
    from arasfsr.preparation.manifest import Settings
    from arasfsr.preparation.prepare import FAILED, KEPT, Preparer, reasons

    threads = (os.cpu_count() or 1) if workers is None else workers
    for option, value, least, taken in (
        ("--min-side", min_side, SMALLEST_SQUARE, f"at least {SMALLEST_SQUARE} pixels"),
        ("--max-side", max_side, min_side, f"at least --min-side, {min_side}"),
        ("--min-sharpness", min_sharpness, 0, "a number from 0"),
        ("--workers", threads, 1, "at least 1"),
    ):
        if not value >= least:  # NaN too
            raise typer.BadParameter(f"{value}; taken is {taken}", param_hint=option)
    preparer = Preparer(source, output, Settings(min_side, max_side, min_sharpness), threads)
    with _progress(len(preparer.jobs)) as told:
        records = preparer.run(told)
    kept = sum(record.status == KEPT for record in records)
    typer.echo(f"faces kept: {kept}, of {len(preparer.jobs)} photographs, in {output}")
    for reason, count in reasons(records).items():
        typer.echo(f"left out: {count} {reason}")
    failed = [record for record in records if record.status == FAILED]
    for record in failed:
        typer.echo(f"arasfsr: {record.reason}", err=True)
    if failed:
        raise typer.Exit(1)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Sequence[Record]], None]]:
    """What is told of each photograph: a bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda records: bar.advance(task)
