"""Measure speed and memory at equal results: `python -m benchmarks COMMAND --help` says what each command does."""

from __future__ import annotations

import subprocess
import sys
from json import dumps
from pathlib import Path
from typing import Annotated

import torch
import typer

from arasfsr.files import replacing
from benchmarks import bars as measurements
from benchmarks import cases as registered
from benchmarks import compare as comparison
from benchmarks import data as samples
from benchmarks import methods as comparing
from benchmarks import profiling
from benchmarks import versions as tried
from benchmarks.contestants import known
from benchmarks.gpu.__main__ import main as run_on_gpu
from benchmarks.report import draw_plots, refresh_readme, write_excerpts, write_machines, write_versions
from benchmarks.results import RESULTS, SUITES_FILE, device_name, write_results
from benchmarks.run import CASE_SECONDS, run_cases

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


def _one_of(values: list[str] | None, taken: tuple[str, ...] | list[str], option: str) -> tuple[str, ...]:
    unknown = [value for value in values or () if value not in taken]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}; taken are {', '.join(taken)}", param_hint=option)
    return tuple(values or ())


def _device(name: str | None) -> torch.device:
    """The named device, or cuda where it is there, else cpu."""
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.split(":")[0] not in ("cpu", "cuda"):
        raise typer.BadParameter(f"{name}; taken are cpu, cuda and cuda:N", param_hint="--device")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise typer.BadParameter(f"{name}; torch {torch.__version__} finds no CUDA device", param_hint="--device")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise typer.BadParameter(f"{name}; taken are cpu, cuda and cuda:N", param_hint="--device") from error


def _sizes(values: list[str] | None) -> list[tuple[int, int]]:
    """Output sizes such as 256 or 1000x1504."""
    taken = {case.output for case in registered.registry()}
    found = []
    for value in values or ():
        sides = value.lower().split("x")
        if not all(side.isdecimal() for side in sides) or len(sides) > 2:
            raise typer.BadParameter(f"{value}; taken is SIDE or HEIGHTxWIDTH", param_hint="--size")
        size = (int(sides[0]), int(sides[-1]))
        if size not in taken:
            names = ", ".join(f"{height}x{width}" for height, width in sorted(taken))
            raise typer.BadParameter(f"{value}; taken are {names}", param_hint="--size")
        found.append(size)
    return found


