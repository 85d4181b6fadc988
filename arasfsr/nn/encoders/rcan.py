"""RCAN (arXiv 1807.02758) as a feature extractor: residual groups of channel attention blocks, no upsampler."""

from __future__ import annotations

from torch import Tensor, nn

from arasfsr.config import RCANConfig
from arasfsr.nn.encoders.edsr import conv3
from arasfsr.nn.noise import Generators


class ChannelAttention(nn.Module):
    """Scales each channel by a factor in (0, 1) that a bottleneck computes from the channels' means over the image."""

    def __init__(self, features: int, bottleneck: int) -> None:
        super().__init__()
        self.factors = nn.Sequential(
            nn.Conv2d(features, bottleneck, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(bottleneck, features, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        factors: Tensor = self.factors(x.mean(dim=(2, 3), keepdim=True))
        return x * factors


class _Residual(nn.Module):
    """x + body(x)."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.body(x)
        return x + residual


def _block(features: int, bottleneck: int) -> _Residual:
    """Convolution, ReLU, convolution, channel attention."""
    attention = ChannelAttention(features, bottleneck)
    return _Residual(conv3(features, features), nn.ReLU(inplace=True), conv3(features, features), attention)


class RCAN(nn.Module):
    """Convolution, residual groups, convolution, and the first activation added at the end."""

    def __init__(self, config: RCANConfig) -> None:
        super().__init__()
        features, bottleneck = config.features, config.features // config.reduction
        self.head = conv3(3, features)
        groups = [
            _Residual(*[_block(features, bottleneck) for _ in range(config.blocks)], conv3(features, features))
            for _ in range(config.groups)
        ]
        self.body = nn.Sequential(*groups, conv3(features, features))

    def forward(self, image: Tensor, generators: Generators = None) -> Tensor:
        """(B, 3, h, w) in [-1, 1] to (B, features, h, w); `generators` is unused."""
        first: Tensor = self.head(image)
        residual: Tensor = self.body(first)
        return first + residual
