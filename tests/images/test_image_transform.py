"""RGB images of training, evaluation and preparation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from arasfsr.images.transform import largest_square, read_rgb, resize, to_tensor


def test_a_file_is_read_upright_as_8_bit_rgb_with_alpha_on_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (2, 1), (10, 20, 30, 255))
    image.putpixel((1, 0), (10, 20, 30, 0))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # rotate by 90 degrees clockwise
    image.save(tmp_path / "a.png", exif=exif)
    found = read_rgb(tmp_path / "a.png")
    assert (found.mode, found.size) == ("RGB", (1, 2))
    assert np.asarray(found)[:, 0].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_16_bits_are_rounded_to_8(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 200, 32768, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert np.asarray(read_rgb(tmp_path / "a.png"))[0].tolist() == [[v, v, v] for v in (0, 1, 128, 255)]


def test_a_tensor_is_channels_first_in_minus_1_to_1() -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    pixels[0, 0] = 0, 255, 51
    found = to_tensor(Image.fromarray(pixels))
    assert (found.shape, found.dtype) == ((3, 2, 3), torch.float32)
    assert found[:, 0, 0].tolist() == pytest.approx([-1, 1, -0.6])
    assert found[1, 1, 2].item() == pytest.approx(16 / 127.5 - 1)


@pytest.mark.parametrize(("size", "box"), [((7, 4), (1, 0, 5, 4)), ((4, 7), (0, 1, 4, 5)), ((4, 4), (0, 0, 4, 4))])
def test_the_largest_square_is_centred(size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    image = Image.fromarray(np.arange(size[0] * size[1], dtype=np.uint8).reshape(size[1], size[0]))
    assert largest_square(image).tobytes() == image.crop(box).tobytes()


def test_an_image_of_the_size_is_not_resized() -> None:
    image = Image.new("RGB", (5, 4))
    assert resize(image, (5, 4)) is image
    assert resize(image, (4, 5)).size == (4, 5)