@app.command()
def run(
    suite: Annotated[list[str] | None, typer.Option(help="query, train or end-to-end; by default all.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; by default cuda where there is one.")] = None,
    backend: Annotated[list[str] | None, typer.Option(help="A contestant by name, ours or public; all.")] = None,
    size: Annotated[list[str] | None, typer.Option(help="An output size, SIDE or HEIGHTxWIDTH; all.")] = None,
    dtype: Annotated[list[str] | None, typer.Option(help="float32, tf32, bfloat16 or float16; all.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="full or tiny; both.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Take the cases that fit; by default all.")] = None,
    excerpt: Annotated[
        int | None, typer.Option(min=1, help="Time at most so many queries of each case, of all images together.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0, help="What a case's repetitions may take, beyond three of each contestant.")
    ] = CASE_SECONDS,
    json: Annotated[Path | None, typer.Option(help="The file to write; else in benchmarks/results.")] = None,
    missing: Annotated[bool, typer.Option("--missing", help="Only the cases that the file does not hold yet.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="Only name the cases, most important first.")] = False,
) -> None:
    """Measure the cases, most important first, every contestant in turn; each result is written at once."""
    cases = registered.chosen(
        registered.registry(),
        _one_of(suite, registered.SUITES, "--suite"),
        _sizes(size),
        _one_of(dtype, list(registered.DTYPES), "--dtype"),
        _one_of(model, registered.MODELS, "--model"),
    )
    only = _one_of(backend, known(), "--backend")
    if excerpt is not None:
        cases = registered.excerpts(cases, excerpt)
    if not cases:
        raise typer.BadParameter("no case is of that suite, size, dtype and model", param_hint="--suite")
    if listing:
        for case in cases:
            typer.echo(case.name)
        return
    where = _device(device)
    path = json or RESULTS / device_name(where) / SUITES_FILE
    run_cases(cases, where, path, minutes, only, typer.echo, missing=missing, seconds=seconds)


def _require_cuda(command: str) -> None:
    if not torch.cuda.is_available():
        told = f"torch {torch.__version__} finds none here"
        typer.echo(f"python -m benchmarks {command} takes a machine with a CUDA device; {told}", err=True)
        raise typer.Exit(2)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    short_help="All that minutes on a CUDA machine can tell: right or wrong first, then times, within --minutes.",
)
def gpu(context: typer.Context) -> None:
    """As `python -m benchmarks.gpu`, which begins at once: this one loads torch first."""
    raise typer.Exit(run_on_gpu(context.args))


@app.command()
def compare(before: Path, after: Path) -> None:
    """Say what changed beyond the spread from one file of results to another; exit 1 where something is slower."""
    try:
        changes = comparison.compare_files(before, after)
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    for change in changes:
        if change.verdict != "unchanged":
            typer.echo(f"{change.verdict}: {change.name} {change.detail}".rstrip())
    unchanged = sum(change.verdict == "unchanged" for change in changes)
    typer.echo(f"{unchanged} of {len(changes)} unchanged")
    raise typer.Exit(any(change.worse for change in changes))


@app.command()
def profile(
    backend: Annotated[str, typer.Option(help="Ours, by name.")] = "tiled",
    dtype: Annotated[str, typer.Option(help="float32, tf32, bfloat16 or float16.")] = "float32",
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    size: Annotated[int, typer.Option(min=1, help="Side of the output; the input is 64 x 64.")] = 256,
) -> None:
    """Where a backend's time goes, and how near its matrix products come to the ceiling."""
    _one_of([backend], [name for name in known() if not name.startswith("public")], "--backend")
    where = _device(device)
    _one_of([dtype], profiling.dtypes(where), "--dtype")
    for line in profiling.report(backend, dtype, where, (size, size)):
        typer.echo(line)


@app.command()
def bars(
    only: Annotated[list[str] | None, typer.Option("--only", help="A case by name; by default all.")] = None,
    repetitions: Annotated[int, typer.Option("--repetitions", min=1, help="Timed runs of each contestant.")] = 5,
    json: Annotated[Path | None, typer.Option("--json", help="The file to write.")] = None,
) -> None:
    """Time and memory of the query path, of training and of `arasfsr upscale`, each beside its bar."""
    names = list(_one_of(only, list(measurements.CASES), "--only")) or list(measurements.CASES)
    path = json or RESULTS / device_name() / "bars.json"
    if len(names) > 1:
        for name in names:  # each in a process of its own: one case's memory must not warm the next one's allocator
            command = [sys.executable, "-m", "benchmarks", "bars", "--only", name, "--json", str(path)]
            subprocess.run([*command, "--repetitions", str(repetitions)], check=True)
        return
    result = measurements.CASES[names[0]](repetitions)
    typer.echo(f"{names[0]}: {result}")
    write_results(path, names[0], result)  # as it goes: a run that is cut off keeps what it has


@app.command()
def data(
    repetitions: Annotated[int, typer.Option("--repetitions", min=1, help="Timed runs of each case.")] = 5,
    count: Annotated[int, typer.Option("--count", min=1, help="Samples of a run.")] = 1000,
    json: Annotated[Path | None, typer.Option("--json", help="The file to write.")] = None,
) -> None:
    """Training samples a second that one worker makes, beside their bar, and images that it decodes."""
    path = json or RESULTS / device_name() / "data.json"
    for name, result in samples.measure(count, repetitions).items():
        typer.echo(f"{name}: {result['per_second']:.0f} a second, load {result['load']:.2f}")
        write_results(path, name, result)


@app.command()
def report() -> None:
    """Make the README's tables, and the pages and plots in docs, from benchmarks/results."""
    try:
        for made in (*draw_plots(), *write_excerpts(), *write_machines(), write_versions()):
            typer.echo(made)
    except ModuleNotFoundError as error:
        typer.echo(f"no plots: {error}; pip install matplotlib", err=True)
        raise typer.Exit(1) from error
    refresh_readme()


@app.command()
def methods(
    data: Annotated[Path, typer.Option("--data", exists=True, file_okay=False, help="Images to learn from.")],
    test: Annotated[Path, typer.Option("--test", exists=True, file_okay=False, help="Images to score on.")],
    runs: Annotated[Path, typer.Option("--runs", file_okay=False, help="Where trainings lie.")] = Path("runs/methods"),
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Of each; by default as configured.")] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu or cuda; by default a GPU if there is one.")
    ] = None,
    json: Annotated[Path, typer.Option("--json", help="The file to write.")] = comparing.METHODS_FILE,
) -> None:
    """Train the paper's methods with equal means and score them; begun anew after an interruption, it goes on."""
    found = comparing.compare(data, test, runs, str(_device(device)), steps)
    with replacing(json) as temporary:
        temporary.write_text(dumps(found, indent=1) + "\n")


@app.command()
def versions(
    python: Annotated[str, typer.Argument(help="The interpreter, such as python3.12.")],
    requirements: Annotated[list[str], typer.Argument(help="Such as torch==2.11.0 triton==3.6.0.")],
) -> None:
    """Run tests under other versions of Python, torch and Triton, in an environment of their own."""
    try:
        result = tried.attempt(python, requirements)
    except (OSError, subprocess.CalledProcessError) as error:
        typer.echo(f"{python}, {' '.join(requirements)}: cannot be installed: {error}", err=True)
        raise typer.Exit(1) from error
    write_results(tried.VERSIONS_FILE, tried.key(result), result)


@app.command()
def audit() -> None:
    """Compile every Triton kernel ahead of time, for GPUs that need not be here, and put the table into the results."""
    from tools.kernels import audit as kernels

    (RESULTS / "audit.md").write_text(kernels.audit(typer.echo))


@app.command()
def tune(
    side: Annotated[int, typer.Option(min=16, help="LR side; 8 times as large is decoded.")] = 128,
) -> None:
    """Choose the Triton kernels' cuts by measurement on this GPU, and write them into kernels/measured.json."""
    _require_cuda("tune")
    from benchmarks import tune as tuning

    tuning.tune(side=side, say=typer.echo)


if __name__ == "__main__":
    app()
