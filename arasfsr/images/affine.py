"""Resampling of a rotated square of an image with Pillow's bicubic filter."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, cos, floor, radians, sin

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SUPPORT = 2
"""Half the width of the bicubic kernel."""

WEIGHTS = 1 << 20
"""About how many weights are kept at a time: a few tens of megabytes, also for large images."""


@dataclass(frozen=True)
class Square:
    """A square part of an image, which may extend beyond it. Lengths are in pixels, from the upper left corner."""

    centre: tuple[float, float]
    """(x, y), a point of the image."""
    side: float
    rotation: float = 0.0
    """Degrees, clockwise, from -45 to 45."""


def resample(image: Image.Image, square: Square, side: int) -> Tensor:
    """Resize a square of an RGB image to (side, side, 3), float32; white is 1, and overshoots are not clipped.

    As in Pillow, one pass filters the rows, a second the columns, with a bicubic kernel that is widened to antialias
    where the target is coarser, and without weight beyond the image. For a rotation the first pass is sheared: it finds
    where the target's columns cross each row. Beyond the image its edge continues.
    """
    spacing, cosine, sine = square.side / side, cos(radians(square.rotation)), sin(radians(square.rotation))
    reach = square.side / 2 * (cosine + abs(sine)) + 2 * SUPPORT * max(spacing / cosine, 1) + 1
    left, top = (floor(centre - reach) for centre in square.centre)
    right, bottom = (ceil(centre + reach) for centre in square.centre)
    pixels = torch.from_numpy(np.array(image.convert("RGBA").crop((left, top, right, bottom)))).float()  # 0 outside

    offset = (torch.arange(side) - (side - 1) / 2) * spacing
    row = torch.arange(top, bottom).unsqueeze(1) + 0.5
    x = (square.centre[0] + offset / cosine - (row - square.centre[1]) * (sine / cosine)).clamp_(0, image.width)
    y = (square.centre[1] + offset.unsqueeze(1) * sine + offset * cosine).clamp_(0, image.height)  # by columns
    pixels = _filter(pixels, x - left, spacing / cosine)
    pixels = _filter(pixels.transpose(0, 1), y - top, spacing * cosine).transpose(0, 1)
    return pixels[..., :3] / pixels[..., 3:]  # alpha is the sum of the weights within the image, times 255


def _filter(pixels: Tensor, positions: Tensor, spacing: float) -> Tensor:
    """Filter rows of pixels, (h, w, 4), at n positions in each, (h, n), which are `spacing` pixels apart: (h, n, 4)."""
    scale = max(spacing, 1.0)
    taps = ceil(2 * SUPPORT * scale)
    rows = ceil(WEIGHTS / (taps * positions.shape[1]))
    parts = zip(pixels.split(rows), positions.split(rows), strict=True)
    return torch.cat([_filter_some(*part, scale, taps) for part in parts])


def _filter_some(pixels: Tensor, positions: Tensor, scale: float, taps: int) -> Tensor:
    """`_filter` of some rows, with a kernel that is `scale` times wider than bicubic and reads `taps` pixels."""
    height, width, channels = pixels.shape
    first = (positions - (SUPPORT * scale - 0.5)).floor_().clamp_(0, width - taps)
    weights = _bicubic(((first + 0.5 - positions) / scale).view(-1, 1) + torch.arange(taps) / scale)
    start = first.int() + torch.arange(0, height * width, width, dtype=torch.int32).unsqueeze(1)
    index = start.view(-1, 1) + torch.arange(taps, dtype=torch.int32)
    table = pixels.reshape(-1, channels)
    sums = torch.nn.functional.embedding_bag(index, table, mode="sum", per_sample_weights=weights)
    return sums.view(height, -1, channels)


def _bicubic(x: Tensor) -> Tensor:
    """The cubic convolution kernel of Keys (1981) with a = -0.5."""
    x = x.abs_()
    outer = (2 - x).clamp_(min=0).square_().mul_(1 - x).div_(2)
    return (1 - x).clamp_(min=0).square_().mul_(2 * x - 1).add_(outer)
