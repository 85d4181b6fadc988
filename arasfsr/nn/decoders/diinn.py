"""DIINN's decoder (arXiv 2210.12593, section 3) under the local ensemble: content and position modulate one another.

k_i = relu(K_{i-1} [p_{i-1}, u]), p_i = k_i * sin(C_{i-1} p_{i-1}); K_0 reads only the unfolded features u, C_0 p_0.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arasfsr.config import DIINNConfig
from arasfsr.nn.activation import activation
from arasfsr.nn.convolution import convolve
from arasfsr.nn.decoders.base import Geometry, Layer, cast, ensemble, layer_of, unfold


class DIINNWeights(NamedTuple):
    """The decoder's parameters as the operator reads them."""

    content: list[Layer]
    """K_0 .. K_{L-1}: inputs are the unfolded features u, then [p, u]."""
    modulator: list[Layer]
    """C_0 .. C_{L-1}: inputs are p_0 = [rel, cell], then p."""
    output: Layer
    """Width to 3."""

    def channels(self) -> int:
        """Channels D of the feature map."""
        return self.content[0][0].shape[1] // 9

    def to(self, dtype: torch.dtype) -> DIINNWeights:
        """The parameters in another dtype; gradients flow back to the originals."""
        return DIINNWeights(cast(self.content, dtype), cast(self.modulator, dtype), cast([self.output], dtype)[0])


class DIINNDecoder(nn.Module):
    """Parameters of DIINN's decoder; `arasfsr.query` evaluates it."""

    def __init__(self, config: DIINNConfig, inputs: int) -> None:
        super().__init__()
        width = config.width
        self.content = nn.ModuleList(nn.Linear(width + inputs if i else inputs, width) for i in range(config.layers))
        self.modulator = nn.ModuleList(nn.Linear(width if i else 4, width) for i in range(config.layers))
        self.output = nn.Linear(width, 3)

    def weights(self) -> DIINNWeights:
        """The parameters as the operator reads them."""
        return DIINNWeights([*map(layer_of, self.content)], [*map(layer_of, self.modulator)], layer_of(self.output))


def _position(rel: Tensor, cell: Tensor, dtype: torch.dtype) -> Tensor:
    """Input of the position branch: rel and cell, (..., 4)."""
    leading = torch.broadcast_shapes(rel.shape[:-1], cell.shape[:-1])
    return torch.cat((rel.expand(*leading, 2), cell.expand(*leading, 2)), dim=-1).to(dtype)


def literal(features: Tensor, geometry: Geometry, weights: DIINNWeights) -> Tensor:
    """The decoder's output (B, Q, 3) from the feature map, computed as written in the paper."""

    def output(u: Tensor, corner: int) -> Tensor:
        p = _position(geometry.corners.rel[corner], geometry.cell, u.dtype).expand(*u.shape[:-1], 4)
        for i, (content, modulator) in enumerate(zip(weights.content, weights.modulator, strict=True)):
            k = activation(F.linear(torch.cat((p, u), dim=-1) if i else u, *content))
            p = k * F.linear(p, *modulator).sin()
        return F.linear(p, *weights.output)

    return ensemble(unfold(features), geometry, output)


def lr_maps(features: Tensor, weights: DIINNWeights) -> Tensor:
    """Each content layer's product with the unfolded features, plus its bias: (B, D, h, w) to (B, layers n, h, w).

    Nearest sampling commutes with pointwise operations, so these products are convolutions at LR resolution.
    """

    def kernel(layer: Layer) -> Tensor:
        weight, channels = layer[0], features.shape[1]
        return weight[:, -9 * channels :].reshape(weight.shape[0], channels, 3, 3)

    weight = torch.cat([kernel(layer) for layer in weights.content])
    bias = torch.cat([bias for _, bias in weights.content])
    return convolve(features, weight, bias.view(1, 1, 1, -1)).permute(0, 3, 1, 2)


def corner_outputs(rows: Tensor, rel: Tensor, cell: Tensor, weights: DIINNWeights) -> Tensor:
    """Outputs of corners (..., 3) from their rows (..., layers n) of `lr_maps`, rel (..., 2) and cell (..., 2)."""
    p = _position(rel, cell, rows.dtype)
    for i, part in enumerate(rows.chunk(len(weights.content), dim=-1)):
        weight = weights.content[i][0]
        k = activation(part + F.linear(p, weight[:, : weight.shape[0]]) if i else part)
        p = k * F.linear(p, *weights.modulator[i]).sin()
    return F.linear(p, *weights.output)
