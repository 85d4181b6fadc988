"""Every backend reproduces what the authors' implementation computes, through the loader of its checkpoints."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FLOAT32_FUSED, GOLDEN, GOLDEN_NAMES, device_of, half_only, mean_error, relative_rms
from tolerances import GOLDEN_GRADIENT, GOLDEN_OUTPUT, SAME_DTYPE_FACTOR
from torch import Tensor
from torch.overrides import TorchFunctionMode

from arasfsr import ImplicitSR, load_model
from arasfsr.coords import make_coord
from arasfsr.public_format import rename_parameters
from arasfsr.query.skip import bilinear_skip

Case = tuple[ImplicitSR, dict[str, Tensor]]


BASELINE_DECODERS = ("lte", "diinn")
"""Decoders that no fused backend serves."""

MLP_NAMES = [name for name in GOLDEN_NAMES if not name.startswith(BASELINE_DECODERS)]
"""The cases that they serve."""

every_backend = pytest.mark.parametrize(
    ("case", "any_backend"),
    [
        *((name, backend) for name in GOLDEN_NAMES for backend in ("reference", "tiled")),
        *(pytest.param(name, backend, marks=pytest.mark.gpu) for name in MLP_NAMES for backend in FLOAT32_FUSED),
    ],
    indirect=True,
)
"""Every golden case on every backend that serves it."""


@pytest.fixture(params=GOLDEN_NAMES)
def case(request: pytest.FixtureRequest) -> Case:
    arrays: Any = np.load(GOLDEN / f"{request.param}.npz")
    return load_model(GOLDEN / f"{request.param}.pth"), {key: torch.from_numpy(arrays[key]) for key in arrays}


def on(device: torch.device, case: Case) -> Case:
    """The case on a device."""
    model, golden = case
    return model.to(device), {key: value.to(device) for key, value in golden.items()}


class Undecided(TorchFunctionMode):
    """Finds the queries (B, Q) whose gradients float32 does not decide: an input of one of their decoder's ReLUs is so
    near to zero that rounding, which differs from processor to processor, says on which side of the kink it lies. One
    of them among numbers of 0.5 moves a gradient by 2e-4."""

    NEAR = 3e-6

    def __init__(self, queries: torch.Size) -> None:
        super().__init__()
        self.found = torch.zeros(queries, dtype=torch.bool)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") == "relu" and args[0].shape[-3:-1] == self.found.shape:
            near = (args[0].abs() < self.NEAR).any(dim=-1)
            self.found |= near.view(-1, *self.found.shape).any(dim=0).cpu()
        return func(*args, **(kwargs or {}))


def gradients(model: ImplicitSR, golden: dict[str, Tensor], upstream: Tensor, backend: str) -> dict[str, Tensor | None]:
    """Of the sum of upstream * prediction: for the image, as `inp`, and for every parameter by its name."""
    model.zero_grad()
    inp = golden["inp"].detach().clone().requires_grad_()
    model(inp, golden["coord"], golden["cell"], backend=backend).backward(upstream)
    return {"inp": inp.grad, **{name: parameter.grad for name, parameter in model.named_parameters()}}


def astray(found: dict[str, Tensor | None], truth: dict[str, Tensor]) -> dict[str, float]:
    """The errors of the gradients that are further from the truth than they may."""
    errors = {}
    for name, wanted in truth.items():
        gradient = found[name]
        if not wanted.any():  # the half of the latent that the mean does not pass through
            assert gradient is None or not gradient.any(), name
        else:
            errors[name] = relative_rms(gradient, wanted)
    assert len(errors) > 5
    return {name: error for name, error in errors.items() if not error <= GOLDEN_GRADIENT}


def own_output(model: ImplicitSR, golden: dict[str, Tensor], prediction: Tensor, coord: Tensor) -> Tensor:
    """The decoder's own part of a prediction: the skip hides errors."""
    return prediction - bilinear_skip(golden["inp"], coord) if model.config.skip else prediction


def test_the_cases_cover_every_decoder() -> None:
    assert {"liif-tiny", "asfsr_wo_freq-tiny", "lte-tiny", "diinn-tiny"} <= set(GOLDEN_NAMES)


def test_features(case: Case) -> None:
    model, golden = case
    with torch.no_grad():
        assert relative_rms(model.encode(golden["inp"]).features, golden["feat"]) <= GOLDEN_OUTPUT


@every_backend
def test_random_queries(case: Case, any_backend: str) -> None:
    model, golden = on(device_of(any_backend), case)
    coord = golden["coord"]
    with torch.no_grad():
        found = model(golden["inp"], coord, golden["cell"], backend=any_backend)
    truth = own_output(model, golden, golden["pred"], coord)
    assert relative_rms(own_output(model, golden, found, coord), truth) <= GOLDEN_OUTPUT


@every_backend
def test_whole_grid(case: Case, any_backend: str) -> None:
    model, golden = on(device_of(any_backend), case)
    height, width = golden["grid_hw"].tolist()
    with torch.no_grad():
        found = model.encode(golden["inp"]).render((height, width), backend=any_backend)
    coord = make_coord((height, width), found.device).unsqueeze(0)
    truth = own_output(model, golden, golden["grid_pred"], coord)
    flat = found.permute(0, 2, 3, 1).reshape(2, -1, 3)
    assert relative_rms(own_output(model, golden, flat, coord), truth) <= GOLDEN_OUTPUT


@every_backend
def test_every_gradient(case: Case, any_backend: str) -> None:
    """In float64 it is the authors' own; in float32, that of float64 for all queries that float32 decides."""
    model, golden = on(device_of(any_backend), case)
    wide = {key: value.double() if value.is_floating_point() else value for key, value in golden.items()}
    wide_model = copy.deepcopy(model).double()
    public = {key.removeprefix("grad/"): value for key, value in golden.items() if key.startswith("grad/")}
    wanted = {"inp": golden["grad_inp"], **rename_parameters(public)}
    with Undecided(golden["coord"].shape[:2]) as undecided:
        found = gradients(wide_model, wide, wide["upstream"], "reference")
    assert undecided.found.float().mean() < 0.1
    assert astray(found, wanted) == {}
    if any_backend == "tiled":
        assert astray(gradients(wide_model, wide, wide["upstream"], any_backend), wanted) == {}

    upstream = golden["upstream"] * ~undecided.found.unsqueeze(-1).to(golden["upstream"].device)
    settled = gradients(wide_model, wide, upstream.double(), "reference")
    truth = {name: torch.zeros(()) if gradient is None else gradient for name, gradient in settled.items()}
    assert astray(gradients(model, golden, upstream, any_backend), truth) == {}


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
def test_half_precision_gradients_err_no_more_than_twice_plain_torch_s(
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
