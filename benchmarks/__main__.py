"""Measure speed and memory at equal results: `python -m benchmarks COMMAND --help` says what each command does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from arasfsr.commands.options import choose_device
from arasfsr.query import BACKENDS
from benchmarks import cases as registered
from benchmarks.bars import BARS
from benchmarks.ceilings import SIDES, dtypes
from benchmarks.contestants import known
from benchmarks.results import RESULTS, SUITES_FILE, device_name, write_results
from benchmarks.run import CASE_SECONDS, run_cases
from benchmarks.session import ContestantFailed

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)

SIZES = {"x".join(map(str, case.output)): case.output for case in registered.registry()}
SIZES |= {str(height): (height, width) for height, width in SIZES.values() if height == width}


def _device(name: str) -> torch.device:
    device = choose_device(name)
    if device.type not in SIDES:
        raise typer.BadParameter(f"must be cpu, cuda or cuda:N, got {name}")
    return device


def _choice(help: str, *names: str) -> Any:
    """An option whose value, or each of whose values, is one of the names."""

    def check(given: str) -> str:
        if given not in names:
            raise typer.BadParameter(f"must be one of {', '.join(names)}, got {given}")
        return given

    return typer.Option(help=help, parser=check, metavar="NAME")


Device = Annotated[torch.device, typer.Option(parser=_device, metavar="NAME", help="cpu, cuda, or auto: cuda if any.")]
Target = Annotated[Path | None, typer.Option("--json", help="The file to write; else in benchmarks/results.")]
Seconds = Annotated[float, typer.Option(min=0, help="What the repetitions of each may take, beyond three.")]
AUTO: Any = "auto"


@app.command()
def run(
    suite: Annotated[list[str] | None, _choice("By default all.", *registered.SUITES)] = None,
    device: Device = AUTO,
    backend: Annotated[list[str] | None, _choice("A contestant; by default all but reference.", *known())] = None,
    size: Annotated[list[str] | None, _choice("An output size; by default all.", *SIZES)] = None,
    dtype: Annotated[list[str] | None, _choice("By default all.", *registered.DTYPES)] = None,
    model: Annotated[list[str] | None, _choice("By default both.", *registered.MODELS)] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Take the cases that fit; by default all.")] = None,
    excerpt: Annotated[int | None, typer.Option(min=1, help="So many queries of each case, of all images.")] = None,
    seconds: Seconds = CASE_SECONDS,
    json: Target = None,
    missing: Annotated[bool, typer.Option("--missing", help="Only the cases that the file does not hold yet.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="Only name the cases, most important first.")] = False,
) -> None:
    """Measure the cases, most important first, every contestant in turn; each result is written at once."""
    wanted = {"suite": suite or (), "output": [SIZES[each] for each in size or ()], "dtype": dtype or ()}
    cases = registered.chosen(registered.registry(), **wanted, model=model or ())
    cases = cases if excerpt is None else registered.excerpts(cases, excerpt)
    if not cases:
        raise typer.BadParameter("no case is of that suite, size, dtype and model", param_hint="--suite")
    if listing:
        typer.echo("\n".join(case.name for case in cases))
    else:
        path = json or RESULTS / device_name(device) / SUITES_FILE
        run_cases(cases, device, path, minutes, tuple(backend or ()), missing=missing, seconds=seconds)


@app.command()
def bars(
    only: Annotated[list[str] | None, _choice("By default all.", *BARS)] = None,
    seconds: Seconds = CASE_SECONDS,
    json: Target = None,
) -> None:
    """Query path, training, `arasfsr upscale` and the making of training samples on a CPU, each beside its bar."""
    failed = False
    for name in only or BARS:
        try:
            result = BARS[name].measure(seconds)
        except ContestantFailed as error:
            typer.echo(f"{name}: {error}", err=True)
            failed = True
        else:
            typer.echo(f"{name}: {result}")
            write_results(json or RESULTS / device_name() / f"{BARS[name].suite}.json", name, result)
    raise typer.Exit(failed)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def gpu(context: typer.Context) -> None:
    """All that minutes on a CUDA machine can tell: right or wrong first, then times, within --minutes."""
    from tools.gpu.__main__ import main

    raise typer.Exit(main(context.args))


@app.command()
def compare(before: Path, after: Path) -> None:
    """Say what changed beyond the spread from one file of results to another; exit 1 where something is slower."""
    from benchmarks.compare import compare_files

    try:
        changes = compare_files(before, after)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    changed = [change for change in changes if change.verdict != "unchanged"]
    for change in changed:
        typer.echo(f"{change.verdict}: {change.name} {change.detail}".rstrip())
    typer.echo(f"{len(changes) - len(changed)} of {len(changes)} unchanged")
    raise typer.Exit(any(change.worse for change in changes))


@app.command()
def profile(
    backend: Annotated[str, _choice("Ours.", *BACKENDS)] = "tiled",
    dtype: Annotated[str, _choice("The compute dtype.", *registered.DTYPES)] = "float32",
    device: Device = AUTO,
    size: Annotated[int, typer.Option(min=1, help="Side of the output; the input is 64 x 64.")] = 256,
) -> None:
    """Where a backend's time goes, and how near its matrix products come to the ceiling."""
    from benchmarks.profiling import report as lines

    if dtype not in dtypes(device):
        raise typer.BadParameter(f"{dtype} does not exist on {device}", param_hint="--dtype")
    typer.echo("\n".join(lines(backend, dtype, device, (size, size))))


@app.command()
def report() -> None:
    """Make all tables, pages and plots from benchmarks/results; needs the extra dev."""
    from tools.report import write_all

    typer.echo("\n".join(map(str, write_all())))


@app.command()
def methods(
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Images to learn from.")],
    test: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Images to score on.")],
    runs: Annotated[Path, typer.Option(file_okay=False, help="Where trainings lie.")] = Path("runs/methods"),
    most: Annotated[
        int | None, typer.Option(min=1, help="Trainings of this call; by default all that are left.")
    ] = None,
    device: Device = AUTO,
    json: Annotated[Path, typer.Option(dir_okay=False, help="A line for each training.")] = Path("runs/methods.jsonl"),
) -> None:
    """Train the paper's methods with equal means and score them, one training after the other.

    Another call with the same --runs and --json goes on with those that are left; several at once share them. A
    training that was interrupted starts again.
    """
    from arasfsr import ArasfsrError
    from tools.methods import compare

    try:
        compare(data, test, runs, json, str(device), most)
    except ArasfsrError as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from error


@app.command()
def audit() -> None:
    """Compile every Triton kernel ahead of time, for GPUs that need not be here, and put the table into the results."""
    from tools.kernels import audit as kernels

    (RESULTS / "audit.md").write_text(kernels.audit(typer.echo))


@app.command()
def tune(side: Annotated[int, typer.Option(min=16, help="LR side; 8 times as large is decoded.")] = 128) -> None:
    """Choose the Triton kernels' cuts by measurement on this GPU, and write them into kernels/measured.json."""
    if not torch.cuda.is_available():
        typer.echo(f"tune needs a CUDA device, and torch {torch.__version__} finds none", err=True)
        raise typer.Exit(2)
    from tools.kernels.tune import tune as search

    search(side=side, say=typer.echo)


if __name__ == "__main__":
    app()
