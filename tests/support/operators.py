"""Arguments of the registered operators, and the memory that autograd keeps for their backward."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from models import random_queries
from torch import Tensor


def operator_arguments(
    width: int, grid: bool, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> tuple[Any, ...]:
    """Two images and float32 parameters of an MLP with two layers, which all want gradients.

    `dtype` is the compute dtype. The queries are 18 pixels of a grid or 9 coordinates with their cells.
    """

    def leaf(*shape: int) -> Tensor:
        return torch.randn(shape, device=device).requires_grad_()

    n, h, w = width, 3, 4
    shapes = ((n, 2 * n), (n,), (n, 42), (n,), (n, n), (n,), (3, n), (3,))
    weights = [leaf(*shape) for shape in shapes]
    first = leaf(2, h, w, n), leaf(2, 3, h, w)
    if grid:
        return *first, None, None, [5, 6, 1, 0, 4, 6], leaf(n, 2), None, weights, True, dtype
    coord, cell = (queries.to(device).requires_grad_() for queries in random_queries(2, 9))
    return *first, coord, cell, None, leaf(n, 2), leaf(n, 2), weights, True, dtype


def backward_arguments(width: int, grid: bool, *more: Any) -> tuple[Any, ...]:
    """What the backward of `operator_arguments` takes, with a random incoming gradient."""
    arguments = operator_arguments(width, grid, *more)
    detached = [argument.detach() if isinstance(argument, Tensor) else argument for argument in arguments]
    detached[7] = [weight.detach() for weight in detached[7]]
    upstream = torch.randn(2, 18 if grid else 9, 3, device=detached[0].device)
    need = [True, not grid, not grid]
    return upstream, *detached, need


@contextlib.contextmanager
def saved_for_backward() -> Iterator[dict[int, int]]:
    """Bytes of each storage that autograd saves, by its address."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield kept
