"""Options shared by several commands, and their checks. `--help` imports this module, so it is light."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    import torch

Number = TypeVar("Number", int, float)

DTYPES = ("float32", "bfloat16", "float16")
"""Compute dtypes that the commands offer; float64 is for checks."""


def complete_model() -> list[str]:
    """The names that the shell completes for a model; it completes files by itself."""
    from arasfsr.bundled import bundled_models

    return bundled_models()


def log_more(verbose: bool) -> bool:
    """Show the debug messages of arasfsr; other libraries' stay hidden."""
    if verbose:
        logging.getLogger("arasfsr").setLevel(logging.DEBUG)
    return verbose


def number(kind: type[Number], rule: str, holds: Callable[[Number], bool]) -> Callable[[str], Number]:
    """A parser of an option's value; `rule` says in words what `holds` checks."""

    def parse(text: str) -> Number:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not holds(value):
            raise typer.BadParameter(f"must be {rule}, got {text!r}")
        return value

    return parse


VERBOSE = typer.Option(
    "--verbose", "-v", callback=log_more, help="Log more to standard error; show the traceback of an error."
)
DEVICE = typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1 ...; auto uses a GPU if there is one.")
BACKEND = typer.Option("--backend", metavar="NAME", help="auto, reference, tiled, triton or cuda.")
DTYPE = typer.Option(
    "--dtype",
    metavar="NAME",
    help="Compute dtype of the decoder: float32, bfloat16 or float16.",
    autocompletion=lambda: list(DTYPES),
)


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" is a GPU if there is one."""
    from arasfsr.devices import find_device
    from arasfsr.errors import ArgumentError

    try:
        return find_device(name)
    except ArgumentError as error:
        raise typer.BadParameter(str(error), param_hint="--device") from error


def choose_backend(name: str = "auto") -> str:
    """Validate the name; for auto, validate ARASFSR_BACKEND too."""
    from arasfsr.query import BACKENDS
    from arasfsr.query.dispatch import DEFAULT

    names = ("auto", *BACKENDS)
    value, hint = name, "--backend"
    if name == "auto":
        value, hint = os.environ.get(DEFAULT) or "auto", DEFAULT
    if value not in names:
        raise typer.BadParameter(f"must be one of {', '.join(names)}, got {value!r}", param_hint=hint)
    return name


def choose_dtype(name: str) -> torch.dtype:
    """The compute dtype called `name`."""
    from arasfsr.query.call import NAMED_DTYPES

    if name not in DTYPES:
        raise typer.BadParameter(f"must be one of {', '.join(DTYPES)}, got {name!r}", param_hint="--dtype")
    return NAMED_DTYPES[name]
