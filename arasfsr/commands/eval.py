"""`arasfsr eval`: how good models are, beside bicubic, on a folder of images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from arasfsr.evaluate import Evaluation, Pair, PairResult

Choice = TypeVar("Choice", bound=str)

WHOLE_LINE = 10_000
"""Characters in a line that no table reaches."""


def evaluate(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL", help="Bundled models by name, .safetensors or .pth files.")
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data", metavar="DIR", exists=True, file_okay=False, help="A folder of images, also of mixed sizes."
        ),
    ],
    pairs: Annotated[
        str, typer.Option("--pairs", metavar="PAIRS", help="Sides of input and output, in pixels: LR:HR[,LR:HR ...].")
    ] = "64:256,32:256,64:211",
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol", metavar="NAME", help="What is compared: arasfsr (the paper's luma), rgb or y-float."
        ),
    ] = "arasfsr",
    degradation: Annotated[
        str,
        typer.Option("--degradation", metavar="NAME", help="How inputs are made: bic, or nn65 (nearest, then JPEG)."),
    ] = "bic",
    backend: Annotated[
        str, typer.Option("--backend", metavar="NAME", help="auto, or a backend that doctor lists.")
    ] = "auto",
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1 ...; auto takes a GPU if there is one.")
    ] = "auto",
    dtype: Annotated[
        str | None, typer.Option("--dtype", metavar="NAME", help="The decoder's: float32, bfloat16 or float16.")
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", dir_okay=False, help="Write every image's scores to this file."),
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", dir_okay=False, help="Write the table to this file."),
    ] = None,
) -> None:
    """Score models, beside bicubic, on a folder of images.

    PSNR and SSIM, on inputs made from the images. The exit status is 1 if some images were broken and skipped; the
    table is there all the same.
    """
    from arasfsr.checkpoint import load_model
    from arasfsr.commands.options import choose_device, choose_dtype
    from arasfsr.degrade import DEGRADATIONS
    from arasfsr.evaluate import describe, to_json, to_markdown
    from arasfsr.evaluate import evaluate as run
    from arasfsr.metrics import PROTOCOLS
    from arasfsr.query import BACKENDS

    wanted = _parse_pairs(pairs)
    compared = _choose(protocol, PROTOCOLS, "--protocol")
    _choose(degradation, DEGRADATIONS, "--degradation")
    _choose(backend, ("auto", *BACKENDS), "--backend")
    for path, option in ((json, "--json"), (markdown, "--markdown")):
        _check_folder(path, option)
    place, compute = choose_device(device), choose_dtype(dtype) if dtype else None
    loaded = {name: load_model(name, place) for name in dict.fromkeys(models)}
    with _progress() as (progress, tell):
        evaluation = run(loaded, data, wanted, compared, degradation, backend, compute, progress, tell)
    typer.echo("\n".join(describe(evaluation)))
    _print_table(evaluation)
    if json is not None:
        _write(json, to_json(evaluation))
    if markdown is not None:
        _write(markdown, to_markdown(evaluation))
    if evaluation.broken:
        names = ", ".join(map(str, evaluation.broken))
        typer.echo(f"{len(evaluation.broken)} broken images were skipped: {names}", err=True)
        raise typer.Exit(1)


def _parse_pairs(text: str) -> list[Pair]:
    from arasfsr.evaluate import parse_pairs

    try:
        return parse_pairs(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--pairs") from error


def _choose(value: str, taken: Iterable[Choice], option: str) -> Choice:
    for choice in taken:
        if choice == value:
            return choice
    raise typer.BadParameter(f"{value!r}; taken are {', '.join(taken)}", param_hint=option)


def _check_folder(path: Path | None, option: str) -> None:
    """A file that cannot be written is better known before a long evaluation than after it."""
    if path is not None and not path.parent.is_dir():
        raise typer.BadParameter(f"{path}: {path.parent} is not a folder", param_hint=option)


def _write(path: Path, text: str) -> None:
    from arasfsr.atomic import replacing

    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def _progress() -> Iterator[tuple[Callable[[int, int], None], Callable[[PairResult], None] | None]]:
    """What is told of pictures and of pairs done: a bar on standard error, where that is a terminal, which goes when
    it is done; else a line for each pair."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("scoring", total=None)
        yield (
            lambda done, total: bar.update(task, completed=done, total=total),
            None if console.is_terminal else _print_pair,
        )


def _print_pair(result: PairResult) -> None:
    from arasfsr.evaluate import pair_line

    typer.echo(pair_line(result), err=True)


def _print_table(evaluation: Evaluation) -> None:
    """Folded to a terminal's width; in a file or a pipe every line is whole."""
    from rich.console import Console

    from arasfsr.evaluate import to_table

    console = Console()
    if not console.is_terminal:
        console.width = WHOLE_LINE
    console.print(to_table(evaluation))
