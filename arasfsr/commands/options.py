"""Options that several commands share."""

from __future__ import annotations

import os
import re

import torch
import typer

from arasfsr.query import BACKENDS
from arasfsr.query.dispatch import DEFAULT

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


def choose_backend(name: str = "auto") -> str:
    """The name, if there is such a backend, and, where it leaves the choice, if the environment's one is any."""
    taken = ("auto", *BACKENDS)
    value, hint = name, "--backend"
    if name == "auto":
        value, hint = os.environ.get(DEFAULT) or "auto", DEFAULT
    if value not in taken:
        raise typer.BadParameter(f"{value!r}; taken are {', '.join(taken)}", param_hint=hint)
    return name


def choose_dtype(name: str) -> torch.dtype:
    """The compute dtype of that name."""
    if name not in DTYPES:
        raise typer.BadParameter(f"{name!r}; taken are {', '.join(DTYPES)}", param_hint="--dtype")
    return DTYPES[name]
