"""Small models, their inputs and gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from arasfsr import DecoderConfig, EncoderConfig, FrequencyConfig, ImplicitSR, ModelConfig
from arasfsr.model import Encoding
from arasfsr.testing import keep_signal, relative_rms

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
"""One small configuration for each switch of the MLP."""

BASELINES = {
    "lte": ModelConfig.lte(EncoderConfig(blocks=1, features=6), width=12, layers=2, waves=10),
    "diinn": ModelConfig.diinn(EncoderConfig(blocks=1, features=6), width=12, layers=3),
}
"""One small configuration for each other decoder."""


def small_model(name: str = "arasfsr", seed: int = 0) -> ImplicitSR:
    """A model of a SMALL or BASELINES configuration with seeded weights, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ImplicitSR((SMALL | BASELINES)[name]).eval()


def random_queries(batch: int, queries: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Coordinates and a cell for each query."""
    return torch.rand(batch, queries, 2, dtype=dtype) * 2 - 1, torch.rand(batch, queries, 2, dtype=dtype) * 0.1


def gradients(model: ImplicitSR, inp: Tensor, coord: Tensor, cell: Tensor, **options: object) -> list[Tensor]:
    """Gradients of a weighted sum of the output to image, coordinates, cells and every parameter."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in (inp, coord, cell)]
    out = model(*leaves, **options)
    weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype, device=out.device).view(out.shape)
    module = {name.removeprefix("_orig_mod."): parameter for name, parameter in model.named_parameters()}  # if compiled
    leaves += [parameter for name, parameter in module.items() if not name.startswith("frequency.")]
    return list(torch.autograd.grad((out * weight).sum(), leaves))


def mean_error(found: list[Tensor], truth: list[Tensor]) -> float:
    """Root mean square over the parameters of each one's relative RMS error, so that all count alike."""
    errors = torch.tensor([relative_rms(ours, exact) for ours, exact in zip(found, truth, strict=True)])
    return errors.square().mean().sqrt().item()


def fused_model(
    width: int = 48, layers: int = 3, modulated: bool = True, skip: bool = True, seed: int = 0
) -> ImplicitSR:
    """A model with a small encoder whose decoder keeps its signal."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = ModelConfig(
            encoder=EncoderConfig(blocks=1, features=6),
            frequency=FrequencyConfig(channels=3, width=4, blocks=1) if seed % 2 else None,
            decoder=DecoderConfig(width=width, layers=layers, modulated=modulated),
            skip=skip,
        )
        model = ImplicitSR(config).eval()
        keep_signal(model.decoder)
    return model


class Decode(nn.Module):
    """A model with the options of its call, which compilers and exporters take."""

    def __init__(self, model: ImplicitSR, **options: Any) -> None:
        super().__init__()
        self.model, self.options = model, options

    def forward(self, inp: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
        out: Tensor = self.model(inp, coord, cell, **self.options)
        return out


def without_skip(encoding: Encoding) -> Encoding:
    """The skip hides errors."""
    return Encoding(encoding.features, None, encoding.weights)
