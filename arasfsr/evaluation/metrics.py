"""Image quality: PSNR and SSIM under named protocols.

Pictures are float tensors (3, H, W) with RGB in [0, 1]; values outside count as the nearest inside. A protocol says
which values are compared, always over a peak of 255:

- "arasfsr", as the paper's tables (arXiv 2511.16341) were made: RGB rounded to whole numbers 0 .. 255, then luma
  truncated to whole numbers.
- "rgb": RGB rounded to whole numbers 0 .. 255.
- "y-float": luma of the values as they are, nothing rounded. To score what a file would hold, give `from_pixels` of
  rounded pixels.

No border is cropped under any of them.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

Protocol = Literal["arasfsr", "rgb", "y-float"]

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

PROTOCOL_TEXT: dict[Protocol, str] = {
    "arasfsr": "luma (16 + 65.481 R + 128.553 G + 24.966 B) of uint8 pictures, truncated to uint8; no border cropped",
    "rgb": "RGB of uint8 pictures; no border cropped",
    "y-float": "luma (16 + 65.481 R + 128.553 G + 24.966 B) of uint8 pictures, not rounded; no border cropped",
}
"""What each protocol compares when the pictures are rounded to uint8 first, as evaluation does, in words."""

PEAK = 255
"""The peak of PSNR and the data range of SSIM."""

LUMA = (65.481, 128.553, 24.966)
"""BT.601 luma of RGB in [0, 1], on 16 .. 235."""

LUMA_THOUSANDTHS = (65481, 128553, 24966)
"""LUMA in thousandths: whole numbers, so that truncation does not hang on how a float product was rounded."""

SSIM_WINDOW = 7
"""Side of SSIM's uniform window, scikit-image's default."""

SSIM_STABILISERS = ((0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2)
"""C1 and C2 of SSIM (Wang et al. 2004), with K1 = 0.01 and K2 = 0.03."""


class Score(NamedTuple):
    """A picture's quality, or the mean of several pictures'."""

    psnr: float
    """dB; infinite for equal pictures."""
    ssim: float
    """At most 1."""
    lpips: float | None = None
    """At least 0, lower is better; None where it was not measured."""


def from_pixels(pixels: np.ndarray) -> Tensor:
    """Pixels (H, W, 3), uint8, as a picture (3, H, W), float64 in [0, 1].

    Raises:
        ValueError: the array has another shape or dtype.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"pixels have shape {pixels.shape} and dtype {pixels.dtype}; taken is (H, W, 3), uint8")
    return torch.from_numpy(pixels.astype(np.float64) / PEAK).permute(2, 0, 1)


def luma(image: Tensor) -> Tensor:
    """Y = 16 + RGB . LUMA of (..., 3, H, W) in [0, 1]: (..., H, W) in [16, 235]."""
    weights = image.new_tensor(LUMA).view(3, 1, 1)
    return 16 + (image * weights).sum(dim=-3)


def truncated_luma(pixels: Tensor) -> Tensor:
    """Y of (..., 3, H, W) whole numbers 0 .. 255 in float64, truncated: (..., H, W) whole numbers 16 .. 235.

    Exact. A float product, which the paper's code takes, ends one lower for a few dozen of the 2^24 colours, among
    those whose Y is a whole number; which ones depends on the machine.
    """
    weights = pixels.new_tensor(LUMA_THOUSANDTHS).view(3, 1, 1)
    return 16 + ((pixels * weights).sum(dim=-3) / (1000 * PEAK)).floor()


def compared_values(image: Tensor, protocol: Protocol) -> Tensor:
    """What `protocol` compares of a picture (3, H, W) in [0, 1]: (1 or 3, H, W), float64 on 0 .. 255.

    Raises:
        ValueError: the picture is not a floating-point (3, H, W), or there is no such protocol.
    """
    if image.dim() != 3 or image.shape[0] != 3 or not image.is_floating_point():
        raise ValueError(
            f"picture is {tuple(image.shape)} of {image.dtype}; taken is (3, H, W), floating point, in [0, 1]"
        )
    image = image.double().clamp(0, 1)
    if protocol == "y-float":
        return luma(image).unsqueeze(0)
    pixels = (image * PEAK).round()
    if protocol == "rgb":
        return pixels
    if protocol == "arasfsr":
        return truncated_luma(pixels).unsqueeze(0)
    raise ValueError(f"protocol={protocol!r}; taken are {', '.join(PROTOCOLS)}")


def psnr(prediction: Tensor, target: Tensor, protocol: Protocol = "arasfsr") -> float:
    """PSNR in dB over a peak of 255 of two pictures (3, H, W) in [0, 1]; infinite for equal ones.

    Raises:
        ValueError: the pictures are not of one such shape, are empty, or there is no such protocol.
    """
    return _psnr(*_compared_pair(prediction, target, protocol))


def ssim(prediction: Tensor, target: Tensor, protocol: Protocol = "arasfsr") -> float:
    """Mean structural similarity (Wang et al. 2004) of two pictures (3, H, W) in [0, 1], at most 1.

    With scikit-image's defaults: a uniform 7 x 7 window, sample covariance, the mean over windows that lie wholly
    inside, over all channels.

    Raises:
        ValueError: the pictures are not of one such shape, a side is below 7, or there is no such protocol.
    """
    return _ssim(*_compared_pair(prediction, target, protocol))


def score(prediction: Tensor, target: Tensor, protocol: Protocol = "arasfsr") -> Score:
    """`psnr` and `ssim` of the same pictures."""
    compared = _compared_pair(prediction, target, protocol)
    return Score(_psnr(*compared), _ssim(*compared))


def _compared_pair(prediction: Tensor, target: Tensor, protocol: Protocol) -> tuple[Tensor, Tensor]:
    if prediction.shape != target.shape:
        raise ValueError(f"prediction has shape {tuple(prediction.shape)}, target {tuple(target.shape)}")
    if target.numel() == 0:
        raise ValueError(f"the pictures are empty: {tuple(target.shape)}")
    return compared_values(prediction, protocol), compared_values(target, protocol)


def _psnr(prediction: Tensor, target: Tensor) -> float:
    error = ((prediction - target) ** 2).mean().item()
    return math.inf if error == 0 else 10 * math.log10(PEAK**2 / error)


def _ssim(first: Tensor, second: Tensor) -> float:
    if min(first.shape[1:]) < SSIM_WINDOW:
        height, width = first.shape[1:]
        raise ValueError(
            f"picture of {height} x {width} pixels; SSIM's window takes {SSIM_WINDOW} x {SSIM_WINDOW} or more"
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
    """Mean over each window inside: (C, H, W) to (C, H - 6, W - 6)."""
    return avg_pool2d(image.unsqueeze(0), SSIM_WINDOW, stride=1)[0]
