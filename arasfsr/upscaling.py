"""Pictures in, pictures out: sizes, normalisation, row bands, rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from arasfsr.query.checks import check_size

if TYPE_CHECKING:
    from arasfsr.model import Encoding, ImplicitSR, Picture

BAND_PIXELS = 1 << 18
"""Output pixels of all images that are decoded at a time, and with them the memory beyond the picture itself."""


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """round(scale * side) for both sides, at least one pixel."""
    if not (isinstance(scale, int | float) and math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale={scale!r}; taken is a finite number above 0")
    return max(1, round(scale * size[0])), max(1, round(scale * size[1]))


def target_size(lr_size: tuple[int, int], scale: float | None, size: tuple[int, int] | None) -> tuple[int, int]:
    """The output's (height, width), from a scale or given; just one of them must be."""
    if (scale is None) == (size is None):
        raise ValueError(f"scale={scale!r}, size={size!r}; just one of them is taken")
    return check_size(size) if size is not None else scaled_size(lr_size, scale or 0.0)


def normalise(image: Tensor) -> Tensor:
    """[0, 1] to [-1, 1]."""
    return (image - 0.5) / 0.5


def denormalise(image: Tensor) -> Tensor:
    """[-1, 1] to [0, 1], clamped."""
    return (image * 0.5 + 0.5).clamp(0, 1)


@contextmanager
def inference(model: ImplicitSR) -> Iterator[None]:
    """The model in evaluation mode and without gradients; afterwards as it was."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


def render_bands(
    encoding: Encoding, size: tuple[int, int], backend: str = "auto", dtype: torch.dtype | str | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Bands of rows of the output in [0, 1], (B, 3, rows, W), each with its first row."""
    images = max(1, encoding.features.shape[0])
    rows = max(1, BAND_PIXELS // (size[1] * images))
    for top in range(0, size[0], rows):
        region = (top, 0, min(top + rows, size[0]), size[1])
        yield top, denormalise(encoding.render(size, region, backend, dtype))


def upscale_array(
    model: ImplicitSR,
    pixels: np.ndarray,
    size: tuple[int, int],
    backend: str = "auto",
    dtype: torch.dtype | str | None = None,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Upscale (h, w, 3) uint8 or uint16 pixels to `size` = (height, width), same dtype, rounded.

    `progress` is told the number of rows after each band.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or min(pixels.shape) < 1:
        raise ValueError(f"image has shape {pixels.shape}; taken is (H, W, 3)")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"image has dtype {pixels.dtype}; taken is uint8 (or uint16)")
    parameter = next(model.parameters())
    top_value = float(np.iinfo(pixels.dtype).max)
    out = np.empty((*size, 3), pixels.dtype)
    with inference(model):
        image = torch.from_numpy(pixels.astype(np.float32) / top_value).permute(2, 0, 1).unsqueeze(0)
        encoding = model.encode(normalise(image).to(parameter.device, parameter.dtype))
        for top, band in render_bands(encoding, size, backend, dtype):
            rows = (band[0].permute(1, 2, 0) * top_value).round().cpu().numpy()
            out[top : top + len(rows)] = rows.astype(pixels.dtype)
            if progress is not None:
                progress(len(rows))
    return out


def upscale_tensor(
    model: ImplicitSR,
    image: Tensor,
    size: tuple[int, int],
    backend: str = "auto",
    dtype: torch.dtype | str | None = None,
) -> Tensor:
    """Upscale (B, 3, h, w) in [0, 1] to (B, 3, H, W) in [0, 1], of the given dtype and on the given device."""
    parameter = next(model.parameters())
    with inference(model):
        encoding = model.encode(normalise(image).to(parameter.device, parameter.dtype))
        out = image.new_empty((image.shape[0], 3, *size))
        for top, band in render_bands(encoding, size, backend, dtype):
            out[:, :, top : top + band.shape[2]] = band.to(image.device, image.dtype)
    return out


def upscale_picture(
    model: ImplicitSR,
    image: Picture,
    scale: float | None,
    size: tuple[int, int] | None,
    backend: str = "auto",
    dtype: torch.dtype | str | None = None,
) -> Picture:
    """`ImplicitSR.upscale`."""
    if isinstance(image, Tensor):
        if image.dim() != 4 or image.shape[1] != 3 or not image.is_floating_point():
            raise ValueError(
                f"image is a tensor {tuple(image.shape)} of {image.dtype}; taken is (B, 3, h, w), floating point, "
                "values in [0, 1]"
            )
        return upscale_tensor(model, image, target_size((image.shape[2], image.shape[3]), scale, size), backend, dtype)
    if isinstance(image, np.ndarray):
        return upscale_array(model, image, target_size(image.shape[:2], scale, size), backend, dtype)
    if isinstance(image, Image.Image):
        from arasfsr.images import upscale_pil

        return upscale_pil(model, image, target_size((image.height, image.width), scale, size), backend, dtype)
    raise TypeError(f"image is a {type(image).__name__}; taken are a PIL image, a numpy array and a tensor")
