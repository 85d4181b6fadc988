"""Shapes, switches, cuts and chunks that the fused backends are tried with, drawn at random."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from fused_backends import ROWS, device_of, fused_arguments
from hypothesis import strategies as st
from models import fused_model, gradients
from rounded import run as rounded
from tolerances import SAME_ROUNDINGS
from torch import Tensor

from arasfsr import ImplicitSR
from arasfsr.query import BACKENDS
from arasfsr.query.dispatch import Backend
from arasfsr.query.fused import launcher as launches
from arasfsr.query.fused import triton

CAPABILITIES = ((0, 0), (8, 0), (8, 9), (9, 0), (10, 0))
"""Of which the Triton kernels' cuts are tried: the interpreter runs any."""


class Case(NamedTuple):
    """A model, queries, and how they are cut."""

    width: int
    layers: int
    modulated: bool
    skip: bool
    batch: int
    shared_coord: bool
    cells: str
    lr: tuple[int, int]
    queries: int
    capability: tuple[int, int]
    chunk: int
    seed: int

    def problem(self, fused: str) -> tuple[ImplicitSR, tuple[Tensor, ...]]:
        torch.manual_seed(self.seed)
        model = fused_model(self.width, self.layers, self.modulated, self.skip, self.seed).to(device_of(fused))
        inp, coord, cell = fused_arguments(fused, self.batch, self.queries, self.lr)
        coord = coord[:1] if self.shared_coord else coord
        return model, (inp, coord, {"query": cell, "image": cell[:, :1], "one": cell[:1, :1]}[self.cells])

    def decode(self, fused: str, model: ImplicitSR, arguments: tuple[Tensor, ...], **options: Any) -> list[Tensor]:
        """The output and every gradient, with this case's cuts; without gradients where all rows are padded."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(launches, "CHUNK_BYTES", self.chunk)
            if triton.interpreted():
                patch.setattr("arasfsr.query.fused.triton_launch.INTERPRETER", self.capability)
            if ROWS:  # the backward of padded rows would take the emulation minutes, and has no kernel of its own
                with torch.no_grad():
                    return [model(*arguments, backend=fused, **options)]
            out = model(*arguments, backend=fused, **options)
            return [out, *gradients(model, *arguments, backend=fused, **options)]


WIDTHS = (16, 17, 48, 64, 96)

CASES = st.builds(
    Case,
    width=st.sampled_from(WIDTHS),
    layers=st.integers(1, 4),
    modulated=st.booleans(),
    skip=st.booleans(),
    batch=st.integers(1, 3),
    shared_coord=st.booleans(),
    cells=st.sampled_from(["query", "image", "one"]),
    lr=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    queries=st.integers(1, 40),
    capability=st.sampled_from(CAPABILITIES),
    chunk=st.sampled_from([1, 1 << 29]),
    seed=st.integers(0, 1000),
)


def assert_rounded_alike(fused: str, dtype: torch.dtype, case: Case) -> None:
    """The kernels' numbers are those of plain torch that rounds where they round."""
    model, arguments = case.problem(fused)
    found = case.decode(fused, model, arguments, dtype=dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKENDS, "rounded", Backend(rounded))
        wanted = case.decode("rounded", model, arguments, dtype=dtype)
    for ours, truth in zip(found, wanted, strict=True):
        error = (ours.double() - truth.double()).norm() / truth.double().norm().clamp(min=1e-9)
        assert error <= SAME_ROUNDINGS[dtype]
