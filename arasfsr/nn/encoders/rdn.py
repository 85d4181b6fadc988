"""RDN (arXiv 1802.08797) as a feature extractor: dense blocks, local and global feature fusion, no upsampler."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arasfsr.config import RDNConfig
from arasfsr.nn.encoders.edsr import conv3
from arasfsr.nn.noise import Generators


class ResidualDenseBlock(nn.Module):
    """Densely connected convolutions, fused by a 1 x 1 convolution, plus x."""

    def __init__(self, features: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(conv3(features + i * growth, growth) for i in range(layers))
        self.fusion = nn.Conv2d(features + layers * growth, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        dense = x
        for layer in self.layers:
            dense = torch.cat((dense, F.relu(layer(dense))), dim=1)
        fused: Tensor = self.fusion(dense)
        return x + fused


class RDN(nn.Module):
    """Two convolutions, dense blocks, the fusion of all their outputs, plus the first activation."""

    def __init__(self, config: RDNConfig) -> None:
        super().__init__()
        features = config.features
        self.first = conv3(3, features)
        self.second = conv3(features, features)
        self.blocks = nn.ModuleList(
            ResidualDenseBlock(features, config.growth, config.layers) for _ in range(config.blocks)
        )
        self.fusion = nn.Sequential(nn.Conv2d(config.blocks * features, features, 1), conv3(features, features))

    def forward(self, image: Tensor, generators: Generators = None) -> Tensor:
        """(B, 3, h, w) in [-1, 1] to (B, features, h, w); `generators` is unused."""
        first: Tensor = self.first(image)
        x, outputs = self.second(first), []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        fused: Tensor = self.fusion(torch.cat(outputs, dim=1))
        return first + fused
