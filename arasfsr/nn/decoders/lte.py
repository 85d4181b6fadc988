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
    """3 x 3 convolution to waves / 2 pairs of (y, x) frequencies: (waves, D, 3, 3), (waves,)."""
    phase: Tensor
    """(waves / 2, 2): maps the cell in half LR pixels to phases, without a bias. Not cast to the compute dtype, so that
    the arguments of cosines are not rounded."""
    content: list[Layer]
    """Layers of the MLP; the first reads the waves."""
    output: Layer
    """Width to 3."""

    def channels(self) -> int:
        """Channels D of the feature map."""
        return self.amplitude[0].shape[1]

    def to(self, dtype: torch.dtype) -> LTEWeights:
        """The parameters, except the phase, in another dtype; gradients flow back to the originals."""
        amplitude, frequency, output = cast([self.amplitude, self.frequency, self.output], dtype)
        return LTEWeights(amplitude, frequency, self.phase, cast(self.content, dtype), output)


class _TextureEstimator(nn.Module):
    """Parameters of the amplitude, frequency and phase estimators."""

    def __init__(self, features: int, waves: int) -> None:
        super().__init__()
        self.amplitude = nn.Conv2d(features, waves, 3, padding=1)
        self.frequency = nn.Conv2d(features, waves, 3, padding=1)
        self.phase = nn.Parameter(torch.empty(waves // 2, 2).uniform_(-1, 1) / math.sqrt(2))


class LTEDecoder(nn.Module):
    """Parameters of LTE's decoder; `arasfsr.query` evaluates it."""

    def __init__(self, config: LTEConfig, feature_channels: int) -> None:
        super().__init__()
        widths = [config.waves] + [config.width] * config.layers
        self.content = nn.ModuleList(map(nn.Linear, widths, widths[1:]))
        self.output = nn.Linear(config.width, 3)
        self.texture = _TextureEstimator(feature_channels, config.waves)

    def weights(self) -> LTEWeights:
        """The parameters as the operator reads them."""
        texture = self.texture
        return LTEWeights(
            layer_of(texture.amplitude),
            layer_of(texture.frequency),
            texture.phase,
            [*map(layer_of, self.content)],
            layer_of(self.output),
        )


def lr_maps(features: Tensor, weights: LTEWeights) -> Tensor:
    """Amplitudes, then frequencies: (B, D, h, w) to (B, 2 waves, h, w)."""
    weight, bias = (torch.cat(pair) for pair in zip(weights.amplitude, weights.frequency, strict=True))
    return convolve(features, weight, bias.view(1, 1, 1, -1)).permute(0, 3, 1, 2)


def corner_outputs(rows: Tensor, rel: Tensor, cell: Tensor, weights: LTEWeights) -> Tensor:
    """Outputs of corners (..., 3) from their rows (..., 2 waves) of `lr_maps`, rel (..., 2) and cell (..., 2)."""
    amplitude, frequency = rows.chunk(2, dim=-1)
    # arguments span many periods: the geometry's dtype, not the compute dtype
    phase = F.linear(cell, weights.phase.to(cell.dtype))
    frequency = frequency.to(rel.dtype).unflatten(-1, (-1, 2))
    argument = math.pi * (frequency[..., 0] * rel[..., :1] + frequency[..., 1] * rel[..., 1:] + phase)
    f = amplitude * torch.cat((argument.cos(), argument.sin()), dim=-1).to(rows.dtype)
    for layer in weights.content:
        f = activation(F.linear(f, *layer))
    return F.linear(f, *weights.output)


def literal(features: Tensor, geometry: Geometry, weights: LTEWeights) -> Tensor:
    """The decoder's output (B, Q, 3) from the feature map, computed as written in the paper."""

    def output(rows: Tensor, corner: int) -> Tensor:
        return corner_outputs(rows, geometry.corners.rel[corner], geometry.cell, weights)

    return ensemble(lr_maps(features, weights).flatten(2), geometry, output)
