"""Resampling of rotated squares, against Pillow, formulas, and the filter in its literal form."""

from __future__ import annotations

from math import cos, pi, radians, sin

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from arasfsr.images.affine import Square, resample
from arasfsr.images.transform import resize

LEVEL = 1 / 255


def textured(width: int, height: int) -> Image.Image:
    """Blobs of a few pixels, in colours that no filter takes beyond black or white."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(60, 196, (height // 3, width // 3, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def whole(image: Image.Image) -> Square:
    return Square((image.width / 2, image.height / 2), image.width)


def values(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)) * LEVEL


def gray(pattern: Tensor) -> Image.Image:
    """An RGB image of values in [0, 1]."""
    return Image.fromarray((pattern * 255).round().byte().numpy()).convert("RGB")


def places(square: Square, side: int) -> tuple[Tensor, Tensor]:
    """x and y of the target's pixel centres in the image."""
    offset = ((torch.arange(side) + 0.5) / side - 0.5) * square.side
    right, down, angle = offset, offset.unsqueeze(1), radians(square.rotation)
    x = square.centre[0] + cos(angle) * right - sin(angle) * down
    return x, square.centre[1] + sin(angle) * right + cos(angle) * down


@pytest.mark.parametrize("side", [7, 24, 31, 60, 90, 99])
def test_without_rotation_it_is_resize_up_to_the_edges(side: int) -> None:
    image = textured(90, 90)
    found = resample(image, whole(image), side)
    assert (found - values(resize(image, (side, side)))).abs().max() < 1.5 * LEVEL


def test_a_part_of_an_image_is_resize_of_the_crop_within_it() -> None:
    image = textured(120, 90)
    found = resample(image, Square((57, 45), 60), 30)
    crop = values(resize(image.crop((27, 15, 87, 75)), (30, 30)))
    inner = slice(2, -2)  # at the edges the filter reads pixels around the crop
    assert (found - crop)[inner, inner].abs().max() < 1.5 * LEVEL


@pytest.mark.parametrize("rotation", [-45, -7, 3, 20, 45])
@pytest.mark.parametrize("side", [24, 40, 60])
def test_a_rotated_wave_is_the_wave_at_the_rotated_places(rotation: float, side: int) -> None:
    row, column = torch.arange(120).unsqueeze(1) + 0.5, torch.arange(150) + 0.5
    square = Square((77.3, 58.1), 60, rotation)

    def wave(x: Tensor, y: Tensor) -> Tensor:
        return 0.5 + 0.4 * torch.sin(2 * pi * (x / 37 + y / 53))

    found = resample(gray(wave(column, row)), square, side)
    assert (found - wave(*places(square, side)).unsqueeze(2)).abs().max() < 0.01


def literal(image: Image.Image, square: Square, side: int) -> Tensor:
    """The bicubic filter along the target's rows and columns, over all pixels at once."""
    angle, scale = radians(square.rotation), max(square.side / side, 1)
    x, y = (place.reshape(-1, 1, 1) for place in torch.broadcast_tensors(*places(square, side)))
    x, y = torch.arange(image.width) + 0.5 - x, torch.arange(image.height).unsqueeze(1) + 0.5 - y
    weights = kernel((cos(angle) * x + sin(angle) * y) / scale) * kernel((cos(angle) * y - sin(angle) * x) / scale)
    weights /= weights.sum((1, 2), keepdim=True)
    return torch.einsum("nyx,yxc->nc", weights, values(image)).view(side, side, 3)


def kernel(x: Tensor) -> Tensor:
    x = x.abs()
    outer = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x < 1, 1.5 * x**3 - 2.5 * x**2 + 1, torch.where(x < 2, outer, 0))


@pytest.mark.parametrize("side", [12, 30, 50])
def test_a_small_rotation_is_nearly_the_filter_along_the_rotated_axes(side: int) -> None:
    image = textured(90, 90)
    square = Square((46.2, 44.1), 50, 5)
    assert (resample(image, square, side) - literal(image, square, side)).abs().max() < 3 * LEVEL


@pytest.mark.parametrize("rotation", [0, 5, -30])
def test_a_fine_checkerboard_becomes_gray_when_it_shrinks(rotation: float) -> None:
    board = (torch.arange(96) + torch.arange(96).unsqueeze(1)) % 2
    found = resample(gray(board.float()), Square((48, 48), 60, rotation), 15)
    assert (found - 0.5).abs().max() < 0.02


def test_beyond_the_image_its_edge_continues() -> None:
    stripes = gray(torch.linspace(0.2, 0.8, 40).repeat(30, 1))
    found = resample(stripes, Square((20, 30), 40), 40)
    torch.testing.assert_close(found, found[:1].expand_as(found))
    assert (found[:, 1:, 0] > found[:, :-1, 0]).all()


@pytest.mark.parametrize("rotation", [0, 5, 45])
def test_an_image_of_one_colour_stays_so_within_and_beyond_it(rotation: float) -> None:
    image = Image.new("RGB", (50, 40), (10, 100, 250))
    found = resample(image, Square((3, 37), 45, rotation), 33)
    torch.testing.assert_close(found, torch.tensor([10, 100, 250.0]).mul(LEVEL).expand_as(found))


def test_a_large_image_gives_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    image, square = textured(90, 90), Square((40, 50), 80, 4)
    at_once = resample(image, square, 20)
    monkeypatch.setattr("arasfsr.images.affine.WEIGHTS", 1000)
    assert torch.equal(resample(image, square, 20), at_once)
