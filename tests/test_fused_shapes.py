"""The fused backends do what reference does, whatever shapes, switches, cuts and chunks come."""

from __future__ import annotations

import pytest
import torch
from conftest import FUSED, device_of, fused_arguments, fused_model, gradients, relative_rms
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import FLOAT32_OUTPUT, GOLDEN_GRADIENT, SAME_DTYPE_FACTOR

from arasfsr.query import fused as launches
from arasfsr.query import triton

pytestmark = [pytest.mark.gpu, pytest.mark.parametrize("fused", FUSED)]

CAPABILITIES = ((0, 0), (8, 0), (8, 9), (9, 0), (10, 0))
"""Of which the cuts are tried: the interpreter runs any."""


@settings(max_examples=8, deadline=None)
@given(
    width=st.sampled_from([16, 17, 48, 64, 96]),
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
def test_any_shape(
    fused: str, width: int, layers: int, modulated: bool, skip: bool, batch: int, shared_coord: bool, cells: str,
    lr: tuple[int, int], queries: int, capability: tuple[int, int], chunk: int, seed: int,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    model = fused_model(width, layers, modulated, skip, seed).to(device_of(fused))
    inp, coord, cell = fused_arguments(fused, batch, queries, lr)
    coord = coord[:1] if shared_coord else coord
    cell = {"query": cell, "image": cell[:, :1], "one": cell[:1, :1]}[cells]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launches, "CHUNK_BYTES", chunk)
        if triton.interpreted():
            patch.setattr("arasfsr.query.triton_launch.INTERPRETER", capability)
        found = model(inp, coord, cell, backend=fused)
        found_gradients = gradients(model, inp, coord, cell, backend=fused)
    assert relative_rms(found, model(inp, coord, cell, backend="reference", dtype=torch.float64)) <= FLOAT32_OUTPUT
    exact = gradients(model, inp, coord, cell, backend="reference", dtype=torch.float64)
    plain = gradients(model, inp, coord, cell, backend="reference")
    for ours, theirs, truth in zip(found_gradients, plain, exact, strict=True):
        scale = truth.double().norm().clamp(min=1e-9)
        error, plain_error = ((g.double() - truth.double()).norm() / scale for g in (ours, theirs))
        assert error <= max(GOLDEN_GRADIENT, SAME_DTYPE_FACTOR * plain_error)  # one query's terms may cancel
