"""The decoder's parameters, and the one place where they are read."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from arasfsr.config import FOURIER_CHANNELS, DIINNConfig, LTEConfig, ModelConfig

Layer = tuple[Tensor, Tensor]
"""Weight (outputs, inputs) and bias (outputs,) of a linear layer."""


class Texture(NamedTuple):
    """LTE's estimators of waves from the feature map (B, D, h, w) and the cell."""

    amplitude: Layer
    """3 x 3 convolution to the waves' amplitudes: (waves, D, 3, 3), (waves,)."""
    frequency: Layer
    """3 x 3 convolution to (y, x) frequencies, half the waves of them in pairs: (waves, D, 3, 3), (waves,)."""
    phase: Tensor
    """(waves / 2, 2): from the cell in LR pixels times two, without a bias. It stays in the parameters' own dtype: what
    goes into a cosine is not rounded to a compute dtype."""


class DecoderWeights(NamedTuple):
    """The decoder's parameters as the operator reads them."""

    content: list[Layer]
    """I_0 .. I_{L-1}: inputs are z0, then [f, f * s] (modulated) or f (plain). LTE: of its plain MLP. DIINN: of the
    content branch, whose inputs are the unfolded features x, then [q, x]."""
    modulator: list[Layer]
    """C_0 .. C_{L-1} of the coordinate branch; empty without global modulation. DIINN: of the position branch."""
    output: Layer
    """O: width to 3."""
    name: str = "mlp"
    """The decoder's name in the configuration."""
    texture: Texture | None = None
    """Of LTE alone."""

    @property
    def modulated(self) -> bool:
        """Global modulation by the Fourier encoding."""
        return is_modulated(self)

    def to(self, dtype: torch.dtype) -> DecoderWeights:
        """The same parameters in another dtype; gradients flow back to these."""

        def cast(layer: Layer) -> Layer:
            return layer[0].to(dtype), layer[1].to(dtype)

        texture = self.texture
        if texture is not None:
            texture = Texture(cast(texture.amplitude), cast(texture.frequency), texture.phase)
        content, modulator = [*map(cast, self.content)], [*map(cast, self.modulator)]
        return DecoderWeights(content, modulator, cast(self.output), self.name, texture)

    def after_first(self) -> list[Tensor]:
        """The layers after I_0 as a flat list, weight before bias: content, modulator, output."""
        return [tensor for layer in (*self.content[1:], *self.modulator, self.output) for tensor in layer]

    @classmethod
    def unflatten(cls, tensors: list[Tensor], modulated: bool) -> DecoderWeights:
        """The inverse of `after_first`: `content` starts at I_1."""
        layers = list(zip(tensors[::2], tensors[1::2], strict=True))
        content = (len(layers) - 1) // 2 if modulated else len(layers) - 1
        return cls(layers[:content], layers[content:-1], layers[-1])


def is_modulated(weights: DecoderWeights) -> bool:
    """`weights.modulated`, for code that torch.compile traces: torch 2.9 reads neither a property of a named
    tuple nor the truth of a list."""
    return weights.name == "mlp" and len(weights.modulator) > 0


class FirstLayer(NamedTuple):
    """I_0 cut along its inputs (DESIGN, section 2)."""

    unfold: Tensor
    """(n, 9 D): a convolution of the feature map by (n, D, 3, 3)."""
    rel: Tensor
    """(n, 2)."""
    centre: Tensor | None
    """(n, 2), None without global modulation."""
    cell: Tensor
    """(n, 2)."""
    bias: Tensor
    """(n,)."""
    kept: dict[Hashable, tuple[Hashable, Any]] | None = None
    """Of frozen parameters: what else was made of these parts, by name and with its variant. These stay as they are."""


def split_first_layer(weights: DecoderWeights) -> FirstLayer:
    """Cut I_0's weight (n, 9 D + 6, or 9 D + 4 without modulation) into what each part of z0 meets."""
    weight, bias = weights.content[0]
    modulated = is_modulated(weights)
    pairs = 3 if modulated else 2
    unfold, *parts = weight.split([weight.shape[1] - 2 * pairs] + [2] * pairs, dim=1)
    centre = parts[1] if modulated else None
    return FirstLayer(unfold, parts[0], centre, parts[-1], bias)


class _TextureEstimator(nn.Module):
    """Parameters of LTE's estimators."""

    def __init__(self, features: int, waves: int) -> None:
        super().__init__()
        self.amplitude = nn.Conv2d(features, waves, 3, padding=1)
        self.frequency = nn.Conv2d(features, waves, 3, padding=1)
        self.phase = nn.Parameter(torch.empty(waves // 2, 2).uniform_(-1, 1) / math.sqrt(2))

    def weights(self) -> Texture:
        return Texture(_layer(self.amplitude), _layer(self.frequency), self.phase)


class ImplicitDecoder(nn.Module):
    """Parameters of the decoder that the configuration names. `arasfsr.query` computes with them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        decoder = config.decoder
        self.name, width, layers = decoder.name, decoder.width, decoder.layers
        positions, injected = 0, 0  # inputs of the first layer of the coordinate branch; what joins each later content
        if isinstance(decoder, DIINNConfig):
            positions, injected = 4, config.input_width
        elif decoder.modulated:
            positions, injected = FOURIER_CHANNELS, width
        self.content = nn.ModuleList(
            nn.Linear(width + injected if i else config.input_width, width) for i in range(layers)
        )
        self.modulator = nn.ModuleList(
            nn.Linear(width if i else positions, width) for i in range(layers if positions else 0)
        )
        self.output = nn.Linear(width, 3)
        self.texture = (
            _TextureEstimator(config.feature_channels, decoder.waves) if isinstance(decoder, LTEConfig) else None
        )

    def weights(self) -> DecoderWeights:
        """The parameters, as the operator takes them."""
        return DecoderWeights(
            [*map(_layer, self.content)],
            [*map(_layer, self.modulator)],
            _layer(self.output),
            self.name,
            None if self.texture is None else self.texture.weights(),
        )


def _layer(module: nn.Module) -> Layer:
    assert isinstance(module, (nn.Linear, nn.Conv2d))
    assert module.bias is not None
    return module.weight, module.bias
