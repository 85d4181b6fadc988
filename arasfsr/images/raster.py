"""Pictures in memory: the channels of a PIL image, and the conversion in both directions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from arasfsr.errors import ImageError

DEEP_GRAY_MODES = {"I;16": "<u2", "I;16L": "<u2", "I;16B": ">u2", "I;16N": "=u2"}
"""PIL's 16-bit grayscale modes and their NumPy dtypes."""

WORKING_MODES = {
    "1": "L",
    "L": "L",
    "LA": "LA",
    "La": "LA",
    "P": "RGB",
    "PA": "RGBA",
    "RGB": "RGB",
    "RGBX": "RGB",
    "RGBA": "RGBA",
    "RGBa": "RGBA",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
}
"""Supported PIL modes of 8 bits or fewer, and the mode in which each is upscaled."""

WITH_ALPHA = {"L": "LA", "RGB": "RGBA"}

BAND_ROWS = 256
"""Rows converted at a time, so that float copies stay small."""


@dataclass(frozen=True)
class Raster:
    """A picture's channels, 8 or 16 bits each, with its ICC profile and DPI."""

    colour: np.ndarray
    """(h, w) grayscale or (h, w, 3) RGB; uint8 in [0, 255] or uint16 in [0, 65535]."""
    alpha: np.ndarray | None = None
    """(h, w) of the colour's dtype, not premultiplied; None if opaque."""
    icc_profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    """Pixels per inch in x and y."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.colour.shape[0], self.colour.shape[1]

    @property
    def gray(self) -> bool:
        """Whether the colour is a single channel."""
        return self.colour.ndim == 2

    @property
    def deep(self) -> bool:
        """Whether channels have 16 bits."""
        return bool(self.colour.dtype == np.uint16)

    @property
    def fits_pil(self) -> bool:
        """Whether PIL has a mode for the channels: not for 16-bit colour, nor for 16 bits with alpha."""
        return not self.deep or (self.gray and self.alpha is None)


def from_pil(image: Image.Image) -> Raster:
    """The channels of a PIL image; palettes and transparent colours are resolved.

    Raises:
        ImageError: the mode is not an 8-bit or 16-bit picture (I, F, LAB).
    """
    if image.mode in DEEP_GRAY_MODES:
        return Raster(np.array(image).astype(np.uint16, copy=False))
    if image.mode not in WORKING_MODES:
        modes = ", ".join((*WORKING_MODES, *DEEP_GRAY_MODES))
        raise ImageError(f"image mode must be one of {modes}, got {image.mode}")
    working = WORKING_MODES[image.mode]
    if image.has_transparency_data:
        working = WITH_ALPHA.get(working, working)
    if image.mode != working:
        image = image.convert(working)
    if working in ("L", "RGB"):
        return Raster(np.array(image))
    pixels = np.array(image)
    colour = pixels[..., 0] if working == "LA" else pixels[..., :3]
    return Raster(np.ascontiguousarray(colour), np.ascontiguousarray(pixels[..., -1]))


def to_pil(raster: Raster) -> Image.Image:
    """The PIL image of the channels: L, LA, RGB, RGBA or, for 16-bit grayscale, I;16.

    Raises:
        ImageError: the picture has 16-bit colour or alpha, for which PIL has no mode.
    """
    if not raster.fits_pil:
        raise ImageError("PIL has no mode for 16-bit colour")
    image = Image.fromarray(raster.colour)
    if raster.alpha is not None:
        image.putalpha(Image.fromarray(raster.alpha))
    return image


def flatten_on_white(raster: Raster) -> Raster:
    """The picture blended on white, without alpha."""
    if raster.alpha is None:
        return raster
    top = float(np.iinfo(raster.colour.dtype).max)
    flat = np.empty_like(raster.colour)
    for rows in bands(raster.size[0]):
        opacity = raster.alpha[rows].astype(np.float32) / top
        if not raster.gray:
            opacity = opacity[..., None]
        flat[rows] = np.rint(raster.colour[rows] * opacity + top * (1 - opacity))
    return replace(raster, colour=flat, alpha=None)


def round_to_8_bits(raster: Raster) -> Raster:
    """The picture with 8 bits per channel, rounded to nearest."""
    if not raster.deep:
        return raster
    alpha = None if raster.alpha is None else _round_channel(raster.alpha)
    return replace(raster, colour=_round_channel(raster.colour), alpha=alpha)


def _round_channel(pixels: np.ndarray) -> np.ndarray:
    rounded = np.empty(pixels.shape, np.uint8)
    for rows in bands(len(pixels)):
        rounded[rows] = (pixels[rows].astype(np.uint32) + 128) // 257
    return rounded


def bands(height: int) -> list[slice]:
    """Slices of at most BAND_ROWS rows that cover `height` rows."""
    return [slice(top, min(top + BAND_ROWS, height)) for top in range(0, height, BAND_ROWS)]
