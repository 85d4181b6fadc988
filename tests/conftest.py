"""What several test files share: golden cases, small models, error measures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from arasfsr import DecoderConfig, EncoderConfig, FrequencyConfig, ImplicitSR, ModelConfig

_SHARED = Path(__file__).parents[2] / "shared" / "golden"
GOLDEN = _SHARED if _SHARED.is_dir() else Path(__file__).parent / "golden"
"""The whole golden set where it lies beside the checkout, else the small committed one."""

GOLDEN_NAMES = sorted(path.stem for path in GOLDEN.glob("*.pth") if path.stem.split("-")[0] not in ("lte", "diinn"))
"""The golden cases of this version's models: asfsr* and liif."""

SMALL = {
    "arasfsr": ModelConfig(
        encoder=EncoderConfig(blocks=1, features=6),
        frequency=FrequencyConfig(channels=3, width=4, blocks=1),
        decoder=DecoderConfig(width=12, layers=3),
    ),
    "without frequency": ModelConfig(
        encoder=EncoderConfig(blocks=1, features=6), frequency=None, decoder=DecoderConfig(width=12, layers=2)
    ),
    "without modulation": ModelConfig(
        encoder=EncoderConfig(blocks=1, features=6),
        frequency=FrequencyConfig(channels=3, width=4, blocks=1),
        decoder=DecoderConfig(width=12, layers=3, modulated=False),
    ),
    "without skip": ModelConfig(
        encoder=EncoderConfig(blocks=1, features=6), frequency=None, decoder=DecoderConfig(width=8), skip=False
    ),
    "one layer": ModelConfig(
        encoder=EncoderConfig(blocks=0, features=5), frequency=None, decoder=DecoderConfig(width=7, layers=1)
    ),
    "liif": ModelConfig.liif(EncoderConfig(blocks=1, features=6), width=12),
}
"""One small configuration for each switch."""


def small_model(name: str = "arasfsr", seed: int = 0) -> ImplicitSR:
    """A model of a SMALL configuration with seeded weights, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ImplicitSR(SMALL[name]).eval()


def relative_rms(found: Tensor, truth: Tensor) -> float:
    """||found - truth|| / ||truth||, NaN where either has one."""
    found, truth = found.detach().double(), truth.detach().double()
    return ((found - truth).norm() / truth.norm()).item()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test draws the same numbers, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(params=list(SMALL))
def model(request: pytest.FixtureRequest) -> ImplicitSR:
    """A small model of each switch."""
    return small_model(request.param)


@pytest.fixture(params=["reference", "tiled"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend that runs without a GPU."""
    return str(request.param)
