"""The operator: tiled does what reference does, whatever shapes, strides, dtypes and modes come."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import BASELINES, SMALL, Decode, gradients, mean_error, random_queries, small_model
from operators import backward_arguments, operator_arguments, saved_for_backward
from tolerances import COSINE, FLOAT32_OUTPUT, FLOAT64, SAME_DTYPE_FACTOR
from torch import Tensor

from arasfsr import DecoderConfig, EncoderConfig, FrequencyConfig, ImplicitSR, ModelConfig
from arasfsr.coords import make_cell, make_coord
from arasfsr.query import skip
from arasfsr.query.tiled import chunks
from arasfsr.query.tiled import operator as tiled_operator
from arasfsr.query.tiled import tile as tiling
from arasfsr.testing import relative_rms
from tools.kernels.probes import poisoned_memory

HALF_DTYPES = (torch.bfloat16, torch.float16)


# --- the same function -------------------------------------------------------------------------------------------


def test_tiled_matches_reference_in_float64(model: ImplicitSR) -> None:
    model.double()
    inp = torch.rand(2, 3, 5, 7, dtype=torch.float64) * 2 - 1
    coord, cell = random_queries(2, 40, torch.float64)
    found, truth = (model(inp, coord, cell, backend=name) for name in ("tiled", "reference"))
    assert relative_rms(found, truth) <= FLOAT64


def test_tiled_gradients_match_reference_in_float64(model: ImplicitSR) -> None:
    model.double()
    inp = torch.rand(2, 3, 5, 7, dtype=torch.float64) * 2 - 1
    coord, cell = random_queries(2, 40, torch.float64)
    for found, truth in zip(
        gradients(model, inp, coord, cell, backend="tiled"),
        gradients(model, inp, coord, cell, backend="reference"),
        strict=True,
    ):
        assert relative_rms(found, truth) <= FLOAT64


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted([*SMALL, *BASELINES])),
    batch=st.integers(1, 3),
    shared_coord=st.booleans(),
    cells=st.sampled_from(["query", "image", "one", "flat"]),
    lr=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    queries=st.integers(1, 50),
    tile=st.integers(1, 64),
    seed=st.integers(0, 1000),
)
def test_any_shape_and_any_tiling(
    name: str, batch: int, shared_coord: bool, cells: str, lr: tuple[int, int], queries: int, tile: int, seed: int
) -> None:
    torch.manual_seed(seed)
    model = small_model(name, seed).double()
    inp = torch.rand(batch, 3, *lr, dtype=torch.float64) * 2 - 1
    coord, cell = random_queries(batch, queries, torch.float64)
    coord = coord[:1] if shared_coord else coord
    cell = {"query": cell, "image": cell[:, :1], "one": cell[:1, :1], "flat": cell[0, 0]}[cells]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling, "TILE", tile)
        patch.setattr(chunks, "CHUNK", tile)
        patch.setattr(skip, "SKIP_CHUNK", tile + 1)
        found = gradients(model, inp, coord, cell, backend="tiled")
    truth = gradients(model, inp, coord, cell, backend="reference")
    assert (
        max(((a - b).norm() / b.norm().clamp(min=1e-9)).item() for a, b in zip(found, truth, strict=True))
        <= FLOAT64 * 100
    )  # sums of few terms cancel


@settings(max_examples=25, deadline=None)
@given(
    lr=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    corners=st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_a_region_is_a_crop_of_the_whole(lr: tuple[int, int], size: tuple[int, int], corners: list[float]) -> None:
    encoding = small_model().encode(torch.rand(2, 3, *lr) * 2 - 1)
    top, bottom = sorted(round(share * size[0]) for share in corners[:2])
    left, right = sorted(round(share * size[1]) for share in corners[2:])
    with torch.no_grad():
        whole = encoding.render(size)
        part = encoding.render(size, (top, left, bottom, right))
    assert part.shape == (2, 3, bottom - top, right - left)
    torch.testing.assert_close(part, whole[:, :, top:bottom, left:right], rtol=1e-5, atol=1e-6)


def test_render_is_query_on_the_grid(model: ImplicitSR, backend: str) -> None:
    encoding = model.encode(torch.rand(2, 3, 4, 6) * 2 - 1)
    size = (9, 11)
    rendered = encoding.render(size, backend=backend).permute(0, 2, 3, 1).reshape(2, -1, 3)
    queried = encoding.query(make_coord(size).unsqueeze(0), make_cell(size), backend=backend)
    assert relative_rms(rendered, queried) <= FLOAT32_OUTPUT


@pytest.mark.parametrize("backend", ["reference", "tiled"])
@pytest.mark.parametrize("dtype", [torch.float32, *HALF_DTYPES])
def test_nan_propagates(backend: str, dtype: torch.dtype) -> None:
    """Or a training that diverges would not be stopped."""
    model = small_model("arasfsr")
    with torch.no_grad():
        for layer in model.decoder.weights().content[1:]:
            layer[0][:] = torch.nan
        out = model(torch.zeros(1, 3, 4, 4), *random_queries(1, 20), backend=backend, dtype=dtype)
    assert out.isnan().all()


def test_render_is_differentiable(model: ImplicitSR) -> None:
    found, truth = [], []
    for name, into in (("tiled", found), ("reference", truth)):
        model.double().zero_grad()
        inp = torch.linspace(-1, 1, 3 * 4 * 5, dtype=torch.float64).view(1, 3, 4, 5).requires_grad_()
        (model.encode(inp).render((7, 9), (1, 2, 6, 8), backend=name) ** 2).sum().backward()
        into += [inp.grad.clone(), model.decoder.content[0].weight.grad.clone()]
    assert max(map(relative_rms, found, truth)) <= FLOAT64


def test_pixels_far_beyond_32_bit_offsets() -> None:
    encoding = small_model().encode(torch.rand(1, 3, 4, 4) * 2 - 1)
    side = 200_000
    region = (side - 2, side - 3, side, side)
    with torch.no_grad():
        far = encoding.render((side, side), region)
        near = encoding.query(torch.ones(1, 1, 2) * (1 - 1 / side), make_cell((side, side)))
    torch.testing.assert_close(far[0, :, -1, -1], near[0, 0], rtol=0, atol=1e-3)


# --- precision ---------------------------------------------------------------------------------------------------


def test_float32_is_within_the_contract(model: ImplicitSR) -> None:
    inp = torch.rand(2, 3, 8, 8) * 2 - 1
    coord, cell = random_queries(2, 300)
    encoding = model.encode(inp)
    bare = type(encoding)(encoding.features, None, encoding.weights)
    truth = bare.query(coord, cell, backend="reference", dtype=torch.float64)
    error, plain = (relative_rms(bare.query(coord, cell, backend=name), truth) for name in ("tiled", "reference"))
    assert error <= FLOAT32_OUTPUT
    assert error <= SAME_DTYPE_FACTOR * plain


@pytest.mark.parametrize("dtype", HALF_DTYPES)
@pytest.mark.parametrize("native", [True, False])
def test_half_precision_errs_no_more_than_twice_plain_torch(
    model: ImplicitSR, dtype: torch.dtype, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiled_operator, "arithmetic_dtype", lambda dtype, device: dtype if native else torch.float32)
    inp = torch.rand(2, 3, 8, 8) * 2 - 1
    coord, cell = random_queries(2, 300)
    encoding = model.encode(inp)
    bare = type(encoding)(encoding.features, None, encoding.weights)
    truth = bare.query(coord, cell, backend="reference", dtype=torch.float64)
    error, plain = (
        relative_rms(bare.query(coord, cell, backend=name, dtype=dtype), truth) for name in ("tiled", "reference")
    )
    assert error <= SAME_DTYPE_FACTOR * plain


def wide_case() -> tuple[ImplicitSR, tuple[Tensor, Tensor, Tensor]]:
    """A model and queries so many that a parameter's error is a mean and not an accident of a few roundings."""
    config = ModelConfig(
        encoder=EncoderConfig(blocks=1, features=16),
        frequency=FrequencyConfig(channels=3, width=8, blocks=1),
        decoder=DecoderConfig(width=64, layers=4),
    )
    return ImplicitSR(config).eval(), (torch.rand(2, 3, 8, 8) * 2 - 1, *random_queries(2, 500))


