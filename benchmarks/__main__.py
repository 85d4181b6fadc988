"""`python -m benchmarks bars`: measure what this version must reach; `report`: put the results into the README."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import bars as measurements
from benchmarks.report import refresh_readme
from benchmarks.results import RESULTS, device_name, write_results

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


@app.command()
def bars(
    only: Annotated[list[str] | None, typer.Option("--only", help="A case by name; by default all.")] = None,
    repetitions: Annotated[int, typer.Option("--repetitions", min=1, help="Timed runs of each contestant.")] = 5,
    json: Annotated[Path | None, typer.Option("--json", help="The file to write.")] = None,
) -> None:
    """Time and memory of the query path, of training and of `arasfsr upscale`, each beside its bar."""
    unknown = set(only or ()) - set(measurements.CASES)
    if unknown:
        raise typer.BadParameter(f"{sorted(unknown)}; taken are {', '.join(measurements.CASES)}", param_hint="--only")
    path = json or RESULTS / device_name() / "bars.json"
    names = only or list(measurements.CASES)
    if len(names) > 1:
        for name in names:  # each in a process of its own: one case's memory must not warm the next one's allocator
            command = [sys.executable, "-m", "benchmarks", "bars", "--only", name, "--json", str(path)]
            subprocess.run([*command, "--repetitions", str(repetitions)], check=True)
        return
    result = measurements.CASES[names[0]](repetitions)
    typer.echo(f"{names[0]}: {result}")
    write_results(path, names[0], result)  # as it goes: a run that is cut off keeps what it has


@app.command()
def report() -> None:
    """Make the README's tables from benchmarks/results."""
    refresh_readme()


app()
