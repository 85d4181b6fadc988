"""The fused backends do what reference does: on a CUDA device, or their kernels on the CPU."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from fused_backends import (
    DTYPES,
    FUSED,
    ON_HOST,
    device_of,
    each_dtype,
    each_fused,
    finest_dtype,
    fused_arguments,
    refused_dtype,
    skip_module_without,
)
from models import Decode, fused_model, gradients, mean_error, without_skip
from operators import backward_arguments, operator_arguments
from tolerances import COSINE, SAME_DTYPE_FACTOR
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from arasfsr import BackendUnavailable
from arasfsr.coords import make_cell, make_coord
from arasfsr.model import Encoding
from arasfsr.query import proven
from arasfsr.query.call import Grid, Queries
from arasfsr.query.dispatch import DEFAULT
from arasfsr.query.fused.launcher import Launcher
from arasfsr.query.operator import problem_of
from arasfsr.query.skip import bilinear_skip
from arasfsr.testing import error_bar, relative_rms
from tools.kernels.probes import poisoned_memory

skip_module_without("triton", "cuda")
pytestmark = pytest.mark.gpu


def assert_within_the_contract(encoding: Encoding, fused: str, dtype: torch.dtype, coord: Tensor, cell: Tensor) -> None:
    """What is decoded errs no more than the contract allows (docs/method.md, section 4)."""
    encoding = without_skip(encoding)
    truth = encoding.query(coord, cell, "reference", torch.float64)
    error, plain = (relative_rms(encoding.query(coord, cell, name, dtype), truth) for name in (fused, "reference"))
    assert error <= error_bar(dtype, plain)
    assert error <= SAME_DTYPE_FACTOR * plain


@each_dtype
@pytest.mark.parametrize("modulated", [True, False])
def test_the_output_is_within_the_contract(fused: str, dtype: torch.dtype, modulated: bool) -> None:
    model = fused_model(96, 4, modulated).to(device_of(fused))
    inp, coord, cell = fused_arguments(fused, queries=150)
    assert_within_the_contract(model.encode(inp), fused, dtype, coord, cell)


@each_dtype
def test_parameter_gradients_are_within_the_contract(fused: str, dtype: torch.dtype) -> None:
    model, given_arguments = fused_model(64, 4).to(device_of(fused)), fused_arguments(fused, 2, 400, (8, 8))
    truth = gradients(model, *given_arguments, backend="reference", dtype=torch.float64)[3:]
    found = gradients(model, *given_arguments, backend=fused, dtype=dtype)[3:]
    plain = gradients(model, *given_arguments, backend="reference", dtype=dtype)[3:]
    assert mean_error(found, truth) <= SAME_DTYPE_FACTOR * mean_error(plain, truth)
    if dtype == torch.float32:
        for ours, exact in zip(found, truth, strict=True):
            assert torch.cosine_similarity(ours.double().flatten(), exact.double().flatten(), dim=0) >= COSINE


@finest_dtype
def test_render_is_query_on_the_grid(fused: str, dtype: torch.dtype) -> None:
    encoding = without_skip(fused_model().to(device_of(fused)).encode(fused_arguments(fused)[0]))
    size = (13, 9)
    with torch.no_grad():
        rendered = encoding.render(size, backend=fused, dtype=dtype).permute(0, 2, 3, 1).reshape(2, -1, 3)
        queries = make_coord(size, rendered.device).unsqueeze(0), make_cell(size, rendered.device)
        truth = encoding.query(*queries, "reference", torch.float64)
        plain = relative_rms(encoding.query(*queries, "reference", dtype), truth)
    assert relative_rms(rendered, truth) <= error_bar(dtype, plain)


@finest_dtype
def test_a_region_is_a_crop_of_the_whole(fused: str, dtype: torch.dtype) -> None:
    encoding = fused_model().to(device_of(fused)).encode(fused_arguments(fused)[0])
    with torch.no_grad():
        whole = encoding.render((13, 9), backend=fused, dtype=dtype)
        part = encoding.render((13, 9), (3, 2, 11, 8), backend=fused, dtype=dtype)
    torch.testing.assert_close(part, whole[:, :, 3:11, 2:8], rtol=1e-5, atol=1e-6)


@finest_dtype
def test_pixels_far_beyond_32_bit_offsets(fused: str, dtype: torch.dtype) -> None:
    encoding = fused_model().to(device_of(fused)).encode(fused_arguments(fused, lr=(4, 4))[0])
    size, region = (200_000, 200_000), (199_998, 199_997, 200_000, 200_000)
    with torch.no_grad():
        rendered = encoding.render(size, region, fused, dtype).permute(0, 2, 3, 1).reshape(2, -1, 3)
        coord = Queries(None, Grid(size, region)).coords(0, 6, torch.float32, rendered.device)
        queried = encoding.query(coord, make_cell(size, rendered.device), fused, dtype)
    torch.testing.assert_close(rendered, queried, rtol=1e-5, atol=1e-6)


@finest_dtype
def test_corners_and_borders(fused: str, dtype: torch.dtype) -> None:
    inp, coord, cell = fused_arguments(fused, queries=9)
    coord[:] = torch.cartesian_prod(torch.tensor([-1.0, 0.1, 1.0]), torch.tensor([-1.0, -0.3, 1.0]))
    assert_within_the_contract(fused_model().to(device_of(fused)).encode(inp), fused, dtype, coord, cell)


@each_dtype
def test_nan_propagates(fused: str, dtype: torch.dtype) -> None:
    """Training stops on a loss that is not finite, so NaN must reach it."""
    model = fused_model().to(device_of(fused))
    with torch.no_grad():
        model.decoder.weights().content[1][0][:] = torch.nan
        out = model(*fused_arguments(fused), backend=fused, dtype=dtype)
    assert out.isnan().all()


@finest_dtype
def test_the_skip_is_the_bilinear_image(fused: str, dtype: torch.dtype) -> None:
    inp, coord, cell = fused_arguments(fused)
    coord[:, :4] = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    encoding = fused_model().to(device_of(fused)).encode(inp)
    found = encoding.query(coord, cell, fused, dtype) - without_skip(encoding).query(coord, cell, fused, dtype)
    torch.testing.assert_close(found, bilinear_skip(inp, coord), rtol=0, atol=1e-5)


@finest_dtype
@pytest.mark.parametrize(("batch", "queries"), [(0, 5), (2, 0), (1, 1), (1, 65)])
def test_few_queries_match_many(fused: str, dtype: torch.dtype, batch: int, queries: int) -> None:
    model = fused_model().to(device_of(fused))
    inp, *many = fused_arguments(fused, batch, 100)
    inp.requires_grad_()
    few = (part[:, :queries] for part in many)
    out = model(inp, *few, backend=fused, dtype=dtype)
    assert out.shape == (batch, queries, 3)
    torch.testing.assert_close(out, model(inp, *many, backend=fused, dtype=dtype)[:, :queries], rtol=1e-5, atol=1e-6)
    out.sum().backward()
    assert inp.grad is not None
    assert inp.grad.isfinite().all()


@finest_dtype
def test_strided_and_expanded_inputs(fused: str, dtype: torch.dtype) -> None:
    encoding = fused_model().to(device_of(fused)).encode(fused_arguments(fused, lr=(4, 7))[0])
    features, image = encoding.features, encoding.image
    assert image is not None
    wide = [tensor.repeat_interleave(2, dim=-1)[..., ::2] for tensor in (features, image)]
    _, coord, cell = fused_arguments(fused, queries=60)
    coord = coord.transpose(1, 2).contiguous().transpose(1, 2)[:, ::2]
    cell = cell[:1, :1].expand(2, 30, 2)
    strided = dataclasses.replace(encoding, features=wide[0], image=wide[1]).query(coord, cell, fused, dtype)
    dense = encoding.query(coord.contiguous(), cell.contiguous(), fused, dtype)
    torch.testing.assert_close(strided, dense, rtol=1e-5, atol=1e-6)


@finest_dtype
def test_unaligned_inputs(fused: str, dtype: torch.dtype) -> None:
    inp, coord, cell = fused_arguments(fused, batch=1)
    encoding = fused_model().to(device_of(fused)).encode(inp)
    part, part_of_cell = coord[:, 1:], cell[:, 1:]
    found = encoding.query(part, part_of_cell, fused, dtype)
    truth = encoding.query(part.clone(), part_of_cell.clone(), fused, dtype)
    assert torch.equal(found, truth)


@finest_dtype
def test_every_element_of_output_and_gradients_is_written(fused: str, dtype: torch.dtype) -> None:
    model = fused_model().to(device_of(fused))
    given_arguments = fused_arguments(fused)
    with poisoned_memory():
        assert torch.empty(1).isnan()
        assert model.encode(given_arguments[0]).render((13, 9), backend=fused, dtype=dtype).isfinite().all()
        found = gradients(model, *given_arguments, backend=fused, dtype=dtype)
        assert all(gradient.isfinite().all() for gradient in found)


@finest_dtype
def test_inputs_and_incoming_gradients_are_not_written(fused: str, dtype: torch.dtype) -> None:
    model = fused_model().to(device_of(fused))
    inp, coord, cell = fused_arguments(fused)
    upstream = torch.rand_like(coord[..., :1]).expand(-1, -1, 3).contiguous()
    tensors = (inp.requires_grad_(), coord, cell, upstream, *model.parameters())
    before = [tensor.detach().clone() for tensor in tensors]
    model(inp, coord, cell, backend=fused, dtype=dtype).backward(upstream)
    assert all(torch.equal(a, b) for a, b in zip(before, tensors, strict=True))


@finest_dtype
def test_forward_and_deterministic_backward_are_bitwise_reproducible(fused: str, dtype: torch.dtype) -> None:
    model, given_arguments = fused_model().to(device_of(fused)), fused_arguments(fused)
    options = {"backend": fused, "dtype": dtype}
    assert torch.equal(model(*given_arguments, **options), model(*given_arguments, **options))
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (gradients(model, *given_arguments, **options) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


class Operators(TorchDispatchMode):
    """Notes what torch calls."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


