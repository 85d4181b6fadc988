"""Options shared by several commands."""

from __future__ import annotations

import os
import re

import torch
import typer

from arasfsr.query import BACKENDS
from arasfsr.query.call import NAMED_DTYPES
from arasfsr.query.dispatch import DEFAULT

DTYPES = ("float32", "bfloat16", "float16")
"""Compute dtypes that the commands offer; float64 is for checks."""


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" is a GPU if there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if re.fullmatch(r"(cpu|cuda|xpu|mps)(:[0-9]{1,3})?", name) is None:
        raise typer.BadParameter(f"must be auto, cpu, cuda, cuda:1 ..., got {name!r}", param_hint="--device")
    device = torch.device(name)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = re.split(r"\n|\. ", str(error).strip())[0]
        raise typer.BadParameter(f"{name!r} cannot be used: {reason}", param_hint="--device") from error
    return device


def choose_backend(name: str = "auto") -> str:
    """Validate the name; for auto, validate ARASFSR_BACKEND too."""
    names = ("auto", *BACKENDS)
    value, hint = name, "--backend"
    if name == "auto":
        value, hint = os.environ.get(DEFAULT) or "auto", DEFAULT
    if value not in names:
        raise typer.BadParameter(f"must be one of {', '.join(names)}, got {value!r}", param_hint=hint)
    return name


def choose_dtype(name: str) -> torch.dtype:
    """The compute dtype called `name`."""
    if name not in DTYPES:
        raise typer.BadParameter(f"must be one of {', '.join(DTYPES)}, got {name!r}", param_hint="--dtype")
    return NAMED_DTYPES[name]
