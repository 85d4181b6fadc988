"""The model: encoder, local frequency estimation and implicit decoder."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from arasfsr.config import ModelConfig
from arasfsr.errors import ArgumentError, ArgumentTypeError
from arasfsr.nn.decoders import build_decoder
from arasfsr.nn.encoders import build_encoder
from arasfsr.nn.frequency import FrequencyEstimator
from arasfsr.nn.noise import Generators
from arasfsr.query.call import check_image
from arasfsr.query.encoding import Encoding
from arasfsr.upscaling import Picture, target_size, upscale_array, upscale_pil, upscale_tensor

__all__ = ["Encoding", "ImplicitSR"]


class ImplicitSR(nn.Module):
    """ARASFSR (arXiv 2511.16341) or one of its baselines LIIF, LTE and DIINN, as configured by `config`."""

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config or ModelConfig()
        self.encoder = build_encoder(self.config.encoder)
        self.frequency = FrequencyEstimator(self.config.frequency) if self.config.frequency else None
        if self.frequency is not None and self.config.init == "balanced":
            self.frequency.balance()
        self.decoder = build_decoder(self.config)

    def encode(self, inp: Tensor, generator: Generators = None) -> Encoding:
        """Encode LR images (B, 3, h, w) in [-1, 1].

        The frequency module samples its latent in training or if a generator is given, and uses the mean otherwise.
        With one generator per image, the random numbers of an image, the encoder's included, do not depend on the
        other images.

        Encoding is plain torch and follows torch's settings: on CUDA devices, float32 convolutions use TF32 unless
        `torch.backends.cudnn.conv.fp32_precision` is "ieee". The decoder uses TF32 only if torch allows it for matrix
        products (`torch.backends.cuda.matmul.fp32_precision`).
        """
        check_image(inp)
        image = inp
        if self.training and inp.device.type == "cpu":  # oneDNN's layout, which saves a tenth of a training step
            image = inp.contiguous(memory_format=torch.channels_last)
        features, latent = self.encoder(image, generator), None
        if self.frequency is not None:
            sample = self.training or generator is not None
            frequencies, latent = self.frequency(image, sample, generator)
            features = torch.cat((features, frequencies), dim=1)
        return Encoding(features, inp if self.config.skip else None, self.decoder.weights(), latent)

    def forward(
        self, inp: Tensor, coord: Tensor, cell: Tensor, backend: str = "auto", dtype: torch.dtype | str | None = None
    ) -> Tensor:
        """`encode(inp).query(coord, cell, backend, dtype)`: (B, 3, h, w) and (B, Q, 2) to (B, Q, 3)."""
        return self.encode(inp).query(coord, cell, backend, dtype)

    @torch.no_grad()
    def upscale(
        self,
        image: Picture,
        scale: float | None = None,
        size: tuple[int, int] | None = None,
        backend: str = "auto",
        dtype: torch.dtype | str | None = None,
    ) -> Picture:
        """Upscale a picture by `scale`, or to `size` = (height, width); give exactly one of them.

        Args:
            image: a PIL image of 8 or 16 bits a channel (not of the modes I, F and LAB), an (H, W, 3) uint8 array, or
                a (B, 3, h, w) float tensor in [0, 1].
            scale: above 0; the output's sides are round(scale * side), at least one pixel.
            size: whole numbers of at least 1.
            backend: as in `Encoding.query`.
            dtype: as in `Encoding.query`.

        Returns:
            A picture of the input's type: PIL image, uint8 array, or float tensor in [0, 1] on the input's device. A
            PIL image keeps its mode, including black and white, except that a palette becomes RGB and a transparent
            colour an alpha channel.
        """
        if isinstance(image, Tensor):
            if image.dim() != 4 or image.shape[1] != 3 or not image.is_floating_point():
                given = f"{tuple(image.shape)} of {image.dtype}"
                raise ArgumentError(f"image must be a floating-point tensor (B, 3, h, w) in [0, 1], got {given}")
            return upscale_tensor(self, image, target_size(image.shape[2:], scale, size), backend, dtype)
        if isinstance(image, np.ndarray):
            return upscale_array(self, image, target_size(image.shape[:2], scale, size), backend, dtype)
        if isinstance(image, Image.Image):
            return upscale_pil(self, image, target_size((image.height, image.width), scale, size), backend, dtype)
        raise ArgumentTypeError(f"image must be a PIL image, a NumPy array or a tensor, got {type(image).__name__}")
