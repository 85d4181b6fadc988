"""Local frequency estimation: a variational autoencoder on the LR image (docs/method.md, section 1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arasfsr.config import FrequencyConfig
from arasfsr.nn.encoders.edsr import ResidualBlock, conv3
from arasfsr.nn.noise import Generators, draw

NEGATIVE_SLOPE = 0.2

QUIET = -8.0
"""Log-variance of the latent after `balance`: noise of standard deviation 0.02 beside means of about 0.15."""


class Latent(NamedTuple):
    """Mean and log-variance of the VAE's latent, each (B, width, h, w)."""

    mean: Tensor
    log_variance: Tensor

    def kl(self) -> Tensor:
        """Kullback-Leibler divergence from the standard normal, the mean over all elements: a scalar."""
        exact = torch.promote_types(self.mean.dtype, torch.float32)  # exp(v) - 1 - v cancels in bfloat16
        mean, log_variance = self.mean.to(exact), self.log_variance.to(exact)
        return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()


class _Trunk(nn.Module):
    """Conv, leaky ReLU, residual blocks, conv, plus the first activation; then a last conv."""

    def __init__(self, inputs: int, width: int, blocks: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = conv3(inputs, width)
        self.blocks = nn.Sequential(*[ResidualBlock(width) for _ in range(blocks)])
        self.conv2 = conv3(width, width)
        self.conv3 = conv3(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        first = F.leaky_relu(self.conv1(x), NEGATIVE_SLOPE)
        out: Tensor = self.conv3(first + self.conv2(self.blocks(first)))
        return out


class FrequencyEstimator(nn.Module):
    """Estimates `channels` feature maps from the LR image, to be appended to the encoder's."""

    def __init__(self, config: FrequencyConfig) -> None:
        super().__init__()
        self.encoder = _Trunk(3, config.width, config.blocks, 2 * config.width)
        self.decoder = _Trunk(config.width, config.width, config.blocks, config.channels)

    @torch.no_grad()
    def balance(self) -> None:
        """Start with a latent almost without noise, so that the feature maps show the image from the first step on."""
        last = self.encoder.conv3
        assert last.bias is not None
        last.weight.chunk(2)[1].zero_()
        last.bias.chunk(2)[1].fill_(QUIET)

    def forward(self, image: Tensor, sample: bool, generators: Generators = None) -> tuple[Tensor, Latent]:
        """(B, 3, h, w) in [-1, 1] to (B, channels, h, w) and the latent.

        Decodes the mean or, with `sample`, z = mean + exp(log_variance / 2) noise.
        """
        latent = Latent(*self.encoder(image).chunk(2, dim=1))
        z = latent.mean
        if sample:
            z = z + (latent.log_variance / 2).exp() * draw(torch.randn, z, z.shape[1:], generators)
        return self.decoder(z), latent
