"""The degradations that make LR inputs."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from arasfsr.images.transform import DEGRADATIONS


@pytest.fixture
def photograph() -> Image.Image:
    y, x = np.mgrid[:48, :48]
    waves = [120 + 100 * np.sin(x / (2 + c)) * np.cos(y / (3 + c)) for c in range(3)]
    return Image.fromarray(np.stack(waves, axis=-1).round().astype(np.uint8))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def test_the_papers_degradations_are_listed() -> None:
    assert list(DEGRADATIONS) == ["bic", "nn65"]


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_the_result_is_rgb_of_the_size_asked_for(name: str, photograph: Image.Image) -> None:
    small = DEGRADATIONS[name](photograph, (13, 11))
    assert (small.mode, small.size) == ("RGB", (13, 11))


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_the_input_is_not_modified(name: str, photograph: Image.Image) -> None:
    before = photograph.tobytes()
    DEGRADATIONS[name](photograph, (13, 11))
    assert photograph.tobytes() == before


def test_bic_is_pillows_bicubic(photograph: Image.Image) -> None:
    expected = photograph.resize((12, 12), Image.Resampling.BICUBIC)
    assert DEGRADATIONS["bic"](photograph, (12, 12)).tobytes() == expected.tobytes()


def test_bic_returns_an_image_of_that_size_unchanged(photograph: Image.Image) -> None:
    assert DEGRADATIONS["bic"](photograph, photograph.size).tobytes() == photograph.tobytes()


def test_nn65_is_a_jpeg_of_quality_65_of_the_nearest_pixels(photograph: Image.Image) -> None:
    nearest = Image.fromarray(np.asarray(photograph)[2::4, 2::4].copy())
    buffer = io.BytesIO()
    nearest.save(buffer, format="JPEG", quality=65)
    expected = Image.open(io.BytesIO(buffer.getvalue()))
    assert DEGRADATIONS["nn65"](photograph, (12, 12)).tobytes() == expected.tobytes()


def test_nn65_is_lossy_even_at_the_size_of_the_image(photograph: Image.Image) -> None:
    change = np.abs(pixels(DEGRADATIONS["nn65"](photograph, photograph.size)) - pixels(photograph))
    assert 0 < change.mean() < 20


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_an_image_that_is_not_rgb_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="image must have mode RGB, got L"):
        DEGRADATIONS[name](Image.new("L", (8, 8)), (4, 4))


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_size_below_one_pixel_is_an_error(name: str, photograph: Image.Image) -> None:
    with pytest.raises(ValueError, match=r"size must be .*, got \(0, 4\)"):
        DEGRADATIONS[name](photograph, (0, 4))
