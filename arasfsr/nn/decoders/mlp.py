"""ARASFSR's decoder, an MLP modulated by a Fourier encoding of the coordinate; without modulation it is LIIF's.

The fast form is in `query.lr_map`, `query.tiled` and the fused kernels (docs/method.md, section 2).
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arasfsr.config import FOURIER_CHANNELS, FOURIER_OCTAVES, DecoderConfig
from arasfsr.coords import fourier_encoding
from arasfsr.nn.activation import activation
from arasfsr.nn.decoders.base import Geometry, Layer, cast, ensemble, layer_of, unfold

REL_DEVIATION, CELL_DEVIATION = 0.2, 0.06
"""Standard deviations, after `balance`, of I_0's columns for rel and for cell."""

PHASE = (math.pi / 4, 3 * math.pi / 4)
"""Range of the biases of C_1 .. C_{L-1} after `balance`: the sines s_2 .. s_L, which multiply f, start near 1."""

OCTAVE_GAIN = 1.5
"""Factor by which `balance` multiplies C_0's columns for octave 0; for octave k it is 2^(-k/2) times that."""


class MLPWeights(NamedTuple):
    """The decoder's parameters as the operator reads them."""

    content: list[Layer]
    """I_0 .. I_{L-1}: inputs are z0, then [f, f * s] (modulated) or f (plain)."""
    modulator: list[Layer]
    """C_0 .. C_{L-1} of the coordinate branch; empty without modulation."""
    output: Layer
    """O: width to 3."""

    def is_modulated(self) -> bool:
        """Whether there is a coordinate branch. (A method, since torch 2.9 cannot trace properties of named tuples.)"""
        return len(self.modulator) > 0

    def channels(self) -> int:
        """Channels D of the feature map; beside 9 D, I_0 has 4 or 6 inputs."""
        return self.content[0][0].shape[1] // 9

    def to(self, dtype: torch.dtype) -> MLPWeights:
        """The parameters in another dtype; gradients flow back to the originals."""
        return MLPWeights(cast(self.content, dtype), cast(self.modulator, dtype), cast([self.output], dtype)[0])

    def after_first(self) -> list[Tensor]:
        """The layers after I_0 as a flat list, weight before bias: content, modulator, output."""
        return [tensor for layer in (*self.content[1:], *self.modulator, self.output) for tensor in layer]

    @classmethod
    def unflatten(cls, tensors: list[Tensor], modulated: bool) -> MLPWeights:
        """The inverse of `after_first`: `content` starts at I_1."""
        layers = list(zip(tensors[::2], tensors[1::2], strict=True))
        content = (len(layers) - 1) // 2 if modulated else len(layers) - 1
        return cls(layers[:content], layers[content:-1], layers[-1])


class MLPDecoder(nn.Module):
    """Parameters of the MLP; `arasfsr.query` evaluates it."""

    def __init__(self, config: DecoderConfig, inputs: int) -> None:
        super().__init__()
        width, layers, modulated = config.width, config.layers, config.modulated
        later = 2 * width if modulated else width
        self.content = nn.ModuleList(nn.Linear(later if i else inputs, width) for i in range(layers))
        self.modulator = nn.ModuleList(
            nn.Linear(width if i else FOURIER_CHANNELS, width) for i in range(layers if modulated else 0)
        )
        self.output = nn.Linear(width, 3)

    @torch.no_grad()
    def balance(self) -> None:
        """Start with activations of equal size in all layers, open gates and weak high octaves (docs/learning.md).

        The content branch is uniform as in He et al. (arXiv 1502.01852), with biases of zero.
        """
        weights = self.weights()
        for weight, bias in weights.content:
            nn.init.kaiming_uniform_(weight, nonlinearity="relu")
            nn.init.zeros_(bias)
        first = split_first_layer(weights)
        nn.init.normal_(first.rel, std=REL_DEVIATION)
        nn.init.normal_(first.cell, std=CELL_DEVIATION)
        for weight, _ in weights.modulator[:1]:
            octaves = weight[:, 2:].unflatten(1, (FOURIER_OCTAVES, -1))
            octaves *= OCTAVE_GAIN * 2 ** (-torch.arange(FOURIER_OCTAVES, device=weight.device) / 2).unsqueeze(-1)
        for _, bias in weights.modulator[1:]:
            nn.init.uniform_(bias, *PHASE)

    def weights(self) -> MLPWeights:
        """The parameters as the operator reads them."""
        return MLPWeights([*map(layer_of, self.content)], [*map(layer_of, self.modulator)], layer_of(self.output))


def literal(features: Tensor, geometry: Geometry, weights: MLPWeights) -> Tensor:
    """The decoder's output (B, Q, 3) from the feature map, computed as written (docs/method.md, section 1)."""
    dtype, modulated = features.dtype, weights.is_modulated()
    encoding = fourier_encoding(geometry.coord).to(dtype)

    def output(unfolded: Tensor, corner: int) -> Tensor:
        size = unfolded.shape[:2]
        centre = [geometry.corners.centre[corner]] if modulated else []
        pairs = [geometry.corners.rel[corner], *centre, geometry.cell]
        f = torch.cat([unfolded, *(pair.expand(*size, 2).to(dtype) for pair in pairs)], dim=-1)
        s = encoding.expand(*size, -1)
        for i, (weight, bias) in enumerate(weights.content):
            f = activation(F.linear(torch.cat((f, f * s), dim=-1) if modulated and i else f, weight, bias))
            if modulated:
                s = F.linear(s, *weights.modulator[i]).sin()
        return F.linear(f * s if modulated else f, *weights.output)

    return ensemble(unfold(features), geometry, output)


class FirstLayer(NamedTuple):
    """I_0 split along its inputs (docs/method.md, section 2)."""

    unfold: Tensor
    """(n, 9 D): a convolution of the feature map by (n, D, 3, 3)."""
    rel: Tensor
    """(n, 2)."""
    centre: Tensor | None
    """(n, 2), None without modulation."""
    cell: Tensor
    """(n, 2)."""
    bias: Tensor
    """(n,)."""
    kept: dict[Hashable, tuple[Hashable, Any]] | None = None
    """For frozen parameters: values derived from these tensors, by name, with their variant."""


def split_first_layer(weights: MLPWeights) -> FirstLayer:
    """Split I_0's weight (n, 9 D + 6, or 9 D + 4 without modulation) by the parts of its input z0."""
    weight, bias = weights.content[0]
    modulated = weights.is_modulated()
    pairs = 3 if modulated else 2
    unfolded, *parts = weight.split([weight.shape[1] - 2 * pairs] + [2] * pairs, dim=1)
    centre = parts[1] if modulated else None
    return FirstLayer(unfolded, parts[0], centre, parts[-1], bias)
