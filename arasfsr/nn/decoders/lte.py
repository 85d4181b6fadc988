"""LTE's decoder (arXiv 2111.08918, section 3): an MLP of amplitude * [cos, sin](pi (frequency . rel + phase(cell)))."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arasfsr.config import LTEConfig
from arasfsr.nn.activation import activation
from arasfsr.nn.convolution import convolve
from arasfsr.nn.decoders.base import Geometry, Layer, cast, ensemble, layer_of


class LTEWeights(NamedTuple):
    """The decoder's parameters as the operator reads them."""

    amplitude: Layer
    """3 x 3 convolution of the feature map to the waves' amplitudes: (waves, D, 3, 3), (waves,)."""
    frequency: Layer
    """3 x 3 convolution to (y, x) frequencies, half the waves of them in pairs: (waves, D, 3, 3), (waves,)."""
    phase: Tensor
    """(waves / 2, 2): from the cell in LR pixels times two, without a bias. It stays in the parameters' own dtype: what
    goes into a cosine is not rounded to a compute dtype."""
    content: list[Layer]
    """The MLP's layers, the first of which reads the waves."""
    output: Layer
    """Width to 3."""

    def to(self, dtype: torch.dtype) -> LTEWeights:
        """The same parameters in another dtype but for the phase; gradients flow back to these."""
        amplitude, frequency, output = cast([self.amplitude, self.frequency, self.output], dtype)
        return LTEWeights(amplitude, frequency, self.phase, cast(self.content, dtype), output)


class _TextureEstimator(nn.Module):
    """Parameters of the estimators of waves."""

    def __init__(self, features: int, waves: int) -> None:
        super().__init__()
        self.amplitude = nn.Conv2d(features, waves, 3, padding=1)
        self.frequency = nn.Conv2d(features, waves, 3, padding=1)
        self.phase = nn.Parameter(torch.empty(waves // 2, 2).uniform_(-1, 1) / math.sqrt(2))


class LTEDecoder(nn.Module):
    """Parameters of LTE's decoder. `arasfsr.query` computes with them."""

    def __init__(self, config: LTEConfig, feature_channels: int) -> None:
        super().__init__()
        widths = [config.waves] + [config.width] * config.layers
        self.content = nn.ModuleList(map(nn.Linear, widths, widths[1:]))
        self.output = nn.Linear(config.width, 3)
        self.texture = _TextureEstimator(feature_channels, config.waves)

    def weights(self) -> LTEWeights:
        """The parameters, as the operator takes them."""
        texture = self.texture
        return LTEWeights(
            layer_of(texture.amplitude),
            layer_of(texture.frequency),
            texture.phase,
            [*map(layer_of, self.content)],
            layer_of(self.output),
        )


def lr_maps(features: Tensor, weights: LTEWeights) -> Tensor:
    """Amplitudes and frequencies, one after the other: (B, D, h, w) to (B, 2 waves, h, w)."""
    weight, bias = (torch.cat(pair) for pair in zip(weights.amplitude, weights.frequency, strict=True))
    return convolve(features, weight, bias.view(1, 1, 1, -1)).permute(0, 3, 1, 2)


def corners(rows: Tensor, rel: Tensor, cell: Tensor, weights: LTEWeights) -> Tensor:
    """Corners' outputs (..., 3) from their rows (..., 2 waves) of `lr_maps`, their rel and the cell (..., 2)."""
    amplitude, frequency = rows.chunk(2, dim=-1)
    # pi times many cycles: the argument is in the geometry's dtype, not in the compute dtype
    phase = F.linear(cell, weights.phase.to(cell.dtype))
    frequency = frequency.to(rel.dtype).unflatten(-1, (-1, 2))
    argument = math.pi * (frequency[..., 0] * rel[..., :1] + frequency[..., 1] * rel[..., 1:] + phase)
    f = amplitude * torch.cat((argument.cos(), argument.sin()), dim=-1).to(rows.dtype)
    for layer in weights.content:
        f = activation(F.linear(f, *layer))
    return F.linear(f, *weights.output)


def literal(features: Tensor, geometry: Geometry, weights: LTEWeights) -> Tensor:
    """The method as written: the decoder's output (B, Q, 3) from the feature map."""

    def output(rows: Tensor, corner: int) -> Tensor:
        return corners(rows, geometry.corners.rel[corner], geometry.cell, weights)

    return ensemble(lr_maps(features, weights).flatten(2), geometry, output)