LAUNCHING_NOTHING = ("expand", "view", "transpose", "empty")
"""Operators that make views, or ask for memory."""


def without_kernel(fused: str, patch: pytest.MonkeyPatch) -> type[Launcher]:
    """The backend's launcher, whose forward kernel does nothing: what runs on the CPU in its place is torch too."""
    if fused == "cuda":
        from arasfsr.query.fused import cuda_core
        from arasfsr.query.fused.cuda_launch import CudaLauncher

        patch.setattr(cuda_core.load(), "render", lambda *arguments: None)
        return CudaLauncher
    from arasfsr.query.fused.triton_launch import TritonLauncher

    patch.setattr(TritonLauncher, "_launch", lambda self, *arguments, **options: None)
    return TritonLauncher


@torch.no_grad()
@finest_dtype
def test_a_frozen_model_launches_at_most_five_torch_kernels_for_the_next_image(
    fused: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arasfsr.nn.convolution.by_products", lambda device, dtype: True)  # as on a GPU
    encoding = fused_model().requires_grad_(False).to(device_of(fused)).encode(fused_arguments(fused)[0])
    encoding.render((13, 9), backend=fused, dtype=dtype)
    launcher, queries = without_kernel(fused, monkeypatch), Queries(None, Grid((13, 9), (0, 0, 13, 9)))
    call = dataclasses.replace(encoding, _cache={})._call(queries, None, dtype)  # without the LR map of the first
    with Operators() as operators:
        started = launcher(problem_of(call))
        started.render(started.new_output())
    launching = [name for name in operators.names if name.split(".")[1] not in LAUNCHING_NOTHING]
    assert len(launching) <= 5, launching
    assert len(operators.names) <= 11, operators.names  # each costs the host time, too


@torch.no_grad()
@finest_dtype
def test_tracing_without_gradients_records_the_operator(fused: str, dtype: torch.dtype) -> None:
    encoding = fused_model().requires_grad_(False).to(device_of(fused)).encode(fused_arguments(fused)[0])

    def decode(features: Tensor) -> Tensor:
        return dataclasses.replace(encoding, features=features, _cache={}).render((5, 6), backend=fused, dtype=dtype)

    graph = make_fx(decode)(encoding.features)
    assert f"arasfsr.{fused}" in graph.code
    other = torch.rand_like(encoding.features)
    torch.testing.assert_close(graph(other), decode(other))


@torch.no_grad()
@finest_dtype
def test_frozen_weights_may_change_between_calls(fused: str, dtype: torch.dtype) -> None:
    model, given_arguments = fused_model().requires_grad_(False).to(device_of(fused)), fused_arguments(fused)
    size, options = (13, 9), {"backend": fused, "dtype": dtype}
    for _ in range(2):  # by queries, whose cells take part in the first layer, and on a grid
        model(*given_arguments, **options)
        model.encode(given_arguments[0]).render(size, **options)
        for parameter in model.decoder.parameters():
            parameter.mul_(1.1)
        other = copy.deepcopy(model)  # of which nothing is kept
        assert torch.equal(model(*given_arguments, **options), other(*given_arguments, **options))
        rendered = [each.encode(given_arguments[0]).render(size, **options) for each in (model, other)]
        assert torch.equal(*rendered)


@finest_dtype
def test_gradients_pass_through_a_frozen_decoder(fused: str, dtype: torch.dtype) -> None:
    model = fused_model().to(device_of(fused))
    inp, coord, cell = fused_arguments(fused)

    def gradient() -> Tensor:
        leaf = inp.clone().requires_grad_()
        return torch.autograd.grad(model(leaf, coord, cell, backend=fused, dtype=dtype).sum(), leaf)[0]

    trained = gradient()
    model.decoder.requires_grad_(False)
    for _ in range(2):  # the second time with what was kept the first time
        torch.testing.assert_close(gradient(), trained)


@finest_dtype
def test_compiles_into_one_graph(fused: str, dtype: torch.dtype) -> None:
    model, given_arguments = fused_model().to(device_of(fused)), fused_arguments(fused)
    options = {"backend": fused, "dtype": dtype}
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*given_arguments, **options), model(*given_arguments, **options))


