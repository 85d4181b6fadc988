"""The decoder's parameters, and the one place where they are read."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from arasfsr.config import FOURIER_CHANNELS, ModelConfig

Layer = tuple[Tensor, Tensor]
"""Weight (outputs, inputs) and bias (outputs,) of a linear layer."""


class DecoderWeights(NamedTuple):
    """The MLP's parameters as the operator reads them."""

    content: list[Layer]
    """I_0 .. I_{L-1}: inputs are z0, then [f, f * s] (modulated) or f (plain)."""
    modulator: list[Layer]
    """C_0 .. C_{L-1} of the coordinate branch; empty without global modulation."""
    output: Layer
    """O: width to 3."""

    @property
    def modulated(self) -> bool:
        return bool(self.modulator)

    def to(self, dtype: torch.dtype) -> DecoderWeights:
        """The same parameters in another dtype; gradients flow back to these."""

        def cast(layer: Layer) -> Layer:
            return layer[0].to(dtype), layer[1].to(dtype)

        return DecoderWeights([*map(cast, self.content)], [*map(cast, self.modulator)], cast(self.output))

    def after_first(self) -> list[Tensor]:
        """The layers after I_0 as a flat list, weight before bias: content, modulator, output."""
        return [tensor for layer in (*self.content[1:], *self.modulator, self.output) for tensor in layer]

    @classmethod
    def unflatten(cls, tensors: list[Tensor], modulated: bool) -> DecoderWeights:
        """The inverse of `after_first`: `content` starts at I_1."""
        layers = list(zip(tensors[::2], tensors[1::2], strict=True))
        content = (len(layers) - 1) // 2 if modulated else len(layers) - 1
        return cls(layers[:content], layers[content:-1], layers[-1])


class FirstLayer(NamedTuple):
    """I_0 cut along its inputs (DESIGN, section 2)."""

    unfold: Tensor
    """(n, D, 3, 3): a convolution of the feature map."""
    rel: Tensor
    """(n, 2)."""
    centre: Tensor | None
    """(n, 2), None without global modulation."""
    cell: Tensor
    """(n, 2)."""
    bias: Tensor
    """(n,)."""


def split_first_layer(weights: DecoderWeights) -> FirstLayer:
    """Cut I_0's weight (n, 9 D + 6, or 9 D + 4 without modulation) into what each part of z0 meets."""
    weight, bias = weights.content[0]
    tail = 6 if weights.modulated else 4
    unfolded = weight.shape[1] - tail
    unfold = weight[:, :unfolded].reshape(weight.shape[0], unfolded // 9, 3, 3)
    parts = weight[:, unfolded:].split(2, dim=1)
    centre = parts[1] if weights.modulated else None
    return FirstLayer(unfold, parts[0], centre, parts[-1], bias)


class ImplicitDecoder(nn.Module):
    """Parameters of the modulated MLP, or of the plain one. `arasfsr.query` computes with them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, layers, modulated = config.decoder.width, config.decoder.layers, config.decoder.modulated
        hidden = 2 * width if modulated else width
        self.content = nn.ModuleList(nn.Linear(hidden if i else config.input_width, width) for i in range(layers))
        self.modulator = nn.ModuleList(
            nn.Linear(width if i else FOURIER_CHANNELS, width) for i in range(layers if modulated else 0)
        )
        self.output = nn.Linear(width, 3)

    def weights(self) -> DecoderWeights:
        """The parameters, as the operator takes them."""

        def layer(linear: nn.Module) -> Layer:
            assert isinstance(linear, nn.Linear)
            return linear.weight, linear.bias

        return DecoderWeights([*map(layer, self.content)], [*map(layer, self.modulator)], layer(self.output))
