"""Every backend reproduces what the authors' implementation computes, through the loader of its checkpoints."""

from __future__ import annotations

import pytest
import torch
from fused_backends import FLOAT32_FUSED, device_of, half_only
from golden_set import GOLDEN_NAMES, MLP_NAMES, Case, load_golden, on, own_output
from models import mean_error
from tolerances import GOLDEN_GRADIENT, GOLDEN_OUTPUT, SAME_DTYPE_FACTOR

from arasfsr.checkpoints.authors import rename_parameters
from arasfsr.coords import make_coord
from arasfsr.testing import relative_rms

every_backend = pytest.mark.parametrize(
    ("case", "backend"),
    [
        *((name, backend) for name in GOLDEN_NAMES for backend in ("reference", "tiled")),
        *(
            pytest.param(name, *fused.values, marks=(pytest.mark.gpu, *fused.marks))
            for name in MLP_NAMES
            for fused in FLOAT32_FUSED
        ),
    ],
    indirect=["case"],
)
"""Every golden case on every backend that serves it."""


@pytest.fixture(params=GOLDEN_NAMES)
def case(request: pytest.FixtureRequest) -> Case:
    return load_golden(request.param)


def decided(case: Case) -> Case:
    """LTE's case in float64: float32 does not decide its gradients.

    One input of a ReLU is 1.9e-6 among numbers of 0.5, so that float32's rounding, which differs from processor to
    processor, says on which side of the kink it lies; that alone moves gradients by 2e-4.
    """
    model, golden = case
    if model.config.decoder.name != "lte":
        return case
    wide = {key: value.double() if value.is_floating_point() else value for key, value in golden.items()}
    return model.double(), wide


def test_the_cases_cover_every_decoder() -> None:
    assert {"liif-tiny", "asfsr_wo_freq-tiny", "lte-tiny", "diinn-tiny"} <= set(GOLDEN_NAMES)


def test_features(case: Case) -> None:
    model, golden = case
    with torch.no_grad():
        assert relative_rms(model.encode(golden["inp"]).features, golden["feat"]) <= GOLDEN_OUTPUT


@every_backend
def test_random_queries(case: Case, backend: str) -> None:
    model, golden = on(device_of(backend), case)
    coord = golden["coord"]
    with torch.no_grad():
        found = model(golden["inp"], coord, golden["cell"], backend=backend)
    truth = own_output(model, golden, golden["pred"], coord)
    assert relative_rms(own_output(model, golden, found, coord), truth) <= GOLDEN_OUTPUT


@every_backend
def test_whole_grid(case: Case, backend: str) -> None:
    model, golden = on(device_of(backend), case)
    height, width = golden["grid_hw"].tolist()
    with torch.no_grad():
        found = model.encode(golden["inp"]).render((height, width), backend=backend)
    coord = make_coord((height, width), found.device).unsqueeze(0)
    truth = own_output(model, golden, golden["grid_pred"], coord)
    flat = found.permute(0, 2, 3, 1).reshape(2, -1, 3)
    assert relative_rms(own_output(model, golden, flat, coord), truth) <= GOLDEN_OUTPUT


@every_backend
def test_every_gradient(case: Case, backend: str) -> None:
    model, golden = decided(on(device_of(backend), case))
    inp = golden["inp"].requires_grad_()
    model(inp, golden["coord"], golden["cell"], backend=backend).backward(golden["upstream"])
    public = {key.removeprefix("grad/"): value for key, value in golden.items() if key.startswith("grad/")}
    wanted = rename_parameters(public)
    parameters = dict(model.named_parameters())
    errors = {"inp": relative_rms(inp.grad, golden["grad_inp"])}
    for name, truth in wanted.items():
        gradient = parameters[name].grad
        if not truth.any():  # the half of the latent that the mean does not pass through
            assert gradient is None or not gradient.any(), name
        else:
            errors[name] = relative_rms(gradient, truth)
    assert len(errors) > 5
    assert {name: error for name, error in errors.items() if not error <= GOLDEN_GRADIENT} == {}


@pytest.mark.gpu
@half_only
@pytest.mark.parametrize("case", MLP_NAMES, indirect=True)
def test_half_precision_errs_no_more_than_twice_plain_torch(case: Case, fused: str, dtype: torch.dtype) -> None:
    model, golden = on(device_of(fused), case)
    coord = golden["coord"]
    truth = own_output(model, golden, golden["pred"], coord)

    def error(backend: str) -> float:
        found = model(golden["inp"], coord, golden["cell"], backend=backend, dtype=dtype)
        return relative_rms(own_output(model, golden, found, coord), truth)

    with torch.no_grad():
        assert error(fused) <= SAME_DTYPE_FACTOR * error("reference")


@pytest.mark.gpu
@half_only
@pytest.mark.parametrize("case", MLP_NAMES, indirect=True)
def test_half_precision_gradients_err_no_more_than_twice_plain_torch(
    case: Case, fused: str, dtype: torch.dtype
) -> None:
    model, golden = on(device_of(fused), case)
    wanted = rename_parameters({k.removeprefix("grad/"): v for k, v in golden.items() if k.startswith("grad/")})
    wanted = {name: truth for name, truth in wanted.items() if truth.any()}
    parameters = dict(model.named_parameters())

    def error(backend: str) -> float:
        model.zero_grad()
        out = model(golden["inp"], golden["coord"], golden["cell"], backend=backend, dtype=dtype)
        out.backward(golden["upstream"])
        found = [parameters[name].grad for name in wanted]
        return mean_error([g for g in found if g is not None], list(wanted.values()))

    assert error(fused) <= SAME_DTYPE_FACTOR * error("reference")
