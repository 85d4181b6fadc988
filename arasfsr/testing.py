"""Self-check: does every backend keep the numerical contract (docs/method.md, section 4) on this machine?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from arasfsr.config import EncoderConfig, FrequencyConfig, ModelConfig
from arasfsr.errors import BackendUnavailable, one_line
from arasfsr.model import Encoding, ImplicitSR
from arasfsr.query import BACKENDS

FLOAT32_BAR = 1e-5
"""Largest relative RMS error of a float32 output against float64 `reference`."""

REFERENCE_FACTOR = 2.0
"""A backend's error may be this many times that of `reference` in the same dtype."""

LEAST_COSINE = 0.9999
"""Least cosine between a float32 gradient and the float64 one. (In half precision plain torch itself is below it: 0.992
in bfloat16 for the worst parameter of asfsr-full; REFERENCE_FACTOR applies there.)"""

HALF_DTYPES = (torch.bfloat16, torch.float16)

SEED = 20251116
LR_SIZE = (5, 3)
SR_SIZE = (12, 8)
"""Even sides from odd ones keep queries 1e-6 away from boundaries between LR pixels, where backends may differ."""

MODELS = {
    "arasfsr": ModelConfig(encoder=EncoderConfig(blocks=1), frequency=FrequencyConfig(width=16, blocks=1), skip=False),
    "liif": ModelConfig.liif(EncoderConfig(blocks=1)),
}
"""The models checked: decoders of the published size on small encoders, without the skip, which hides errors."""


@dataclass(frozen=True)
class Check:
    """One comparison with float64 `reference`."""

    device: str
    backend: str
    model: str
    dtype: str
    quantity: str
    """output, or gradient (to the feature map)."""
    error: float | None
    """Relative RMS error; None if it could not be computed."""
    bar: float | None
    """The largest error that passes; None if it could not be computed."""
    problem: str | None = None
    """The exception raised instead of a result."""

    @property
    def ok(self) -> bool:
        return self.error is not None and self.bar is not None and self.error <= self.bar


class _Result(NamedTuple):
    """A backend's results; a one-line message in place of one that raised."""

    output: Tensor | str
    gradient: Tensor | str


def relative_rms(found: Tensor, true: Tensor) -> float:
    """||found - true|| / ||true||; NaN if either contains NaN."""
    found, true = found.detach().double(), true.detach().double()
    return float((found - true).norm() / true.norm())


def error_bar(dtype: torch.dtype, reference: float, tf32: bool = False) -> float:
    """The largest relative RMS error that passes, given the error of `reference` in that dtype.

    With `tf32`, float32 operands are multiplied in TF32, to which FLOAT32_BAR does not apply.
    """
    bar = REFERENCE_FACTOR * reference
    return min(FLOAT32_BAR, bar) if dtype == torch.float32 and not tf32 else bar


def run_checks(device: torch.device) -> Iterator[Check]:
    """Check every backend that supports these models on the device; the global random state is left unchanged."""
    for name, config in MODELS.items():
        encoding = random_encoding(config, device)
        true = _decode(encoding, "reference", torch.float64)
        for dtype in (torch.float32, *HALF_DTYPES):
            reference = _decode(encoding, "reference", dtype)
            for backend in BACKENDS:
                if backend == "reference" and dtype in HALF_DTYPES:
                    continue  # its error sets the bar for the others
                try:
                    found = reference if backend == "reference" else _decode(encoding, backend, dtype)
                except BackendUnavailable:
                    continue
                for quantity in _Result._fields:
                    value = getattr(found, quantity)
                    yield Check(
                        device=str(device),
                        backend=backend,
                        model=name,
                        dtype=str(dtype).removeprefix("torch."),
                        quantity=quantity,
                        error=_error(value, getattr(true, quantity)),
                        bar=_bar(dtype, _error(getattr(reference, quantity), getattr(true, quantity))),
                        problem=value if isinstance(value, str) else None,
                    )


def keep_signal(decoder: nn.Module) -> None:
    """Initialise the decoder's parameters so that a signal keeps its magnitude from layer to layer.

    With torch's default initialisation the signal fades until the output, and so the denominator of the relative
    error, is little more than the last bias.
    """
    for module in decoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            nn.init.normal_(module.bias, std=0.1)


def random_encoding(config: ModelConfig, device: torch.device) -> Encoding:
    """A random LR image, encoded by a random model with a decoder initialised by `keep_signal`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = ImplicitSR(config)
        keep_signal(model.decoder)
        image = torch.rand(1, 3, *LR_SIZE) * 2 - 1
    with torch.no_grad():
        return model.eval().to(device).encode(image.to(device))


def _decode(encoding: Encoding, backend: str, dtype: torch.dtype) -> _Result:
    """Render the check's grid and differentiate a fixed combination of its pixels with respect to the feature map.

    Anything a backend raises, except BackendUnavailable, becomes part of the result.
    """
    features = encoding.features.detach().requires_grad_()
    try:
        output = replace(encoding, features=features).render(SR_SIZE, backend=backend, dtype=dtype)
    except BackendUnavailable:
        raise
    except Exception as error:
        return _Result(f"{type(error).__name__}: {one_line(error)}", "no output")
    weights = torch.linspace(0.5, 1.5, output.numel()).view(output.shape)
    try:
        (gradient,) = torch.autograd.grad(output, features, weights.to(output))
    except Exception as error:
        return _Result(output.detach(), f"{type(error).__name__}: {one_line(error)}")
    return _Result(output.detach(), gradient)


def _error(found: Tensor | str, true: Tensor) -> float | None:
    return None if isinstance(found, str) else relative_rms(found, true)


def _bar(dtype: torch.dtype, reference: float | None) -> float | None:
    return None if reference is None else error_bar(dtype, reference)
