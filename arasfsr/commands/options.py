"""Options that several commands share."""

from __future__ import annotations

import re

import torch
import typer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is a GPU if there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if re.fullmatch(r"(cpu|cuda|xpu|mps)(:[0-9]{1,3})?", name) is None:
        raise typer.BadParameter(f"{name!r}; taken are auto, cpu, cuda, cuda:1 ...", param_hint="--device")
    device = torch.device(name)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = re.split(r"\n|\. ", str(error).strip())[0]
        raise typer.BadParameter(f"{name!r} cannot be used: {reason}", param_hint="--device") from error
    return device


def choose_dtype(name: str) -> torch.dtype:
    """The compute dtype of that name."""
    if name not in DTYPES:
        raise typer.BadParameter(f"{name!r}; taken are {', '.join(DTYPES)}", param_hint="--dtype")
    return DTYPES[name]
