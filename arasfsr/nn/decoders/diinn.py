"""DIINN's decoder (arXiv 2210.12593, section 3) under the local ensemble: content and position modulate one another.

k_i = relu(K_i [q_{i-1}, x]), q_i = k_i * sin(Q_i q_{i-1}); K_0 reads only the unfolded features x, Q_0 the position.
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
    """K_0 .. K_{L-1}: inputs are the unfolded features x, then [q, x]."""
    position: list[Layer]
    """Q_0 .. Q_{L-1}: inputs are rel and cell, then q."""
    output: Layer
    """Width to 3."""

    def to(self, dtype: torch.dtype) -> DIINNWeights:
        """The parameters in another dtype; gradients flow back to the originals."""
        return DIINNWeights(cast(self.content, dtype), cast(self.position, dtype), cast([self.output], dtype)[0])


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

    def output(x: Tensor, corner: int) -> Tensor:
        q = _position(geometry.corners.rel[corner], geometry.cell, x.dtype).expand(*x.shape[:-1], 4)
        for i, (content, position) in enumerate(zip(weights.content, weights.position, strict=True)):
            k = activation(F.linear(torch.cat((q, x), dim=-1) if i else x, *content))
            q = k * F.linear(q, *position).sin()
        return F.linear(q, *weights.output)

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


def corners(rows: Tensor, rel: Tensor, cell: Tensor, weights: DIINNWeights) -> Tensor:
    """Outputs of corners (..., 3) from their rows (..., layers n) of `lr_maps`, rel (..., 2) and cell (..., 2)."""
    q = _position(rel, cell, rows.dtype)
    for i, part in enumerate(rows.chunk(len(weights.content), dim=-1)):
        weight = weights.content[i][0]
        k = activation(part + F.linear(q, weight[:, : weight.shape[0]]) if i else part)
        q = k * F.linear(q, *weights.position[i]).sin()
    return F.linear(q, *weights.output)