@finest_dtype
def test_exports(fused: str, dtype: torch.dtype) -> None:
    module = Decode(fused_model().to(device_of(fused)), backend=fused, dtype=dtype)
    given_arguments = fused_arguments(fused)
    with torch.no_grad():
        exported = torch.export.export(module, given_arguments)
        torch.testing.assert_close(exported.module()(*given_arguments), module(*given_arguments))


@finest_dtype
@pytest.mark.parametrize("grid", [True, False])
def test_opcheck(fused: str, dtype: torch.dtype, grid: bool) -> None:
    arguments = operator_arguments(16, grid, dtype, device_of(fused))
    torch.library.opcheck(getattr(torch.ops.arasfsr, fused), arguments, rtol=1e-4, atol=1e-4)


@finest_dtype
@pytest.mark.parametrize("grid", [True, False])
def test_opcheck_of_the_backward(fused: str, dtype: torch.dtype, grid: bool) -> None:
    arguments = backward_arguments(16, grid, dtype, device_of(fused))
    torch.library.opcheck(getattr(torch.ops.arasfsr, f"{fused}_backward"), arguments)


@each_fused
def test_auto_takes_what_is_proven_on_the_device(fused: str) -> None:
    model, given_arguments = fused_model().to(device_of(fused)), fused_arguments(fused)
    options = {"dtype": DTYPES[fused][-1]}
    proven_here = [] if ON_HOST else [name for name in proven.on_gpu(0, options["dtype"]) if name in FUSED]
    first = next(iter(proven_here), "tiled")
    assert torch.equal(model(*given_arguments, **options), model(*given_arguments, backend=first, **options))


@each_fused
def test_environment_variable_selects_the_backend(fused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, given_arguments = fused_model().to(device_of(fused)), fused_arguments(fused)
    options = {"dtype": DTYPES[fused][-1]}
    by_name = model(*given_arguments, backend=fused, **options)
    monkeypatch.setenv(DEFAULT, fused)
    assert torch.equal(model(*given_arguments, **options), by_name)


@refused_dtype
def test_error_names_an_unsupported_dtype(fused: str, dtype: torch.dtype) -> None:
    model = fused_model().to(device_of(fused))
    with pytest.raises(BackendUnavailable, match=f"dtype={dtype}, it takes {', '.join(map(str, DTYPES[fused]))}"):
        model(*fused_arguments(fused), backend=fused, dtype=dtype)


@each_fused
@pytest.mark.parametrize(("width", "message"), [(8, "width 8, it takes 16 to 256"), (257, "a decoder of width 257")])
def test_error_names_an_unsupported_width(fused: str, width: int, message: str) -> None:
    model = fused_model(width).to(device_of(fused))
    with pytest.raises(BackendUnavailable, match=message):
        model(*fused_arguments(fused), backend=fused, dtype=DTYPES[fused][-1])
