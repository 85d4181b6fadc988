"""`arasfsr convert`: convert a checkpoint of the authors' implementation to .safetensors, or halve a file's size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arasfsr.commands.options import VERBOSE


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            exists=True,
            help="A .pth of the authors' implementation, a .safetensors of arasfsr's, or the folder of a training run.",
        ),
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="The file to write.")],
    half: Annotated[bool, typer.Option("--half", help="Store float16: half the size.")] = False,
    verbose: Annotated[bool, VERBOSE] = False,
) -> None:
    """Convert a checkpoint to .safetensors.

    The output also holds the configuration. Nothing in the input is executed.
    """
    import torch

    from arasfsr.checkpoints.native import load_model, save_model

    if target.suffix.lower() != ".safetensors":
        raise typer.BadParameter(f"must end in .safetensors, got {target}", param_hint="OUT.safetensors")
    existed = target.exists()
    save_model(load_model(source), target, torch.float16 if half else None)
    typer.echo(f"{'overwrote' if existed else 'wrote'} {target}")
