"""`arasfsr prepare`: make a training set of aligned faces from a folder of photographs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from arasfsr.commands.options import VERBOSE, number
from arasfsr.commands.progress import progress_bar

SMALLEST_SQUARE = 8
"""Smallest side of a square in pixels that can show a face."""

MIN_SIDE = number(int, f"a whole number of at least {SMALLEST_SQUARE} pixels", lambda side: side >= SMALLEST_SQUARE)
MAX_SIDE = number(int, "a whole number of pixels", lambda _: True)
SHARPNESS = number(float, "a number from 0", lambda sharpness: sharpness >= 0)
WORKERS = number(int, "a whole number of at least 1", lambda workers: workers >= 1)


def prepare(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC", exists=True, file_okay=False, help="A folder of photographs, searched recursively."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", file_okay=False, help="The folder for the faces and manifest.jsonl."
        ),
    ],
    min_side: Annotated[
        int,
        typer.Option(
            "--min-side",
            metavar="N",
            parser=MIN_SIDE,
            help="Leave out faces whose square has a smaller side in pixels; no face is enlarged.",
        ),
    ] = 128,
    max_side: Annotated[
        int,
        typer.Option("--max-side", metavar="N", parser=MAX_SIDE, help="Shrink larger squares to this side in pixels."),
    ] = 1024,
    min_sharpness: Annotated[
        float,
        typer.Option(
            "--min-sharpness",
            metavar="S",
            parser=SHARPNESS,
            help="Leave out squares with less detail: 0.42 or more is usual, 0.3 if enlarged twice; 0 keeps all.",
        ),
    ] = 0.36,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", parser=WORKERS, help="Threads; by default one per processor."),
    ] = None,
    verbose: Annotated[bool, VERBOSE] = False,
) -> None:
    """Make a training set of aligned faces from a folder of photographs.

    Every face with two eyes becomes a square PNG with the eyes' midpoint at 0.50 of the width and 0.44 of the height,
    and the eyes 0.26 of the side apart; faces that are rotated by more than 5 degrees are turned upright.
    DIR/manifest.jsonl lists what was kept and what was left out, and why. An interrupted run continues where it
    stopped. Photographs that cannot be read are reported, and the exit status is then 1. Needs the extra `prepare`
    (OpenCV).
    """
    from arasfsr.preparation.manifest import Settings
    from arasfsr.preparation.prepare import FAILED, KEPT, Preparer, reasons

    if max_side < min_side:
        raise typer.BadParameter(f"must be at least --min-side, {min_side}, got {max_side}", param_hint="--max-side")
    threads = (os.cpu_count() or 1) if workers is None else workers
    preparer = Preparer(source, output, Settings(min_side, max_side, min_sharpness), threads)
    with progress_bar(len(preparer.jobs)) as bar:
        entries = preparer.run(None if bar is None else lambda _: bar.advance())
    kept = sum(entry.status == KEPT for entry in entries)
    typer.echo(f"faces kept: {kept}, of {len(preparer.jobs)} photographs, in {output}")
    for reason, count in reasons(entries).items():
        typer.echo(f"left out: {count} {reason}")
    failed = [entry for entry in entries if entry.status == FAILED]
    for entry in failed:
        typer.echo(f"arasfsr: {entry.reason}", err=True)
    if failed:
        raise typer.Exit(1)
