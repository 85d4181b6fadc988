"""The fused backends compute float32 in TF32 where torch allows that, and cuda nowhere else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from fused_backends import DTYPES, FUSED, device_of, fused_arguments, skip_module_without
from fused_cases import CASES, WIDTHS, Case, assert_rounded_alike
from golden_set import MLP_NAMES, load_golden, on, own_output
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from models import fused_model, gradients, mean_error, without_skip
from rounded import RoundedToTf32
from tolerances import SAME_DTYPE_FACTOR

from arasfsr import BackendUnavailable
from arasfsr.checkpoints.authors import rename_parameters
from arasfsr.query.call import Queries, QueryCall
from arasfsr.query.fused.launcher import Launcher
from arasfsr.query.fused.packed import rounded_to_tf32
from arasfsr.query.operator import problem_of
from arasfsr.testing import relative_rms
from benchmarks.ceilings import precision

skip_module_without("triton", "cuda")
pytestmark = pytest.mark.gpu

each_fused = pytest.mark.parametrize("fused", FUSED)


def _cuda() -> type[Launcher]:
    from arasfsr.query.fused.cuda_launch import CudaLauncher

    return CudaLauncher


def _triton() -> type[Launcher]:
    from arasfsr.query.fused.triton_launch import TritonLauncher

    return TritonLauncher


LAUNCHERS = {"cuda": _cuda, "triton": _triton}


@pytest.fixture
def allowed() -> Iterator[None]:
    with precision("tf32"):
        yield


@pytest.mark.parametrize("fused", [name for name in FUSED if torch.float32 not in DTYPES[name]])
def test_float32_is_refused_where_torch_does_not_allow_tf32(fused: str) -> None:
    model = fused_model().to(device_of(fused))
    with pytest.raises(BackendUnavailable, match=r"and torch\.float32 if torch allows TF32"):
        model(*fused_arguments(fused), backend=fused)


@pytest.mark.usefixtures("allowed")
@each_fused
@pytest.mark.parametrize("modulated", [True, False])
def test_output_errs_no_more_than_twice_plain_torch_in_tf32(modulated: bool, fused: str) -> None:
    model = fused_model(96, 4, modulated).to(device_of(fused))
    inp, coord, cell = fused_arguments(fused, queries=150)
    encoding = without_skip(model.encode(inp))
    truth = encoding.query(coord, cell, "reference", torch.float64)
    with RoundedToTf32():
        plain = relative_rms(encoding.query(coord, cell, "reference"), truth)
    assert plain > 1e-5  # or nothing was rounded
    assert relative_rms(encoding.query(coord, cell, fused), truth) <= SAME_DTYPE_FACTOR * plain


@pytest.mark.usefixtures("allowed")
@each_fused
def test_product_inputs_are_rounded_to_tf32(fused: str) -> None:
    """Matrix units would leave the last bits out: an error of one sign, twice as large."""
    model = fused_model(96, 4).to(device_of(fused))
    inp, coord, cell = fused_arguments(fused, batch=1)
    encoding = model.encode(inp)
    call = QueryCall(encoding.features, None, Queries(coord, None), cell, encoding.weights, torch.float32)
    launcher = LAUNCHERS[fused]()(problem_of(call))
    kept = launcher.new_kept(0, coord.shape[1])
    launcher.keep(kept)
    grad = torch.randn(1, coord.shape[1], 3, device=coord.device)
    gradients = launcher.new_gradients(kept, need_share=False)
    launcher.content_gradients(kept, grad, gradients)
    read = [kept.f, kept.s, gradients.z]
    weights = [launcher.packed.content_weight, launcher.packed.encoding_weight, launcher.packed.modulator_weight]
    for tensor in (*read, *weights):
        assert tensor is not None
        assert torch.equal(tensor, rounded_to_tf32(tensor))


@pytest.mark.usefixtures("allowed")
@each_fused
def test_gradients_err_no_more_than_twice_plain_torch_in_tf32(fused: str) -> None:
    model, arguments = fused_model(64, 4).to(device_of(fused)), fused_arguments(fused, 2, 400, (8, 8))
    truth = gradients(model, *arguments, backend="reference", dtype=torch.float64)[3:]
    found = gradients(model, *arguments, backend=fused)[3:]
    with RoundedToTf32():
        plain = gradients(model, *arguments, backend="reference")[3:]
    assert mean_error(plain, truth) > 1e-5
    assert mean_error(found, truth) <= SAME_DTYPE_FACTOR * mean_error(plain, truth)


@pytest.mark.usefixtures("allowed")
@each_fused
@pytest.mark.parametrize("name", [name for name in MLP_NAMES if name.endswith("-tiny")])
def test_golden_within_twice_plain_torch_in_tf32(name: str, fused: str) -> None:
    model, golden = on(device_of(fused), load_golden(name))
    coord, parameters = golden["coord"], dict(model.named_parameters())
    wanted = rename_parameters({k.removeprefix("grad/"): v for k, v in golden.items() if k.startswith("grad/")})
    wanted = {key: truth for key, truth in wanted.items() if truth.any()}
    truth = own_output(model, golden, golden["pred"], coord)

    def errors(backend: str) -> tuple[float, float]:
        model.zero_grad()
        out = model(golden["inp"], coord, golden["cell"], backend=backend)
        out.backward(golden["upstream"])
        found = [parameters[key].grad for key in wanted]
        of_output = relative_rms(own_output(model, golden, out.detach(), coord), truth)
        return of_output, mean_error([grad for grad in found if grad is not None], list(wanted.values()))

    with RoundedToTf32():
        plain = errors("reference")
    assert all(error <= SAME_DTYPE_FACTOR * other for error, other in zip(errors(fused), plain, strict=True))


@pytest.mark.usefixtures("allowed")
@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # small as they come
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # what is allowed is so for all examples
)
@given(case=CASES, width=st.sampled_from(WIDTHS))
@each_fused
def test_any_shape(case: Case, width: int, fused: str) -> None:
    assert_rounded_alike(fused, torch.float32, case._replace(width=width))
