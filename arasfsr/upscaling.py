"""Upscaling of pictures: sizes, normalisation, row bands, rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from numbers import Real
from typing import Protocol, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from arasfsr.errors import ArgumentError, ArgumentTypeError
from arasfsr.images.raster import DEEP_GRAY_MODES, Raster, bands, from_pil, to_pil
from arasfsr.query.call import check_size
from arasfsr.query.encoding import Encoding

LUMA_FULL = (0.299, 0.587, 0.114)
"""Weights of R, G and B (ITU-R BT.601) that convert the RGB result for a grayscale picture back to one channel."""

Picture = TypeVar("Picture", Image.Image, np.ndarray, Tensor)
"""PIL image, (H, W, 3) uint8 array or (B, 3, h, w) float tensor in [0, 1]."""


class Model(Protocol):
    """The interface of a model, such as `ImplicitSR`, that upscaling uses."""

    training: bool

    def train(self, mode: bool = True) -> object: ...
    def parameters(self) -> Iterator[torch.nn.Parameter]: ...
    def encode(self, inp: Tensor) -> Encoding: ...


BAND_PIXELS = 1 << 18
"""Output pixels, over all images, decoded at a time; bounds the memory needed besides the picture itself."""


def scaled_size(size: Sequence[int], scale: float) -> tuple[int, int]:
    """round(scale * side) for both sides, at least one pixel."""
    if not isinstance(scale, Real) or isinstance(scale, bool) or not (math.isfinite(scale) and scale > 0):
        raise ArgumentError(f"scale must be a finite number above 0, got {scale!r}")
    return max(1, round(scale * size[0])), max(1, round(scale * size[1]))


def target_size(lr_size: Sequence[int], scale: float | None, size: tuple[int, int] | None) -> tuple[int, int]:
    """The output's (height, width), from exactly one of scale and size."""
    if (scale is None) == (size is None):
        raise ArgumentError(f"either scale or size must be given, got scale={scale!r} and size={size!r}")
    return check_size(size) if size is not None else scaled_size(lr_size, scale or 0.0)


def normalise(image: Tensor) -> Tensor:
    """[0, 1] to [-1, 1]."""
    return (image - 0.5) / 0.5


def denormalise(image: Tensor) -> Tensor:
    """[-1, 1] to [0, 1], clamped."""
    return (image * 0.5 + 0.5).clamp(0, 1)


@contextmanager
def inference(model: Model) -> Iterator[None]:
    """Puts the model in evaluation mode without gradients; restores its mode afterwards."""
    training = model.training
    model.train(False)
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


def render_bands(
    encoding: Encoding, size: tuple[int, int], backend: str = "auto", dtype: torch.dtype | str | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Yields bands of rows of the output: the index of the first row, and (B, 3, rows, W) in [0, 1]."""
    images = max(1, encoding.features.shape[0])
    rows = max(1, BAND_PIXELS // (size[1] * images))
    for top in range(0, size[0], rows):
        region = (top, 0, min(top + rows, size[0]), size[1])
        yield top, denormalise(encoding.render(size, region, backend, dtype))


def upscale_array(
    model: Model,
    pixels: np.ndarray,
    size: tuple[int, int],
    backend: str = "auto",
    dtype: torch.dtype | str | None = None,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Upscale (h, w, 3) uint8 or uint16 pixels to `size` = (height, width), same dtype, rounded.

    `progress` is called with the number of rows after each band.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or min(pixels.shape) < 1:
        raise ArgumentError(f"image must have shape (H, W, 3), got {pixels.shape}")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ArgumentTypeError(f"image must be uint8 or uint16, got {pixels.dtype}")
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
    model: Model,
    image: Tensor,
    size: tuple[int, int],
    backend: str = "auto",
    dtype: torch.dtype | str | None = None,
) -> Tensor:
    """Upscale (B, 3, h, w) in [0, 1] to (B, 3, H, W) in [0, 1], of the input's dtype and device."""
    parameter = next(model.parameters())
    out = image.new_empty((image.shape[0], 3, *size))  # outside: a tensor of inference mode takes no part in autograd
    with inference(model):
        encoding = model.encode(normalise(image).to(parameter.device, parameter.dtype))
        for top, band in render_bands(encoding, size, backend, dtype):
            out[:, :, top : top + band.shape[2]] = band.to(image.device, image.dtype)
    return out


def upscale_raster(
    model: Model,
    raster: Raster,
    size: tuple[int, int],
    backend: str = "auto",
    dtype: torch.dtype | str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Raster:
    """Upscale a picture to `size` = (height, width): colour by the model, alpha by bicubic interpolation.

    Grayscale is upscaled as RGB with three equal channels. `progress` is called with the number of rows after each
    band.
    """
    colour = np.stack((raster.colour,) * 3, axis=-1) if raster.gray else raster.colour
    colour = upscale_array(model, colour, size, backend, dtype, progress)
    alpha = None if raster.alpha is None else _resize_alpha(raster.alpha, size)
    return replace(raster, colour=_luma(colour) if raster.gray else colour, alpha=alpha)


def upscale_pil(
    model: Model,
    image: Image.Image,
    size: tuple[int, int],
    backend: str = "auto",
    dtype: torch.dtype | str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Image.Image:
    """Upscale a PIL image to `size` = (height, width): colour by the model, alpha by bicubic interpolation.

    Returns an image of the same mode with the same ICC profile and DPI in its `info`. A palette cannot hold the model's
    colours, nor a single transparent colour a bicubic alpha channel: such images are returned as L, LA, RGB or RGBA.
    Mode 1 is thresholded at the middle. `progress` is called with the number of rows after each band.

    Raises:
        ImageError: the mode is not supported (I, F, LAB and others that are not 8-bit or 16-bit pictures).
    """
    result = upscale_raster(model, from_pil(image), size, backend, dtype, progress)
    if image.mode in DEEP_GRAY_MODES:
        pixels = result.colour.astype(DEEP_GRAY_MODES[image.mode], copy=False)
        upscaled = Image.frombuffer(image.mode, pixels.shape[::-1], pixels, "raw", image.mode, 0, 1)
    else:
        upscaled = to_pil(result)
        if image.mode not in ("P", "PA") and "transparency" not in image.info and upscaled.mode != image.mode:
            upscaled = upscaled.convert(image.mode, dither=Image.Dither.NONE)
    upscaled.info.update({key: image.info[key] for key in ("icc_profile", "dpi") if key in image.info})
    return upscaled


def _luma(colour: np.ndarray) -> np.ndarray:
    """(h, w, 3) to (h, w) of the same dtype, rounded."""
    gray = np.empty(colour.shape[:2], colour.dtype)
    for rows in bands(len(colour)):
        gray[rows] = np.rint(colour[rows] @ np.array(LUMA_FULL))
    return gray


def _resize_alpha(alpha: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bicubic resize; 16 bits go through float32, since Pillow resizes no 16-bit mode exactly."""
    height, width = size
    channel = Image.fromarray(alpha if alpha.dtype == np.uint8 else alpha.astype(np.float32))
    resized = np.asarray(channel.resize((width, height), Image.Resampling.BICUBIC))
    if alpha.dtype == np.uint8:
        return resized
    result = np.empty(size, np.uint16)
    for rows in bands(height):
        result[rows] = np.rint(resized[rows].clip(0, np.iinfo(np.uint16).max))
    return result
