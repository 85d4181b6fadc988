"""`arasfsr upscale`: upscale pictures and folders of pictures by a scale or to a size."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    number,
)
from arasfsr.commands.progress import PictureBar, SlowPictures, progress_bar
from arasfsr.defaults import MODEL, SCALE
from arasfsr.errors import ArasfsrError

if TYPE_CHECKING:
    from arasfsr.commands.batch import Record

LARGEST_SIDE = 2**31 - 1

SIDE = number(int, f"a whole number of pixels, 1 to {LARGEST_SIDE}", lambda side: 1 <= side <= LARGEST_SIDE)
FACTOR = number(float, "a finite number above 0", lambda scale: 0 < scale < LARGEST_SIDE)  # false for NaN


def upscale(
    inputs: Annotated[
        list[Path] | None, typer.Argument(metavar="IN", help="Pictures or folders of pictures.", show_default=False)
    ] = None,
    more_inputs: Annotated[
        list[Path] | None,
        typer.Option("--input", "-i", metavar="IN", help="A picture or folder, in addition to IN; may be repeated."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="A file, or a folder that mirrors IN (existing, or with a trailing /); default: NAME_x4.SUFFIX next "
            "to IN.",
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            "--scale",
            "-s",
            metavar="S",
            parser=FACTOR,
            help=f"Factor for both sides, above 0; {SCALE} if no size is given.",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="WxH", help="Size in pixels; the aspect ratio is not kept."),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option("--width", metavar="N", parser=SIDE, help="Width in pixels; the aspect ratio is kept."),
    ] = None,
    height: Annotated[
        int | None,
        typer.Option("--height", metavar="N", parser=SIDE, help="Height in pixels; the aspect ratio is kept."),
    ] = None,
    long_side: Annotated[
        int | None,
        typer.Option(
            "--long-side", metavar="N", parser=SIDE, help="The longer side in pixels; the aspect ratio is kept."
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-n",
            metavar="NAME|FILE|DIR",
            help="A bundled model, a .safetensors or .pth file, or the folder of a training run.",
            autocompletion=complete_model,
        ),
    ] = MODEL,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="png, jpg, webp, tif or bmp; default: by the suffix of OUT, or else of IN.",
            autocompletion=lambda: _formats(),
        ),
    ] = None,
    backend: Annotated[str, BACKEND] = "auto",
    device: Annotated[str, DEVICE] = "auto",
    dtype: Annotated[str, DTYPE] = "float32",
    skip_existing: Annotated[bool, typer.Option("--skip-existing", help="Skip pictures whose output exists.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON record per picture.")] = False,
    verbose: Annotated[bool, VERBOSE] = False,
) -> None:
    """Upscale pictures and folders of pictures.

    At most one of --scale, --size, --width, --height and --long-side sets the output size.

    Reads PNG, JPEG, WebP, TIFF and BMP with 8 or 16 bits per channel; folders recursively. ICC profile and DPI are
    kept, EXIF rotation is applied; CMYK and palettes become RGB, black and white becomes grayscale. A failed picture
    is reported on standard error, does not stop the others, and makes the exit status 1.
    """
    given = {"--scale": scale, "--size": size, "--width": width, "--height": height, "--long-side": long_side}
    chosen = [name for name, value in given.items() if value is not None]
    if len(chosen) > 1:
        raise typer.BadParameter(f"at most one of {', '.join(given)} may be given, got {' and '.join(chosen)}")
    sources = [*(inputs or ()), *(more_inputs or ())]
    if not sources:
        raise typer.BadParameter("at least one picture or folder must be given, got none", param_hint="IN")

    from arasfsr.checkpoints.native import load_model
    from arasfsr.commands.batch import SizeRule, Upscaler, plan_jobs

    rule = SizeRule(scale if chosen else SCALE, _parse_size(size), width, height, long_side)
    try:
        jobs = plan_jobs(sources, output, rule.label, _parse_format(format_))
    except ArasfsrError as error:
        raise typer.BadParameter(str(error)) from error
    choose_backend(backend)
    compute = choose_dtype(dtype)
    upscaler = Upscaler(
        load_model(model, choose_device(device)).requires_grad_(False), rule, backend, compute, skip_existing
    )
    failed = False
    with progress_bar(len(jobs)) as bar:
        shown = SlowPictures() if bar is None else PictureBar(bar, len(jobs))
        for record in upscaler.run(jobs, shown.advance, shown.begin):
            _report(record, json_)
            failed = failed or record.status == "failed"
    if failed:
        raise typer.Exit(1)


def _parse_size(text: str | None) -> tuple[int, int] | None:
    """WxH to (height, width)."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,10})[xX]([0-9]{1,10})", text)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
        raise typer.BadParameter(f"must be WIDTHxHEIGHT in pixels, such as 1024x768, got {text!r}", param_hint="--size")
    return height, width


def _formats() -> list[str]:
    """Names of the formats that can be written."""
    from arasfsr.images.files import FORMATS

    return [suffix.removeprefix(".") for suffix in FORMATS]


def _parse_format(name: str | None) -> str | None:
    """A suffix with its dot."""
    if name is None:
        return None
    wanted = name.lower().removeprefix(".")
    if wanted not in _formats():
        raise typer.BadParameter(f"must be one of {', '.join(_formats())}, got {name!r}", param_hint="--format")
    return f".{wanted}"


def _report(record: Record, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(record)))
    elif record.status == "skipped":
        typer.echo(f"skipped {record.output} (exists)")
    elif record.input_size and record.output_size:
        (w, h), (width, height) = record.input_size, record.output_size
        wrote = "overwrote" if record.overwrote else "wrote"
        typer.echo(f"{wrote} {record.output} ({w} x {h} -> {width} x {height}, {record.seconds:.1f} s)")
    if record.error is not None:
        typer.echo(f"arasfsr: {record.error}", err=True)
