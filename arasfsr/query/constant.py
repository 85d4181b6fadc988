"""Marks functions for torch.compile, without loading it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])


def constant(function: F) -> F:
    """What a function returns is a constant to torch.compile: it is called once, while tracing.

    As torch.compiler.assume_constant_result, which imports torch._dynamo to set the same mark: two seconds.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
