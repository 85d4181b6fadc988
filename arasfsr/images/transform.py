"""RGB images for training, evaluation and preparation: reading, cropping, resizing, degrading, tensors."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from arasfsr.errors import ArgumentError
from arasfsr.images.files import read_image
from arasfsr.images.raster import flatten_on_white, round_to_8_bits, to_pil

Box: TypeAlias = tuple[int, int, int, int]
"""A part of an image, as Pillow has it: left, top, right and bottom, the last two exclusive."""

JPEG_QUALITY = 65
"""JPEG quality of `nn65`."""


def read_rgb(path: Path) -> Image.Image:
    """Read an image as upright 8-bit RGB, with alpha blended on white.

    Raises:
        ImageError: as `read_image`.
    """
    return to_pil(round_to_8_bits(flatten_on_white(read_image(path)))).convert("RGB")


def to_tensor(image: Image.Image) -> Tensor:
    """A PIL RGB image as a tensor (3, H, W), float32 in [-1, 1]."""
    return torch.from_numpy(normalise_pixels(np.asarray(image))).permute(2, 0, 1)


def normalise_pixels(pixels: np.ndarray) -> np.ndarray:
    """uint8 in [0, 255] to float32 in [-1, 1], of the same shape."""
    return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to `size` = (width, height) with Pillow's bicubic filter, which antialiases when shrinking."""
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)


def largest_box(size: tuple[int, int]) -> Box:
    """The largest centred square of an image of `size` = (width, height)."""
    side = min(size)
    left, top = ((length - side) // 2 for length in size)
    return left, top, left + side, top + side


def largest_square(image: Image.Image) -> Image.Image:
    """Crop to the largest centred square; an odd pixel is removed at the right or bottom."""
    return image.crop(largest_box(image.size))


@dataclass(frozen=True)
class Degradation:
    """A callable that maps an HR image to an LR image."""

    text: str
    """Description, for reports."""
    apply: Callable[[Image.Image, tuple[int, int]], Image.Image]

    def __call__(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        """Degrade an RGB image to `size` = (width, height); the input is not modified.

        Raises:
            ArgumentError: the image is not RGB, or a side of `size` is below 1.
        """
        if image.mode != "RGB":
            raise ArgumentError(f"image must have mode RGB, got {image.mode}")
        if min(size) < 1:
            raise ArgumentError(f"size must be (width, height) of at least 1 pixel, got {size}")
        return self.apply(image, size)


def nearest_jpeg(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Nearest-neighbour resize, then JPEG of quality 65 (4:2:0, Pillow's default tables)."""
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.NEAREST).save(buffer, format="JPEG", quality=JPEG_QUALITY)
    buffer.seek(0)
    with Image.open(buffer) as decoded:
        return decoded.convert("RGB")


DEGRADATIONS = {
    "bic": Degradation("Pillow's bicubic, which low-passes", resize),
    "nn65": Degradation(f"nearest pixels, then JPEG of quality {JPEG_QUALITY}", nearest_jpeg),
}
"""The degradations in the paper's tables (arXiv 2511.16341), by its names."""
