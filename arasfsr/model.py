"""The model: encoder, local frequency estimation and implicit decoder, and the ways to call them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from arasfsr.config import ModelConfig
from arasfsr.decoder import DecoderWeights, ImplicitDecoder
from arasfsr.encoders import build_encoder
from arasfsr.frequency import FrequencyEstimator, Latent
from arasfsr.noise import Generators
from arasfsr.query import Grid, QueryCall, dispatch
from arasfsr.query.checks import check_coord_cell, check_image, check_region, check_size, compute_dtype

Picture = TypeVar("Picture", Image.Image, np.ndarray, Tensor)


@dataclass(frozen=True)
class Encoding:
    """What the encoder found in a batch of LR images; queries of any scale decode it."""

    features: Tensor
    """Feature map F (B, D, h, w)."""
    image: Tensor | None
    """The LR image for the skip (B, 3, h, w) in [-1, 1]; None in a model without one."""
    weights: DecoderWeights
    latent: Latent | None = None
    """The frequency module's latent, for its KL divergence; None in a model without one."""
    _cache: dict[tuple[int, int], Tensor] = field(default_factory=dict, repr=False)

    def query(
        self, coord: Tensor, cell: Tensor, backend: str = "auto", dtype: torch.dtype | str | None = None
    ) -> Tensor:
        """Decode given queries.

        Args:
            coord: (B, Q, 2), (y, x) in [-1, 1], float32 or float64; (1, Q, 2) serves all images. Beyond [-1, 1] the
                corners stay at the border's LR pixels, and the decoder extrapolates from there.
            cell: (B, Q, 2), the size of a target pixel, 2/H and 2/W; (B, 1, 2), (1, 1, 2) or (2,) where one serves
                many, which is also faster.
            backend: auto, reference, tiled, triton or cuda.
            dtype: compute dtype of the decoder, or its name: float32, bfloat16 or float16 (float64 for checks); by
                default autocast's where it is on, else the features'.

        Returns:
            (B, Q, 3) in about [-1, 1], float32 (float64 under dtype float64), differentiable in parameters, image,
            coord and cell.

        Raises:
            ValueError, TypeError: an argument is not of that form.
            BackendUnavailable: the backend asked for cannot serve the call.
        """
        coord, cell = check_coord_cell(coord, cell, self.features)
        return dispatch(self._call(coord, cell, None, dtype), backend)

    def render(
        self,
        size: tuple[int, int],
        region: tuple[int, int, int, int] | None = None,
        backend: str = "auto",
        dtype: torch.dtype | str | None = None,
    ) -> Tensor:
        """Decode a regular grid of `size` = (H, W) pixels, or only `region` = (top, left, bottom, right) of it.

        Returns (B, 3, bottom - top, right - left), in memory as (B, H, W, 3). Otherwise as `query`; no coordinates
        have to exist.
        """
        size = check_size(size)
        grid = Grid(size, check_region(region, size))
        out = dispatch(self._call(None, None, grid, dtype), backend)
        return out.view(out.shape[0], grid.height, grid.width, 3).permute(0, 3, 1, 2)

    def _call(
        self, coord: Tensor | None, cell: Tensor | None, grid: Grid | None, dtype: torch.dtype | str | None
    ) -> QueryCall:
        compute = compute_dtype(dtype, self.features)
        return QueryCall(self.features, self.image, coord, cell, grid, self.weights, compute, self._cache)


class ImplicitSR(nn.Module):
    """ARASFSR (arXiv 2511.16341) with its switches, or one of its baselines LIIF, LTE and DIINN, as `config` says."""

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config or ModelConfig()
        self.encoder = build_encoder(self.config.encoder)
        self.frequency = FrequencyEstimator(self.config.frequency) if self.config.frequency else None
        self.decoder = ImplicitDecoder(self.config)

    def encode(self, inp: Tensor, generator: Generators = None) -> Encoding:
        """Encode LR images (B, 3, h, w) in [-1, 1].

        The frequency module's noise is drawn in training, or where a generator is given; else its mean is used. Given
        a generator for each image, nothing that is drawn for it, in the encoder neither, depends on the others.

        What encodes is plain torch under torch's own switches: in float32 on CUDA devices its convolutions use TF32
        unless `torch.backends.cudnn.conv.fp32_precision` is "ieee". The decoder uses it only where torch allows it to
        matrix products (`torch.backends.cuda.matmul.fp32_precision`).
        """
        check_image(inp)
        image = inp
        if self.training and inp.device.type == "cpu":  # oneDNN's order, which saves a tenth of a training step
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
        """Upscale a picture by `scale`, or to `size` = (height, width); just one of them is given.

        Args:
            image: a PIL image of 8 or 16 bits a channel (not of the modes I, F and LAB), an (H, W, 3) uint8 array, or
                a (B, 3, h, w) float tensor in [0, 1].
            scale: above 0; sides become round(scale * side), at least one pixel.
            size: whole numbers of at least 1.
            backend, dtype: as `Encoding.query` takes them.

        Returns:
            A picture of the type given: PIL image, uint8 array, or float tensor in [0, 1] on the given tensor's
            device. A PIL image keeps its mode, black and white too, but a palette becomes RGB, and a transparent
            colour alpha.
        """
        from arasfsr.upscaling import upscale_picture

        return upscale_picture(self, image, scale, size, backend, dtype)
