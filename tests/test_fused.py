"""The fused backends do what reference does: on a CUDA device, or the Triton kernels in its interpreter."""

from __future__ import annotations

import pytest
import torch
from conftest import (
    FUSED,
    device_of,
    fused_arguments,
    fused_model,
    gradients,
    mean_error,
    poisoned_memory,
    relative_rms,
    without_skip,
)
from tolerances import COSINE, FLOAT32_OUTPUT, SAME_DTYPE_FACTOR

from arasfsr import BackendUnavailable
from arasfsr.coords import make_cell, make_coord

pytestmark = [pytest.mark.gpu, pytest.mark.parametrize("fused", FUSED)]


@pytest.mark.parametrize("modulated", [True, False])
def test_float32_is_within_the_contract(fused: str, modulated: bool) -> None:
    model = fused_model(96, 4, modulated).to(device_of(fused))
    inp, coord, cell = fused_arguments(fused, queries=150)
    encoding = without_skip(model.encode(inp))
    truth = encoding.query(coord, cell, "reference", torch.float64)
    error, plain = (relative_rms(encoding.query(coord, cell, name), truth) for name in (fused, "reference"))
    assert error <= FLOAT32_OUTPUT
    assert error <= SAME_DTYPE_FACTOR * plain


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("modulated", [True, False])
def test_half_precision_errs_no_more_than_twice_plain_torch(fused: str, dtype: torch.dtype, modulated: bool) -> None:
    model = fused_model(64, 4, modulated).to(device_of(fused))
    inp, coord, cell = fused_arguments(fused, queries=150)
    encoding = without_skip(model.encode(inp))
    truth = encoding.query(coord, cell, "reference", torch.float64)
    error, plain = (relative_rms(encoding.query(coord, cell, name, dtype), truth) for name in (fused, "reference"))
    assert error <= SAME_DTYPE_FACTOR * plain


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_parameter_gradients_are_within_the_contract(fused: str, dtype: torch.dtype) -> None:
    model, given_arguments = fused_model(64, 4).to(device_of(fused)), fused_arguments(fused, 2, 400, (8, 8))
    truth = gradients(model, *given_arguments, backend="reference", dtype=torch.float64)[3:]
    found = gradients(model, *given_arguments, backend=fused, dtype=dtype)[3:]
    plain = gradients(model, *given_arguments, backend="reference", dtype=dtype)[3:]
    assert mean_error(found, truth) <= SAME_DTYPE_FACTOR * mean_error(plain, truth)
    if dtype == torch.float32:
        for ours, exact in zip(found, truth, strict=True):
            assert torch.cosine_similarity(ours.double().flatten(), exact.double().flatten(), dim=0) >= COSINE


def test_render_is_query_on_the_grid(fused: str) -> None:
    encoding = without_skip(fused_model().to(device_of(fused)).encode(fused_arguments(fused)[0]))
    size = (13, 9)
    with torch.no_grad():
        rendered = encoding.render(size, backend=fused).permute(0, 2, 3, 1).reshape(2, -1, 3)
        coord = make_coord(size, rendered.device).unsqueeze(0)
        queried = encoding.query(coord, make_cell(size, rendered.device), backend="reference")
    assert relative_rms(rendered, queried) <= FLOAT32_OUTPUT


def test_a_region_is_a_crop_of_the_whole(fused: str) -> None:
    encoding = fused_model().to(device_of(fused)).encode(fused_arguments(fused)[0])
    with torch.no_grad():
        whole = encoding.render((13, 9), backend=fused)
        part = encoding.render((13, 9), (3, 2, 11, 8), backend=fused)
    torch.testing.assert_close(part, whole[:, :, 3:11, 2:8], rtol=1e-5, atol=1e-6)


def test_pixels_far_beyond_32_bit_offsets(fused: str) -> None:
    encoding = fused_model().to(device_of(fused)).encode(fused_arguments(fused, lr=(4, 4))[0])
    side = 200_000
    region = (side - 2, side - 3, side, side)
    with torch.no_grad():
        far, truth = (encoding.render((side, side), region, name) for name in (fused, "reference"))
    torch.testing.assert_close(far, truth, rtol=1e-4, atol=1e-4)


