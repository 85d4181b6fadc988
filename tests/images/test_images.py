"""Pictures in memory: modes, channels and sizes of what comes back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models import small_model
from pictures import noise
from PIL import Image

from arasfsr import ImageError, ImplicitSR
from arasfsr.images.raster import Raster, flatten_on_white, from_pil, round_to_8_bits, to_pil
from arasfsr.upscaling import upscale_pil, upscale_raster


@pytest.fixture(scope="module")
def model() -> ImplicitSR:
    return small_model("without frequency")


def picture(mode: str) -> Image.Image:
    """Noise, 6 wide and 5 high, of that mode."""
    if mode.startswith("I;16"):
        pixels = noise(5, 6, dtype=np.uint16).astype(">u2" if mode == "I;16B" else "<u2")
        return Image.frombytes(mode, (6, 5), pixels.tobytes())
    if mode == "PA":
        return Image.fromarray(noise(5, 6)).convert("P").convert("PA")
    image = Image.fromarray(noise(5, 6, 4))
    if mode in ("La", "LA"):
        return image.convert("LA").convert(mode)
    return image.convert(mode) if mode in ("RGBA", "RGBa") else image.convert("RGB").convert(mode)


@pytest.mark.parametrize(
    "mode",
    ["1", "L", "LA", "La", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "I;16", "I;16B"],
)
def test_an_upscaled_image_keeps_its_mode_and_has_the_size_asked_for(model: ImplicitSR, mode: str) -> None:
    result = upscale_pil(model, picture(mode), (11, 13))
    assert (result.mode, result.size) == (mode, (13, 11))


@pytest.mark.parametrize("mode", ["I", "F", "LAB"])
def test_a_mode_without_an_8_or_16_bit_picture_is_refused_by_name(model: ImplicitSR, mode: str) -> None:
    with pytest.raises(ImageError, match=f"mode must be .*, got {mode}$"):
        upscale_pil(model, Image.new(mode, (4, 4)), (8, 8))


def test_a_palette_becomes_rgb(model: ImplicitSR) -> None:
    assert upscale_pil(model, picture("P"), (8, 8)).mode == "RGB"


def test_a_palette_with_a_transparent_colour_becomes_rgba(model: ImplicitSR) -> None:
    image = picture("P")
    image.info["transparency"] = image.getpixel((0, 0))
    assert upscale_pil(model, image, (8, 8)).mode == "RGBA"


def test_a_palette_with_alpha_becomes_rgba(model: ImplicitSR) -> None:
    assert upscale_pil(model, picture("PA"), (8, 8)).mode == "RGBA"


def test_a_transparent_colour_of_a_grayscale_image_becomes_alpha(model: ImplicitSR) -> None:
    image = Image.new("L", (4, 4), 7)
    image.info["transparency"] = 7
    result = upscale_pil(model, image, (8, 8))
    assert result.mode == "LA"
    assert result.getchannel("A").getextrema() == (0, 0)


def test_colour_is_that_of_the_same_image_without_alpha(model: ImplicitSR) -> None:
    image = picture("RGBA")
    opaque = upscale_pil(model, Image.fromarray(np.asarray(image)[..., :3].copy()), (9, 9))
    assert np.array_equal(np.asarray(upscale_pil(model, image, (9, 9)))[..., :3], np.asarray(opaque))


def test_alpha_is_bicubic(model: ImplicitSR) -> None:
    image = picture("RGBA")
    expected = image.getchannel("A").resize((9, 8), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(upscale_pil(model, image, (8, 9)).getchannel("A")), np.asarray(expected))


def test_16_bit_alpha_follows_8_bit_alpha(model: ImplicitSR) -> None:
    alpha = noise(6, 6)
    shallow = upscale_raster(model, Raster(noise(6, 6, 3), alpha), (9, 9)).alpha
    deep = Raster(noise(6, 6, 3, dtype=np.uint16), alpha.astype(np.uint16) * 257)
    deep_alpha = upscale_raster(model, deep, (9, 9)).alpha
    assert shallow is not None
    assert deep_alpha is not None
    assert deep_alpha.dtype == np.uint16
    assert np.abs(deep_alpha / 257 - shallow).max() < 1


def test_grayscale_is_the_luma_of_the_result_in_rgb(model: ImplicitSR) -> None:
    gray = noise(5, 6)
    colour = upscale_raster(model, Raster(np.stack((gray,) * 3, axis=-1)), (9, 8)).colour
    expected = Image.fromarray(colour).convert("L")
    result = upscale_raster(model, Raster(gray), (9, 8)).colour
    assert np.abs(result.astype(int) - np.asarray(expected)).max() <= 1  # Pillow's luma is in integers


def test_16_bit_grayscale_keeps_more_than_8_bits(model: ImplicitSR) -> None:
    result = upscale_raster(model, Raster(noise(6, 6, dtype=np.uint16)), (12, 12)).colour
    assert result.dtype == np.uint16
    assert (result % 257 != 0).any()


def test_profile_and_resolution_go_with_the_image(model: ImplicitSR) -> None:
    image = picture("RGB")
    image.info.update(icc_profile=b"profile", dpi=(300.0, 300.0))
    result = upscale_pil(model, image, (8, 8))
    assert (result.info["icc_profile"], result.info["dpi"]) == (b"profile", (300.0, 300.0))


def test_the_image_given_is_not_changed(model: ImplicitSR) -> None:
    image = picture("RGBA")
    before = image.tobytes()
    upscale_pil(model, image, (8, 8))
    assert image.tobytes() == before


def test_progress_is_told_of_every_row_once(model: ImplicitSR) -> None:
    rows: list[int] = []
    upscale_pil(model, picture("RGB"), (31, 7), progress=rows.append)
    assert sum(rows) == 31


@pytest.mark.parametrize("size", [(1, 1), (1, 64), (3, 5)])
def test_one_pixel_can_become_any_size(model: ImplicitSR, size: tuple[int, int]) -> None:
    assert upscale_pil(model, Image.new("RGB", (1, 1)), size).size == size[::-1]


def test_the_model_upscales_pil_images(model: ImplicitSR) -> None:
    assert model.upscale(picture("L"), scale=3.7).size == (22, 18)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_channels_of_an_image_and_back_are_the_image(mode: str) -> None:
    image = picture(mode)
    assert np.array_equal(np.asarray(to_pil(from_pil(image))), np.asarray(image))


def test_pil_has_no_mode_for_16_bit_colour() -> None:
    with pytest.raises(ImageError, match="16-bit colour"):
        to_pil(Raster(noise(2, 2, 3, dtype=np.uint16)))


def test_flattening_shows_colour_where_opaque_and_white_where_transparent() -> None:
    raster = Raster(np.array([[[10, 20, 30]] * 3], np.uint8), np.array([[255, 0, 51]], np.uint8))
    flat = flatten_on_white(raster)
    assert flat.alpha is None
    assert flat.colour.tolist() == [[[10, 20, 30], [255, 255, 255], [206, 208, 210]]]


def test_rounding_to_8_bits_is_to_nearest() -> None:
    rounded = round_to_8_bits(Raster(np.array([[0, 128, 129, 65406, 65407, 65535]], np.uint16)))
    assert rounded.colour.dtype == np.uint8
    assert rounded.colour.tolist() == [[0, 0, 1, 254, 255, 255]]


def test_an_upscaled_tensor_can_be_used_in_a_loss(model: ImplicitSR) -> None:
    sr = model.upscale(torch.rand(1, 3, 4, 5), scale=2)
    weight = torch.ones(1, requires_grad=True)
    (sr * weight).sum().backward()
    assert weight.grad == sr.sum()


@pytest.mark.parametrize("scale", [np.float32(2), np.int64(2)])
def test_numpy_numbers_are_scales_too(model: ImplicitSR, scale: float) -> None:
    assert model.upscale(picture("L"), scale=scale).size == model.upscale(picture("L"), scale=2).size


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf"), True, "2"])
def test_a_bad_scale_is_named(model: ImplicitSR, scale: float) -> None:
    with pytest.raises(ValueError, match="scale must be a finite number above 0, got "):
        model.upscale(picture("L"), scale=scale)