@pytest.mark.parametrize("dtype", [torch.float32, *HALF_DTYPES])
@pytest.mark.parametrize("native", [True, False])
def test_parameter_gradients_are_within_the_contract(
    dtype: torch.dtype, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With matrix instructions for `dtype` and without, whatever this processor has."""
    monkeypatch.setattr(tiled_operator, "arithmetic_dtype", lambda dtype, device: dtype if native else torch.float32)
    model, arguments = wide_case()
    truth = gradients(model, *arguments, backend="reference", dtype=torch.float64)[3:]
    found = gradients(model, *arguments, backend="tiled", dtype=dtype)[3:]
    plain = gradients(model, *arguments, backend="reference", dtype=dtype)[3:]
    assert mean_error(found, truth) <= SAME_DTYPE_FACTOR * mean_error(plain, truth)
    if dtype == torch.float32:
        for ours, exact in zip(found, truth, strict=True):
            assert torch.cosine_similarity(ours.double().flatten(), exact.double().flatten(), dim=0) >= COSINE


def test_autocast_is_followed() -> None:
    model = small_model()
    inp = torch.rand(1, 3, 4, 4) * 2 - 1
    coord, cell = random_queries(1, 30)
    features = model.encode(inp)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = features.query(coord, cell)
    torch.testing.assert_close(found, features.query(coord, cell, dtype=torch.bfloat16), rtol=0, atol=0)
    assert not torch.equal(found, features.query(coord, cell))


# --- derivatives and composition ---------------------------------------------------------------------------------


def test_gradcheck(model: ImplicitSR, backend: str) -> None:
    model.double()
    inp = (torch.rand(1, 3, 3, 4, dtype=torch.float64) * 2 - 1).requires_grad_()
    coord = (torch.tensor([[[0.13, -0.41], [-0.77, 0.62]]], dtype=torch.float64)).requires_grad_()
    cell = torch.tensor([[[0.2, 0.3], [0.4, 0.1]]], dtype=torch.float64).requires_grad_()
    weight = model.decoder.content[0].weight

    def run(inp: Tensor, coord: Tensor, cell: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(
            model, {"decoder.content.0.weight": weight}, (inp, coord, cell), {"backend": backend}
        )

    assert torch.autograd.gradcheck(run, (inp, coord, cell, weight), fast_mode=True)


def test_double_backward_error_names_the_backend_that_supports_it() -> None:
    model = small_model()
    inp = (torch.rand(1, 3, 4, 4)).requires_grad_()
    coord, cell = random_queries(1, 5)
    (grad,) = torch.autograd.grad(model(inp, coord, cell, backend="tiled").sum(), inp, create_graph=True)
    with pytest.raises(NotImplementedError, match='backend="reference"'):
        grad.sum().backward()


@pytest.mark.parametrize("grid", [True, False])
def test_opcheck(grid: bool) -> None:
    torch.library.opcheck(torch.ops.arasfsr.tiled, operator_arguments(6, grid), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("grid", [True, False])
def test_opcheck_of_the_backward(grid: bool) -> None:
    torch.library.opcheck(torch.ops.arasfsr.tiled_backward, backward_arguments(6, grid))


@pytest.mark.parametrize("name", ["arasfsr", *BASELINES])
def test_compiles_into_one_graph(name: str) -> None:
    model = small_model(name)
    inp = torch.rand(2, 3, 4, 5) * 2 - 1
    coord, cell = random_queries(2, 33)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    expected = gradients(model, inp, coord, cell)
    for found, truth in zip(gradients(compiled, inp, coord, cell), expected, strict=True):  # type: ignore[arg-type]
        torch.testing.assert_close(found, truth)


def test_exports() -> None:
    module = Decode(small_model(), backend="tiled")
    arguments = (torch.rand(2, 3, 4, 5) * 2 - 1, *random_queries(2, 33))
    with torch.no_grad():
        exported = torch.export.export(module, arguments)
        torch.testing.assert_close(exported.module()(*arguments), module(*arguments))


# --- memory ------------------------------------------------------------------------------------------------------


def test_every_element_of_output_and_gradients_is_written(model: ImplicitSR) -> None:
    inp = torch.rand(2, 3, 5, 7) * 2 - 1
    coord, cell = random_queries(2, 40)
    with poisoned_memory():
        assert torch.empty(1).isnan()
        assert model.encode(inp).render((13, 9)).isfinite().all()
        assert all(gradient.isfinite().all() for gradient in gradients(model, inp, coord, cell))


def test_nothing_beyond_the_arguments_is_kept_for_the_backward() -> None:
    model = small_model()
    encoding = model.encode(torch.rand(1, 3, 4, 4))
    coord, cell = random_queries(1, 5000)
    with saved_for_backward() as kept:
        encoding.query(coord, cell, backend="tiled")
    queries = coord.nbytes + cell.nbytes
    assert queries <= sum(kept.values()) <= queries + 100_000  # the rest is the LR map and the parameters


def test_inputs_and_incoming_gradients_are_not_written() -> None:
    model = small_model()
    inp, (coord, cell) = torch.rand(2, 3, 4, 4).requires_grad_(), random_queries(2, 30)
    upstream = torch.rand(2, 30, 3)
    before = [tensor.detach().clone() for tensor in (inp, coord, cell, upstream, *model.parameters())]
    model(inp, coord, cell, backend="tiled").backward(upstream)
    after = (inp, coord, cell, upstream, *model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_strided_and_expanded_inputs(model: ImplicitSR, backend: str) -> None:
    wide = torch.rand(2, 3, 8, 14) * 2 - 1
    coord = (torch.rand(2, 2, 60) * 2 - 1).transpose(1, 2)[:, ::2]
    cell = torch.tensor([0.1, 0.2]).expand(2, 30, 2)
    strided = model(wide[:, :, ::2, ::2], coord, cell, backend=backend)
    dense = model(wide[:, :, ::2, ::2].contiguous(), coord.contiguous(), cell.contiguous(), backend=backend)
    torch.testing.assert_close(strided, dense, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("batch", "queries"), [(0, 5), (2, 0), (0, 0)])
def test_empty_calls(model: ImplicitSR, backend: str, batch: int, queries: int) -> None:
    inp = torch.rand(batch, 3, 4, 4).requires_grad_()
    out = model(inp, *random_queries(batch, queries), backend=backend)
    assert out.shape == (batch, queries, 3)
    out.sum().backward()
    assert not inp.grad.any()


def test_forward_is_bitwise_reproducible(backend: str) -> None:
    model = small_model()
    inp, queries = torch.rand(2, 3, 6, 6), random_queries(2, 500)
    assert torch.equal(model(inp, *queries, backend=backend), model(inp, *queries, backend=backend))


def test_deterministic_backward_is_bitwise_reproducible() -> None:
    model = small_model()
    inp, queries = torch.rand(2, 3, 6, 6), random_queries(2, 500)
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (gradients(model, inp, *queries, backend="tiled") for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
