"""Pictures on disk: what is read, what is kept on writing, and what is said about files that cannot be."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import noise
from PIL import Image, ImageCms, ImageOps

from arasfsr import ImageError
from arasfsr.images.files import FORMATS, check_target, read_image, turn_upright, write_image
from arasfsr.images.raster import Raster

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY_PROFILE = SRGB[:16] + b"GRAY" + SRGB[20:]
ORIENTATION = 0x0112


def deep_noise(*shape: int) -> np.ndarray:
    return noise(*shape, dtype=np.uint16)


def saved(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def same(raster: Raster, other: Raster) -> bool:
    if (raster.alpha is None) != (other.alpha is None):
        return False
    alike = raster.alpha is None or other.alpha is None or np.array_equal(raster.alpha, other.alpha)
    return alike and raster.colour.dtype == other.colour.dtype and np.array_equal(raster.colour, other.colour)


def written(path: Path, raster: Raster) -> Raster:
    write_image(path, raster)
    return read_image(path)


# What is kept.


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF", ".bmp"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)], ids=["gray", "colour"])
def test_8_bits_come_back_exactly(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    raster = Raster(noise(*shape))
    assert same(written(tmp_path / f"a{suffix}", raster), raster)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)], ids=["gray", "colour"])
def test_8_bits_with_alpha_come_back_exactly(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    raster = Raster(noise(*shape), noise(5, 7))
    assert same(written(tmp_path / f"a{suffix}", raster), raster)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grayscale_comes_back_exactly(tmp_path: Path, suffix: str) -> None:
    raster = Raster(deep_noise(5, 7))
    assert same(written(tmp_path / f"a{suffix}", raster), raster)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("alpha", [False, True], ids=["opaque", "alpha"])
def test_16_bit_colour_comes_back_exactly(tmp_path: Path, suffix: str, alpha: bool) -> None:
    pytest.importorskip("cv2")
    pytest.importorskip("tifffile")
    raster = Raster(deep_noise(5, 7, 3), deep_noise(5, 7) if alpha else None)
    assert same(written(tmp_path / f"a{suffix}", raster), raster)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_formats_come_back_nearly(tmp_path: Path, suffix: str) -> None:
    ramp = np.arange(0, 256, 8, dtype=np.uint8)
    colour = np.stack(np.broadcast_arrays(ramp, ramp[:, None], ramp), axis=-1)
    result = written(tmp_path / f"a{suffix}", Raster(np.ascontiguousarray(colour)))
    assert np.abs(result.colour.astype(int) - colour).max() < 16


def test_jpeg_is_written_with_full_chroma(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", Raster(noise(16, 16, 3)))
    with Image.open(tmp_path / "a.jpg") as image:
        assert {layer[1:3] for layer in image.layer} == {(1, 1)}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_an_icc_profile_is_kept(tmp_path: Path, suffix: str) -> None:
    result = written(tmp_path / f"a{suffix}", Raster(noise(5, 7, 3), icc_profile=SRGB))
    assert result.icc_profile == SRGB


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_an_icc_profile_is_kept_with_16_bit_colour(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("cv2")
    pytest.importorskip("tifffile")
    result = written(tmp_path / f"a{suffix}", Raster(deep_noise(5, 7, 3), icc_profile=SRGB))
    assert result.icc_profile == SRGB


def test_a_grayscale_profile_is_not_put_on_colour(tmp_path: Path) -> None:
    assert written(tmp_path / "gray.png", Raster(noise(5, 7), icc_profile=GRAY_PROFILE)).icc_profile == GRAY_PROFILE
    assert written(tmp_path / "gray.webp", Raster(noise(5, 7), icc_profile=GRAY_PROFILE)).icc_profile is None


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_the_resolution_is_kept(tmp_path: Path, suffix: str) -> None:
    result = written(tmp_path / f"a{suffix}", Raster(noise(5, 7, 3), dpi=(300.0, 150.0)))
    assert result.dpi == pytest.approx((300, 150), rel=1e-3)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_the_resolution_is_kept_with_16_bit_colour(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("cv2")
    pytest.importorskip("tifffile")
    result = written(tmp_path / f"a{suffix}", Raster(deep_noise(5, 7, 3), dpi=(300.0, 150.0)))
    assert result.dpi == pytest.approx((300, 150), rel=1e-3)


# What a format cannot hold.


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
def test_alpha_is_flattened_on_white_with_a_notice(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    result = written(tmp_path / f"a{suffix}", Raster(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)))
    assert result.alpha is None
    assert result.colour.min() == 255
    assert "flattened on white" in caplog.text


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp"])
def test_16_bits_are_rounded_with_a_notice(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    result = written(tmp_path / f"a{suffix}", Raster(np.full((8, 8, 3), 65406, np.uint16)))
    assert np.unique(result.colour).tolist() == [254]
    assert "rounded to 8 bits" in caplog.text


# What is read.


@pytest.mark.parametrize("orientation", range(1, 9))
def test_arrays_are_turned_upright_as_pillow_turns_images(orientation: int) -> None:
    image = Image.fromarray(noise(5, 7, 3))
    image.getexif()[ORIENTATION] = orientation
    expected = ImageOps.exif_transpose(image)
    assert np.array_equal(turn_upright(np.asarray(image), orientation), np.asarray(expected))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_exif_rotation_is_applied_once_and_not_written_again(tmp_path: Path, suffix: str) -> None:
    pixels, exif = noise(5, 7, 3), Image.Exif()
    exif[ORIENTATION] = 6
    raster = read_image(saved(tmp_path / f"a{suffix}", pixels, exif=exif))
    assert np.array_equal(raster.colour, np.rot90(pixels, -1))
    assert same(written(tmp_path / f"b{suffix}", raster), raster)


def test_exif_rotation_is_applied_to_16_bit_colour(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("cv2")
    pixels = deep_noise(5, 7, 3)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extratags=[(274, "H", 1, 8, True)])
    assert np.array_equal(read_image(tmp_path / "a.tif").colour, np.rot90(pixels))


def test_a_quarter_turn_swaps_the_resolutions(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    raster = read_image(saved(tmp_path / "a.png", noise(5, 7), exif=exif, dpi=(300, 150)))
    assert raster.dpi == pytest.approx((150, 300), rel=1e-3)


def test_a_palette_with_transparency_is_read_with_alpha(tmp_path: Path) -> None:
    image = Image.fromarray(noise(5, 7, 3)).quantize(8)
    image.save(tmp_path / "a.png", transparency=0)
    assert read_image(tmp_path / "a.png").alpha is not None


def test_cmyk_becomes_rgb_with_a_notice_and_without_its_profile(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.jpg"
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(path, icc_profile=b"no profile that can be used")
    raster = read_image(path)
    assert raster.colour.shape == (8, 8, 3)
    assert raster.colour.min() == 255
    assert raster.icc_profile is None
    assert "CMYK" in caplog.text


def test_16_bit_grayscale_with_white_at_zero_is_inverted(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    pixels = deep_noise(5, 7)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    assert np.array_equal(read_image(tmp_path / "a.tif").colour, 65535 - pixels)


def test_16_bit_planes_one_after_the_other_are_read(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("cv2")
    pixels = deep_noise(5, 7, 3)
    tifffile.imwrite(tmp_path / "a.tif", pixels.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    assert np.array_equal(read_image(tmp_path / "a.tif").colour, pixels)


def test_16_bit_lzw_is_read(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("tifffile")
    pixels = deep_noise(5, 7, 3)
    encoded = cv2.imencode(".tiff", pixels[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])[1]
    (tmp_path / "a.tif").write_bytes(encoded.tobytes())
    assert np.array_equal(read_image(tmp_path / "a.tif").colour, pixels)


def test_16_bit_colour_multiplied_by_alpha_is_divided(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("cv2")
    pixels = np.full((4, 4, 4), 16384, np.uint16)
    pixels[..., 3] = 32768
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["assocalpha"])
    assert np.abs(read_image(tmp_path / "a.tif").colour.astype(int) - 32767).max() <= 1


def test_only_the_first_picture_of_an_animation_is_read_with_a_notice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "a.png", save_all=True, append_images=[second])
    assert read_image(tmp_path / "a.png").colour[0, 0].tolist() == [255, 0, 0]
    assert "has 2 pictures" in caplog.text


def test_the_format_is_told_by_the_content(tmp_path: Path) -> None:
    path = tmp_path / "really-a-png.jpg"
    pixels = noise(5, 7, 3)
    saved(path, pixels, format="PNG")
    assert np.array_equal(read_image(path).colour, pixels)


def test_damaged_exif_is_no_reason_to_refuse(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", noise(5, 7, 3), exif=b"Exif\0\0junk that is no TIFF header")
    assert read_image(path).size == (5, 7)


# What is refused, in one line that names the file.


def refusal(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.png")


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert "empty" in refusal(tmp_path / "a.png")


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("text")
    assert "no picture of a known format" in refusal(tmp_path / "a.png")


def test_an_unsupported_format_is_named(tmp_path: Path) -> None:
    assert "no picture of a known format" in refusal(saved(tmp_path / "a.ppm", noise(5, 7)))
    assert refusal(saved(tmp_path / "a.gif", noise(5, 7))) == "GIF is not read; convert it to PNG"


@pytest.mark.parametrize("suffix", sorted(set(FORMATS) - {".jpeg", ".tiff"}))
def test_a_truncated_file_is_named(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"a{suffix}", noise(40, 40, 3))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refusal(path)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bits_are_refused_by_mode(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4, 4)).save(tmp_path / "a.tif")
    assert f", got {mode}" in refusal(tmp_path / "a.tif")


def test_too_many_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.png", noise(5, 7))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 34)
    assert "decompression bomb" in refusal(path)


@pytest.mark.parametrize("missing", ["cv2", "tifffile"])
def test_16_bit_colour_without_the_extra_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    module = pytest.importorskip(missing)
    path = tmp_path / ("a.png" if missing == "cv2" else "a.tif")
    if missing == "cv2":
        module.imwrite(str(path), deep_noise(5, 7, 3))
    else:
        module.imwrite(path, deep_noise(5, 7, 3), photometric="rgb")
    monkeypatch.setitem(sys.modules, missing, None)
    assert 'pip install "arasfsr[deep]"' in refusal(path)


@pytest.mark.parametrize("name", ["a.gif", "a", "a.safetensors"])
def test_an_unknown_output_suffix_is_refused(name: str) -> None:
    with pytest.raises(ImageError, match=rf"{name}: the suffix must be one of .*, got "):
        check_target(Path(name))


@pytest.mark.parametrize(
    ("name", "size"),
    [("a.webp", (16384, 1)), ("a.jpg", (1, 65501)), ("a.bmp", (2**15, 2**15)), ("a.tif", (2**15, 2**15))],
)
def test_a_picture_too_large_for_its_format_is_refused_before_any_work(name: str, size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=f"{name}: .* are too many for"):
        check_target(Path(name), size)


@pytest.mark.parametrize(("name", "side"), [("a.webp", 16383), ("a.jpg", 65500)])
def test_the_longest_side_of_a_format_can_be_written(tmp_path: Path, name: str, side: int) -> None:
    assert written(tmp_path / name, Raster(np.zeros((1, side, 3), np.uint8))).size == (1, side)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.png", noise(5, 7))
    before = path.read_bytes()

    def fail(image: Image.Image, file: Path, *options: object, **more: object) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(ImageError, match=r"a\.png: cannot be written: No space left"):
        write_image(path, Raster(noise(5, 7)))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_logged_about_a_plain_picture(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    written(tmp_path / "a.png", Raster(noise(5, 7, 3), icc_profile=SRGB, dpi=(72.0, 72.0)))
    assert caplog.text == ""
