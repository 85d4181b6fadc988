"""Random changes of a training image."""

from __future__ import annotations

import numpy as np
from PIL import Image

from arasfsr.images.affine import Square, resample
from arasfsr.images.transform import Box
from arasfsr.training.config import AugmentConfig


def augmented(image: Image.Image, box: Box, side: int, config: AugmentConfig, rng: np.random.Generator) -> Image.Image:
    """A square of an RGB image, randomly rotated, zoomed and shifted, resized to `side`, with other colours.

    Pixels are resampled once; without changes the result is `resize` of the crop, within a rounding and except that
    the filter reads pixels around the crop.
    """
    left, top, right, bottom = box
    rotation = rng.uniform(-config.rotation, config.rotation)
    length = (right - left) / rng.uniform(*config.zoom)
    shift = rng.uniform(-config.shift, config.shift, 2) * (right - left)
    contrast = 1 + rng.uniform(-config.contrast, config.contrast)
    brightness = rng.uniform(-config.brightness, config.brightness)
    centre = (left + right) / 2 + shift[0], (top + bottom) / 2 + shift[1]
    changed = (resample(image, Square(centre, length, rotation), side) - 0.5) * contrast + 0.5 + brightness
    return Image.fromarray((changed * 255).round().clamp(0, 255).byte().numpy())
