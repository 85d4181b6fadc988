"""PSNR and SSIM under the named protocols, against scikit-image and plain arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from arasfsr.evaluation.metrics import (
    PROTOCOLS,
    Protocol,
    Score,
    compared_values,
    from_pixels,
    psnr,
    score,
    ssim,
    truncated_luma,
)

PSNR_TOLERANCE = 1e-10
"""dB; the two sum float64 squares in different orders."""

SSIM_TOLERANCE = 1e-10
"""scikit-image's running window sums lose a few digits of float64 to cancellation in the variances."""


def photographs(height: int = 37, width: int = 52) -> tuple[np.ndarray, np.ndarray]:
    """A smooth picture, with a flat part and a saturated one, and a noisy copy."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:height, :width]
    waves = [120 + 110 * np.sin(x / (4 + c)) * np.cos(y / (7 - c)) for c in range(3)]
    target = np.clip(np.stack(waves, axis=-1), 0, 255)
    target[: height // 3, : width // 3] = 255
    noisy = np.clip(target + rng.normal(0, 12, target.shape), 0, 255)
    return noisy.round().astype(np.uint8), target.round().astype(np.uint8)


def float_luma(pixels: np.ndarray) -> np.ndarray:
    luma: np.ndarray = 16 + pixels.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255
    return luma


def exactly_truncated_luma(colour: tuple[int, int, int]) -> int:
    coefficients = (Fraction("65.481"), Fraction("128.553"), Fraction("24.966"))
    return math.floor(16 + sum(k * v for k, v in zip(coefficients, colour, strict=True)) / 255)


def of_skimage(protocol: Protocol, first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    if protocol == "rgb":
        return (
            peak_signal_noise_ratio(second, first, data_range=255),
            structural_similarity(first, second, data_range=255, channel_axis=2),
        )
    first, second = float_luma(first), float_luma(second)
    if protocol == "arasfsr":
        # a float product may end just below a whole number, which must not decide this test
        first, second = ((luma + 1e-9).astype(np.uint8) for luma in (first, second))
    return (
        peak_signal_noise_ratio(second, first, data_range=255),
        structural_similarity(first, second, data_range=255),
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_psnr_agrees_with_scikit_image(protocol: Protocol) -> None:
    first, second = photographs()
    measured = psnr(from_pixels(first), from_pixels(second), protocol)
    assert measured == pytest.approx(of_skimage(protocol, first, second)[0], abs=PSNR_TOLERANCE)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("size", [(37, 52), (7, 7), (7, 20)])
def test_ssim_agrees_with_scikit_image(protocol: Protocol, size: tuple[int, int]) -> None:
    first, second = photographs(*size)
    measured = ssim(from_pixels(first), from_pixels(second), protocol)
    assert measured == pytest.approx(of_skimage(protocol, first, second)[1], abs=SSIM_TOLERANCE)


@settings(deadline=None)  # time says nothing on a busy machine
@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_truncated_luma_is_exact(colour: tuple[int, int, int]) -> None:
    pixels = torch.tensor(colour, dtype=torch.float64).view(3, 1, 1)
    assert truncated_luma(pixels).item() == exactly_truncated_luma(colour)


@pytest.mark.parametrize("colour", [(6, 140, 9), (21, 131, 16), (255, 255, 255), (0, 0, 0)])
def test_truncated_luma_keeps_integers_that_a_float_product_may_miss(colour: tuple[int, int, int]) -> None:
    pixels = torch.tensor(colour, dtype=torch.float64).view(3, 1, 1)
    assert truncated_luma(pixels).item() == exactly_truncated_luma(colour)


def test_arasfsr_truncates_luma_and_y_float_does_not() -> None:
    image = from_pixels(np.full((1, 1, 3), 100, np.uint8))
    assert compared_values(image, "arasfsr").item() == 101
    assert compared_values(image, "y-float").item() == pytest.approx(16 + 219 * 100 / 255)


@pytest.mark.parametrize("protocol", ["arasfsr", "rgb"])
def test_integer_protocols_round_the_picture(protocol: Protocol) -> None:
    pixels = from_pixels(photographs()[0])
    noise = (torch.rand(pixels.shape, generator=torch.Generator().manual_seed(1)) - 0.5) * 0.98 / 255
    assert torch.equal(compared_values(pixels + noise, protocol), compared_values(pixels, protocol))


def test_y_float_does_not_round_the_picture() -> None:
    image = torch.full((3, 1, 1), 100.4 / 255, dtype=torch.float64)
    assert compared_values(image, "y-float").item() == pytest.approx(16 + 219 * 100.4 / 255, abs=1e-9)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_values_outside_the_range_are_clamped(protocol: Protocol) -> None:
    inside = torch.tensor([0.0, 1.0, 1.0]).view(3, 1, 1)
    outside = torch.tensor([-0.5, 1.5, 7.0]).view(3, 1, 1)
    assert torch.equal(compared_values(outside, protocol), compared_values(inside, protocol))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_float32_pictures_score_as_float64_ones(protocol: Protocol) -> None:
    first, second = map(from_pixels, photographs())
    assert psnr(first.float(), second.float(), protocol) == pytest.approx(psnr(first, second, protocol), abs=1e-5)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_equal_pictures_have_infinite_psnr_and_ssim_one(protocol: Protocol) -> None:
    image = from_pixels(photographs()[0])
    assert score(image, image, protocol) == Score(math.inf, 1.0)


def test_score_is_psnr_and_ssim() -> None:
    first, second = map(from_pixels, photographs())
    assert score(first, second, "rgb") == Score(psnr(first, second, "rgb"), ssim(first, second, "rgb"))


@pytest.mark.parametrize("size", [(6, 20), (20, 6)])
def test_a_picture_smaller_than_ssims_window_is_an_error(size: tuple[int, int]) -> None:
    image = torch.zeros(3, *size)
    with pytest.raises(ValueError, match=rf"at least 7 x 7 pixels for SSIM, got {size[0]} x {size[1]}"):
        ssim(image, image)


def test_pictures_of_different_sizes_are_an_error_that_names_both() -> None:
    with pytest.raises(ValueError, match=r"shape of target, \(3, 8, 9\), got \(3, 8, 8\)"):
        psnr(torch.zeros(3, 8, 8), torch.zeros(3, 8, 9))


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8), (1, 3, 8, 8)])
def test_a_picture_of_another_shape_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"picture must be \(3, H, W\)"):
        psnr(torch.zeros(shape), torch.zeros(shape))


def test_an_integer_picture_is_an_error() -> None:
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"floating point.*uint8"):
        psnr(image, image)


def test_empty_pictures_are_an_error() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        psnr(torch.zeros(3, 0, 8), torch.zeros(3, 0, 8))


def test_an_unknown_protocol_is_an_error_that_lists_the_known_ones() -> None:
    image = torch.zeros(3, 8, 8)
    with pytest.raises(ValueError, match=r"must be one of arasfsr, rgb, y-float, got 'y'"):
        psnr(image, image, "y")  # type: ignore[arg-type]


def test_pixels_that_are_not_uint8_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"uint8, got .* of float64"):
        from_pixels(np.zeros((8, 8, 3)))