def test_corners_and_borders(fused: str) -> None:
    model = fused_model().to(device_of(fused))
    inp, coord, cell = fused_arguments(fused, queries=9)
    coord[:] = torch.cartesian_prod(torch.tensor([-1.0, 0.1, 1.0]), torch.tensor([-1.0, -0.3, 1.0]))
    with torch.no_grad():
        found, truth = (model(inp, coord, cell, backend=name) for name in (fused, "reference"))
    torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("batch", "queries"), [(0, 5), (2, 0), (1, 1), (1, 65)])
def test_few_queries(fused: str, batch: int, queries: int) -> None:
    model = fused_model().to(device_of(fused))
    inp, coord, cell = fused_arguments(fused, batch, queries)
    inp.requires_grad_()
    out = model(inp, coord, cell, backend=fused)
    assert out.shape == (batch, queries, 3)
    out.sum().backward()
    torch.testing.assert_close(out, model(inp, coord, cell, backend="reference"), rtol=1e-4, atol=1e-5)
    assert inp.grad is not None
    assert inp.grad.isfinite().all()


def test_strided_and_expanded_inputs(fused: str) -> None:
    model = fused_model().to(device_of(fused))
    wide, coord, cell = fused_arguments(fused, queries=60, lr=(8, 14))
    coord = coord.transpose(1, 2).contiguous().transpose(1, 2)[:, ::2]
    cell = cell[:1, :1].expand(2, 30, 2)
    strided = model(wide[:, :, ::2, ::2], coord, cell, backend=fused)
    dense = model(wide[:, :, ::2, ::2].contiguous(), coord.contiguous(), cell.contiguous(), backend=fused)
    torch.testing.assert_close(strided, dense, rtol=1e-5, atol=1e-6)


def test_every_element_of_output_and_gradients_is_written(fused: str) -> None:
    model = fused_model().to(device_of(fused))
    given_arguments = fused_arguments(fused)
    with poisoned_memory():
        assert torch.empty(1).isnan()
        assert model.encode(given_arguments[0]).render((13, 9), backend=fused).isfinite().all()
        assert all(gradient.isfinite().all() for gradient in gradients(model, *given_arguments, backend=fused))


def test_inputs_and_incoming_gradients_are_not_written(fused: str) -> None:
    model = fused_model().to(device_of(fused))
    inp, coord, cell = fused_arguments(fused)
    upstream = torch.rand_like(coord[..., :1]).expand(-1, -1, 3).contiguous()
    tensors = (inp.requires_grad_(), coord, cell, upstream, *model.parameters())
    before = [tensor.detach().clone() for tensor in tensors]
    model(inp, coord, cell, backend=fused).backward(upstream)
    assert all(torch.equal(a, b) for a, b in zip(before, tensors, strict=True))


def test_forward_and_when_asked_backward_are_bitwise_reproducible(fused: str) -> None:
    model, given_arguments = fused_model().to(device_of(fused)), fused_arguments(fused)
    assert torch.equal(model(*given_arguments, backend=fused), model(*given_arguments, backend=fused))
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (gradients(model, *given_arguments, backend=fused) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_compiles_into_one_graph(fused: str) -> None:
    model, given_arguments = fused_model().to(device_of(fused)), fused_arguments(fused)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*given_arguments, backend=fused), model(*given_arguments, backend=fused))


def test_auto_takes_a_fused_backend(fused: str, caplog: pytest.LogCaptureFixture) -> None:
    model, given_arguments = fused_model().to(device_of(fused)), fused_arguments(fused)
    assert torch.equal(model(*given_arguments), model(*given_arguments, backend=FUSED[-1]))


@pytest.mark.parametrize(
    ("options", "dtype", "message"),
    [
        ({}, torch.float64, "dtype=torch.float64, it takes torch.float32"),
        ({"width": 8}, None, "a decoder of width 8, it takes 16 to 256"),
        ({"width": 257}, None, "a decoder of width 257"),
    ],
)
def test_what_it_does_not_take_is_named(fused: str, options: dict[str, int], dtype: torch.dtype, message: str) -> None:
    model = fused_model(**options).to(device_of(fused))
    with pytest.raises(BackendUnavailable, match=message):
        model(*fused_arguments(fused), backend=fused, dtype=dtype)
