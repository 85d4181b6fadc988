"""`arasfsr eval`: score models, beside bicubic, on a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from arasfsr.commands.options import (
    BACKEND,
    DEVICE,
    DTYPE,
    VERBOSE,
    choose_backend,
    choose_device,
    choose_dtype,
    complete_model,
)
from arasfsr.commands.progress import progress_bar
from arasfsr.files import replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from arasfsr.evaluation import Evaluation, RowResult, Suite

Choice = TypeVar("Choice", bound=str)
Parsed = TypeVar("Parsed")

DEFAULT_PAIRS = "64:256,32:256,64:211"

WHOLE_LINE = 10_000
"""Width of tables that are not printed to a terminal, so that no line is folded."""


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="Bundled models by name, .safetensors or .pth files, or the folders of training runs.",
            autocompletion=complete_model,
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data", metavar="DIR", exists=True, file_okay=False, help="A folder of images, which may differ in size."
        ),
    ],
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite",
            metavar="NAME",
            help="The size pairs of one of the paper's tables: ideal, ideal-supplement, real, real-supplement, fsr8 or "
            "ablation. Pairs with a target larger than the folder's smallest image are shrunk to it, their scale kept.",
        ),
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(
            "--pairs",
            metavar="PAIRS",
            help="Instead of a suite, sides of input and output in pixels: LR:HR[,LR:HR ...], never shrunk; by default "
            f"{DEFAULT_PAIRS}.",
        ),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol", metavar="NAME", help="What is compared: arasfsr (the paper's luma), rgb or y-float."
        ),
    ] = "arasfsr",
    degradation: Annotated[
        str | None,
        typer.Option(
            "--degradation",
            metavar="NAME",
            help="How the inputs of --pairs are made: bic (the default), or nn65 (nearest, then JPEG). A suite has its "
            "own: nn65 for real and real-supplement, else bic.",
        ),
    ] = None,
    lpips: Annotated[
        list[Path] | None,
        typer.Option(
            "--lpips",
            metavar="FILE",
            help="Score LPIPS too, with VGG-16 and linear layers from this file, .pth or .safetensors; given twice, "
            "from torchvision's VGG-16 and lpips' vgg.pth together.",
        ),
    ] = None,
    backend: Annotated[str, BACKEND] = "auto",
    device: Annotated[str, DEVICE] = "auto",
    dtype: Annotated[str | None, DTYPE] = None,
    json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", dir_okay=False, help="Write every image's scores to this file."),
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", dir_okay=False, help="Write the tables to this file."),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", dir_okay=False, help="Write a line per pair and method to this file."),
    ] = None,
    pictures: Annotated[
        str | None,
        typer.Option(
            "--pictures",
            metavar="N|NAMES",
            help="Write side-by-side pictures of N images, evenly spread, or of those named, as a.png,more/b.png.",
        ),
    ] = None,
    pictures_to: Annotated[
        Path, typer.Option("--pictures-to", metavar="DIR", file_okay=False, help="The folder of these pictures.")
    ] = Path("pictures"),
    verbose: Annotated[bool, VERBOSE] = False,
) -> None:
    """Score models, beside bicubic, on a folder of images.

    PSNR, SSIM and, with --lpips, LPIPS, on inputs made from the images: means, 95% bootstrap intervals over images,
    and the paired gain over bicubic. The exit status is 1 if some images were broken and skipped; the tables are
    printed all the same.
    """
    from arasfsr.checkpoints.native import load_model
    from arasfsr.errors import ArgumentError
    from arasfsr.evaluation import (
        NoImageLargeEnough,
        Pictures,
        describe,
        load_lpips,
        parse_wanted,
        to_csv,
        to_json,
        to_markdown,
    )
    from arasfsr.evaluation import evaluate as run
    from arasfsr.evaluation.metrics import PROTOCOLS

    wanted = _choose_suite(suite, pairs, degradation)
    compared = _choose(protocol, PROTOCOLS, "--protocol")
    choose_backend(backend)
    for path, option in ((json, "--json"), (markdown, "--markdown"), (csv, "--csv")):
        _check_folder(path, option)
    _check_models(models)
    shown = None if pictures is None else Pictures(pictures_to, _parse(parse_wanted, pictures, "--pictures"))
    place, compute = choose_device(device), choose_dtype(dtype) if dtype else None
    loaded = {name: load_model(name, place).requires_grad_(False) for name in models}
    distance = load_lpips(lpips, place) if lpips else None
    with progress_bar(description="scoring") as bar:
        progress, on_row = (None, _print_row) if bar is None else (bar.update, None)
        try:
            evaluation = run(loaded, data, wanted, compared, backend, compute, distance, shown, progress, on_row)
        except NoImageLargeEnough as error:
            if pairs is not None:
                raise
            raise ArgumentError(f"{error}, which are the default; give smaller ones by --pairs LR:HR") from error
    typer.echo("\n".join(f"{name:<12} {fact}" for name, fact in describe(evaluation)))
    _print_tables(evaluation)
    for path, render in ((json, to_json), (markdown, to_markdown), (csv, to_csv)):
        if path is not None:
            _write(path, render(evaluation))
    if evaluation.broken:
        names = ", ".join(map(str, evaluation.broken))
        typer.echo(f"{len(evaluation.broken)} broken images were skipped: {names}", err=True)
        raise typer.Exit(1)


def _choose_suite(name: str | None, pairs: str | None, degradation: str | None) -> Suite:
    from arasfsr.evaluation import SUITES, own_pairs, parse_pairs
    from arasfsr.images.transform import DEGRADATIONS

    if name is None:
        _choose(degradation or "bic", DEGRADATIONS, "--degradation")
        return own_pairs(_parse(parse_pairs, pairs or DEFAULT_PAIRS, "--pairs"), degradation or "bic")
    chosen = SUITES[_choose(name, SUITES, "--suite")]
    for option, value in (("--pairs", pairs), ("--degradation", degradation)):
        if value is not None:
            raise typer.BadParameter(
                f"must not be given with --suite {name}, which has its own, got {value!r}", param_hint=option
            )
    return chosen


def _check_models(models: Sequence[str]) -> None:
    """Models are columns by name: each must be given once."""
    from arasfsr.checkpoints.native import find_model

    seen: dict[Path, str] = {}
    for name in models:
        place = (find_model(name) or Path(name)).resolve()
        if place in seen:
            twice = f"{name!r} twice" if seen[place] == name else f"one file as {seen[place]!r} and {name!r}"
            raise typer.BadParameter(f"must be given once each, got {twice}", param_hint="MODEL")
        seen[place] = name


def _parse(parse: Callable[[str], Parsed], text: str, option: str) -> Parsed:
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def _choose(value: str, choices: Iterable[Choice], option: str) -> Choice:
    for choice in choices:
        if choice == value:
            return choice
    raise typer.BadParameter(f"must be one of {', '.join(choices)}, got {value!r}", param_hint=option)


def _check_folder(path: Path | None, option: str) -> None:
    """Fail before a long evaluation rather than after it."""
    if path is not None and not path.parent.is_dir():
        raise typer.BadParameter(f"{path}: {path.parent} is not a folder", param_hint=option)


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _print_row(result: RowResult) -> None:
    from arasfsr.evaluation import row_line

    typer.echo(row_line(result), err=True)


def _print_tables(evaluation: Evaluation) -> None:
    """Print the tables, folded to the width of a terminal; lines in a file or a pipe are not folded."""
    from rich.console import Console

    from arasfsr.evaluation import to_table

    console = Console()
    if not console.is_terminal:
        console.width = WHOLE_LINE
    for metric in evaluation.metrics:
        console.print(to_table(evaluation, metric))
