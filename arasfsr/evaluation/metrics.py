"""Image quality: PSNR and SSIM under named protocols.

Pictures are float tensors (3, H, W) with RGB in [0, 1]; values outside are clamped. A protocol says which values are
compared, always with a peak of 255:

- "arasfsr", as in the paper's tables (arXiv 2511.16341): RGB rounded to integers 0 .. 255, then luma truncated to
  integers.
- "rgb": RGB rounded to integers 0 .. 255.
- "y-float": luma without any rounding. To score what a file would hold, pass `from_pixels` of rounded pixels.

None of them crops a border.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from arasfsr.errors import ArgumentError

Protocol = Literal["arasfsr", "rgb", "y-float"]

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

PEAK = 255
"""The peak of PSNR and the data range of SSIM."""

LUMA_STUDIO = (65.481, 128.553, 24.966)
"""Weights of R, G and B in [0, 1] for BT.601 luma in studio range, 16 .. 235."""

_LUMA_THOUSANDTHS = tuple(round(1000 * weight) for weight in LUMA_STUDIO)
"""LUMA_STUDIO as integers, so that truncation does not depend on how a float product was rounded."""

_LUMA_TEXT = "luma (16 + {} R + {} G + {} B) of uint8 pictures".format(*LUMA_STUDIO)

PROTOCOL_TEXT: dict[Protocol, str] = {
    "arasfsr": f"{_LUMA_TEXT}, truncated to uint8; no border cropped",
    "rgb": "RGB of uint8 pictures; no border cropped",
    "y-float": f"{_LUMA_TEXT}, not rounded; no border cropped",
}
"""What each protocol compares, in words, if pictures are rounded to uint8 first, as evaluation does."""

SSIM_WINDOW = 7
"""Side of SSIM's uniform window, scikit-image's default."""

SSIM_STABILISERS = ((0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2)
"""C1 and C2 of SSIM (Wang et al. 2004), with K1 = 0.01 and K2 = 0.03."""


class Score(NamedTuple):
    """The quality of a picture, or its mean over pictures."""

    psnr: float
    """dB, higher is better; infinite for equal pictures."""
    ssim: float
    """At most 1, higher is better."""
    lpips: float | None = None
    """At least 0, lower is better; None if it was not measured."""


def from_pixels(pixels: np.ndarray) -> Tensor:
    """uint8 pixels (H, W, 3) to a picture (3, H, W), float64 in [0, 1].

    Raises:
        ArgumentError: the array has another shape or dtype.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ArgumentError(f"pixels must be (H, W, 3) of uint8, got {pixels.shape} of {pixels.dtype}")
    return torch.from_numpy(pixels.astype(np.float64) / PEAK).permute(2, 0, 1)


def luma(image: Tensor) -> Tensor:
    """Y = 16 + RGB . LUMA_STUDIO: (..., 3, H, W) in [0, 1] to (..., H, W) in [16, 235]."""
    weights = image.new_tensor(LUMA_STUDIO).view(3, 1, 1)
    return 16 + (image * weights).sum(dim=-3)


def truncated_luma(pixels: Tensor) -> Tensor:
    """Truncated Y: (..., 3, H, W) integers 0 .. 255 in float64 to (..., H, W) integers 16 .. 235.

    Exact. The float product of the paper's code is one lower for a few dozen of the 2^24 colours, among those whose Y
    is an integer; which ones depends on the machine.
    """
    weights = pixels.new_tensor(_LUMA_THOUSANDTHS).view(3, 1, 1)
    return 16 + ((pixels * weights).sum(dim=-3) / (1000 * PEAK)).floor()


def compared_values(image: Tensor, protocol: Protocol) -> Tensor:
    """The values that `protocol` compares: a picture (3, H, W) in [0, 1] to (1 or 3, H, W), float64 in [0, 255].

    Raises:
        ArgumentError: the picture is not (3, H, W) of floating point, or there is no such protocol.
    """
    if image.dim() != 3 or image.shape[0] != 3 or not image.is_floating_point():
        raise ArgumentError(
            f"picture must be (3, H, W) of floating point in [0, 1], got {tuple(image.shape)} of {image.dtype}"
        )
    image = image.double().clamp(0, 1)
    if protocol == "y-float":
        return luma(image).unsqueeze(0)
    pixels = (image * PEAK).round()
    if protocol == "rgb":
        return pixels
    if protocol == "arasfsr":
        return truncated_luma(pixels).unsqueeze(0)
    raise ArgumentError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {protocol!r}")


def psnr(prediction: Tensor, target: Tensor, protocol: Protocol = "arasfsr") -> float:
    """PSNR in dB, with a peak of 255, of two pictures (3, H, W) in [0, 1]; infinite if they are equal.

    Raises:
        ArgumentError: the pictures differ in shape, are not (3, H, W), are empty, or there is no such protocol.
    """
    return _psnr(*_compared_pair(prediction, target, protocol))


def ssim(prediction: Tensor, target: Tensor, protocol: Protocol = "arasfsr") -> float:
    """Mean structural similarity (Wang et al. 2004) of two pictures (3, H, W) in [0, 1], at most 1.

    With scikit-image's defaults: a uniform 7 x 7 window, sample covariance, and the mean over all channels and all
    windows inside the picture.

    Raises:
        ArgumentError: the pictures differ in shape, are not (3, H, W), have a side below 7, or there is no such
            protocol.
    """
    return _ssim(*_compared_pair(prediction, target, protocol))


def score(prediction: Tensor, target: Tensor, protocol: Protocol = "arasfsr") -> Score:
    """`psnr` and `ssim` of the same pictures."""
    compared = _compared_pair(prediction, target, protocol)
    return Score(_psnr(*compared), _ssim(*compared))


def _compared_pair(prediction: Tensor, target: Tensor, protocol: Protocol) -> tuple[Tensor, Tensor]:
    if prediction.shape != target.shape:
        raise ArgumentError(
            f"prediction must have the shape of target, {tuple(target.shape)}, got {tuple(prediction.shape)}"
        )
    if target.numel() == 0:
        raise ArgumentError(f"pictures must not be empty, got {tuple(target.shape)}")
    return compared_values(prediction, protocol), compared_values(target, protocol)


def _psnr(prediction: Tensor, target: Tensor) -> float:
    error = ((prediction - target) ** 2).mean().item()
    return math.inf if error == 0 else 10 * math.log10(PEAK**2 / error)


def _ssim(first: Tensor, second: Tensor) -> float:
    if min(first.shape[1:]) < SSIM_WINDOW:
        height, width = first.shape[1:]
        raise ArgumentError(
            f"picture must have at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels for SSIM, got {height} x {width}"
        )
    pixels = SSIM_WINDOW**2
    unbiased = pixels / (pixels - 1)
    mean1, mean2 = _window_mean(first), _window_mean(second)
    variance1 = unbiased * (_window_mean(first * first) - mean1 * mean1)
    variance2 = unbiased * (_window_mean(second * second) - mean2 * mean2)
    covariance = unbiased * (_window_mean(first * second) - mean1 * mean2)
    c1, c2 = SSIM_STABILISERS
    luminance = (2 * mean1 * mean2 + c1) / (mean1**2 + mean2**2 + c1)
    contrast_structure = (2 * covariance + c2) / (variance1 + variance2 + c2)
    return float((luminance * contrast_structure).mean())


def _window_mean(image: Tensor) -> Tensor:
    """Mean over each window: (C, H, W) to (C, H - 6, W - 6)."""
    return avg_pool2d(image.unsqueeze(0), SSIM_WINDOW, stride=1)[0]
