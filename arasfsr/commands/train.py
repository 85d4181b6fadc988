"""`arasfsr train`: train a model on a folder of images."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from arasfsr.commands.options import DEVICE, VERBOSE, choose_backend, choose_device, complete_model
from arasfsr.errors import TrainingError


def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.yaml", exists=True, dir_okay=False, help="The run's configuration.")
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data", metavar="DIR", exists=True, file_okay=False, help="A folder of images, which may differ in size."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder for checkpoints and logs; by default runs/NAME for NAME.yaml."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last checkpoint in the output folder.")
    ] = False,
    extend: Annotated[
        bool, typer.Option("--extend", help="Resume with other steps, another learning rate or another schedule.")
    ] = False,
    new_data: Annotated[bool, typer.Option("--new-data", help="Resume even if the images have changed.")] = False,
    init: Annotated[
        str | None,
        typer.Option(
            "--init",
            metavar="NAME|FILE|DIR",
            help="A model of the same configuration to start from.",
            autocompletion=complete_model,
        ),
    ] = None,
    device: Annotated[str, DEVICE] = "auto",
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="ENTRY=VALUE",
            help="Change an entry of the configuration, such as steps=500 or data.workers=4; may be repeated.",
        ),
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write TensorBoard events to the output folder.")
    ] = False,
    verbose: Annotated[bool, VERBOSE] = False,
) -> None:
    """Train a model on a folder of images.

    A run that was interrupted at any point continues with --resume. Ctrl-C and SIGTERM stop it after a last
    checkpoint, with exit status 130 and 143. Broken images are reported and skipped. `torchrun --nproc-per-node N -m
    arasfsr train ...` splits each batch among N processes, with a GPU each if the device is cuda.
    """
    from arasfsr.training.config import load_config
    from arasfsr.training.distributed import Interrupted, started_processes
    from arasfsr.training.logs import duration
    from arasfsr.training.loop import train as run

    for name, given in (("--extend", extend), ("--new-data", new_data)):
        if given and not resume:
            raise typer.BadParameter("needs --resume", param_hint=name)
    if init is not None and resume:
        raise typer.BadParameter("must not be given with --resume, which has the run's own model", param_hint="--init")
    choose_backend()
    changes = [*(changes or ()), *(["tensorboard=true"] if tensorboard else ())]
    settings, folder = load_config(config, changes), output or Path("runs") / config.stem
    with started_processes(choose_device(device)) as (ranks, own):
        if not ranks.first:
            logging.disable(logging.WARNING)
        try:
            summary = run(settings, data, folder, resume, own, init, new_data, ranks, extend)
        except (Interrupted, TrainingError) as stop:
            status = 128 + stop.signum if isinstance(stop, Interrupted) else 1
            if ranks.first:
                typer.echo(f"arasfsr: {stop}", err=True)
            else:
                ranks.wait_for_first()
            raise typer.Exit(status) from stop
        if not ranks.first:
            return
    broken, best, last = summary["broken"], summary["best"], summary["validation"]
    spent = duration(summary["seconds"])
    typer.echo(f"{summary['model']} after {summary['step']} steps on {summary['images']} images, {spent}")
    if last is not None:
        scores = ", ".join(f"{pair} {score['psnr']:.2f} dB" for pair, score in last["scores"].items())
        typer.echo(f"last validation, step {last['step']}: {scores or 'no image is large enough'}")
    if best is not None:
        typer.echo(f"best validation, step {best['step']}: {best['psnr']:.2f} dB, the mean over all pairs")
    if broken:
        typer.echo(f"{len(broken)} broken images were skipped: {', '.join(broken)}", err=True)
