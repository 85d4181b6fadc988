"""`arasfsr train`: train a model on a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.yaml", exists=True, dir_okay=False, help="The run's configuration.")
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data", metavar="DIR", exists=True, file_okay=False, help="A folder of images, also of mixed sizes."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder for checkpoints and logs; by default runs/NAME of CONFIG."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the folder's last checkpoint.")] = False,
    new_data: Annotated[
        bool, typer.Option("--new-data", help="Resume although the images are not those of the run so far.")
    ] = False,
    init: Annotated[
        str | None,
        typer.Option("--init", metavar="NAME|FILE", help="A model to start from, of the same configuration."),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1 ...; auto takes a GPU if there is one.")
    ] = "auto",
) -> None:
    """Train a model on a folder of images.

    Interrupted at any point, it goes on with --resume. Ctrl-C and SIGTERM end it after a last checkpoint, with the
    exit status 130 and 143. Broken images are named and skipped.
    """
    from arasfsr.commands.options import choose_backend, choose_device
    from arasfsr.training.config import load_config
    from arasfsr.training.loop import Interrupted
    from arasfsr.training.loop import train as run

    if new_data and not resume:
        raise typer.BadParameter("taken only with --resume", param_hint="--new-data")
    choose_backend()
    settings, folder = load_config(config), output or Path("runs") / config.stem
    try:
        summary = run(settings, data, folder, resume, choose_device(device), init, new_data)
    except Interrupted as stop:
        typer.echo(f"arasfsr: {stop}", err=True)
        raise typer.Exit(128 + stop.signum) from stop
    broken = summary["broken"]
    typer.echo(f"{summary['model']} after {summary['step']} steps on {summary['images']} images")
    if broken:
        typer.echo(f"{len(broken)} broken images were skipped: {', '.join(broken)}", err=True)
