"""EDSR (arXiv 1707.02921) as a feature extractor: no upsampler, no mean shift."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from arasfsr.config import EncoderConfig
from arasfsr.nn.noise import Generators


def conv3(inputs: int, outputs: int) -> nn.Conv2d:
    """3 x 3 convolution that keeps the size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class ResidualBlock(nn.Module):
    """x + scale * conv(ReLU(conv(x)))."""

    def __init__(self, features: int, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.body = nn.Sequential(conv3(features, features), nn.ReLU(inplace=True), conv3(features, features))

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.body(x)
        return torch.add(x, residual, alpha=self.scale)


class EDSR(nn.Module):
    """Convolution, residual blocks, convolution, and the first activation added at the end."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.head = conv3(3, config.features)
        blocks = [ResidualBlock(config.features, config.residual_scale) for _ in range(config.blocks)]
        self.body = nn.Sequential(*blocks, conv3(config.features, config.features))

    def forward(self, image: Tensor, generators: Generators = None) -> Tensor:
        """(B, 3, h, w) in [-1, 1] to (B, features, h, w); `generators` is unused."""
        first: Tensor = self.head(image)
        residual: Tensor = self.body(first)
        return first + residual
