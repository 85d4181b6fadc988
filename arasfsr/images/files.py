"""Pictures on disk: PNG, JPEG, WebP, TIFF and BMP, of 8 and 16 bits, with ICC profile and DPI."""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, TiffImagePlugin, UnidentifiedImageError

from arasfsr.errors import ImageError, one_line
from arasfsr.files import replacing
from arasfsr.images.deep import read_deep_png, read_deep_tiff, write_deep_png, write_deep_tiff
from arasfsr.images.raster import Raster, flatten_on_white, from_pil, round_to_8_bits, to_pil

_log = logging.getLogger(__name__)


PIXELS_OF_4_GIB = 2**30 - 2**20
"""4 GiB of four-byte pixels less room for headers: what a format with 32-bit offsets can hold."""


@dataclass(frozen=True)
class Format:
    """What a file format can hold."""

    name: str
    """Pillow's name of it."""
    longest_side: int = 2**31 - 1
    most_pixels: int | None = None
    alpha: bool = False
    deep: bool = False
    gray: bool = True
    icc_profile: bool = True
    dpi: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    """Passed to Pillow's writer."""


PNG = Format("PNG", alpha=True, deep=True)
JPEG = Format("JPEG", longest_side=65500, options={"quality": 95, "subsampling": 0})  # 65500: libjpeg's limit
WEBP = Format("WEBP", longest_side=16383, alpha=True, gray=False, dpi=False, options={"quality": 95})
TIFF = Format("TIFF", most_pixels=PIXELS_OF_4_GIB, alpha=True, deep=True, options={"compression": "tiff_deflate"})
BMP = Format("BMP", most_pixels=PIXELS_OF_4_GIB, icc_profile=False)

FORMATS = {
    ".png": PNG,
    ".jpg": JPEG,
    ".jpeg": JPEG,
    ".webp": WEBP,
    ".tif": TIFF,
    ".tiff": TIFF,
    ".bmp": BMP,
}
"""Formats by suffix."""

READABLE = tuple(dict.fromkeys(known.name for known in FORMATS.values()))

BECOMES = {
    "1": "black and white, becomes 8-bit grayscale",
    "P": "a palette of colours, becomes RGB",
    "PA": "a palette of colours, becomes RGB",
}
"""Log messages for the PIL modes that the model's output does not fit."""

MAX_DPI = 65535
"""JPEG stores 16 bits; a larger value in any file is taken as an error."""

QUARTER_TURNS = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""

ORIENTATION_TAG = int(ExifTags.Base.Orientation)
BITS_TAG = 258
PHOTOMETRIC_TAG = 262
WHITE_IS_ZERO = 0


def read_image(path: Path) -> Raster:
    """Read a picture with its EXIF orientation applied, and its ICC profile and DPI.

    The format is detected from the content, not the name. Only the first picture of an animation or a multi-page file
    is read; CMYK becomes sRGB, a palette RGB, and black and white 8-bit grayscale. Each of these is logged.

    Raises:
        ImageError: the file is missing, empty, damaged, of another format, has more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS` or a mode that is not 8-bit or 16-bit, or is 16-bit colour without the extra
            `deep`. The message is one line and names the file.
    """
    try:
        if path.stat().st_size == 0:
            raise ImageError("the file is empty")
        with _refusing_bombs(), Image.open(path, formats=READABLE) as image:
            return _decode(path, image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{path}: more than {Image.MAX_IMAGE_PIXELS} pixels, refused as a decompression bomb"
        ) from error
    except UnidentifiedImageError as error:
        if _is_gif(path):
            raise ImageError(f"{path}: GIF is not read; convert it to PNG") from error
        raise ImageError(f"{path}: no picture of a known format ({', '.join(READABLE)})") from error
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror or one_line(error)}") from error
    except Exception as error:  # a decoder may raise anything at all on a damaged file
        raise ImageError(f"{path}: damaged ({one_line(error)})") from error


def check_target(path: Path, size: tuple[int, int] | None = None, suffix: str | None = None) -> Format:
    """The format for a path's suffix, or for `suffix`; checks that it can hold a picture of `size` = (height, width).

    Raises:
        ImageError: the suffix is not in `FORMATS`, or the format cannot hold so many pixels.
    """
    suffix = path.suffix if suffix is None else suffix
    if suffix.lower() not in FORMATS:
        raise ImageError(f"{path}: the suffix must be one of {', '.join(FORMATS)}, got {suffix!r}")
    known = FORMATS[suffix.lower()]
    if size is None:
        return known
    height, width = size
    if max(size) > known.longest_side:
        raise ImageError(
            f"{path}: {width} x {height} pixels are too many for {known.name}, whose sides have at most "
            f"{known.longest_side}"
        )
    if known.most_pixels is not None and height * width > known.most_pixels:
        raise ImageError(f"{path}: {width} x {height} pixels are too many for {known.name}, a file of at most 4 GiB")
    return known


def write_image(path: Path, raster: Raster, suffix: str | None = None) -> None:
    """Write a picture, atomically, in the format for the path's suffix or for `suffix`.

    What the format cannot hold is dropped, with a warning: alpha (JPEG, BMP) is flattened on white, 16 bits (JPEG,
    WebP, BMP) are rounded to 8, an ICC profile of another colour space is left out. JPEG is written with quality 95 and
    full chroma, WebP with quality 95, TIFF with deflate.

    Raises:
        ImageError: the file cannot be written; the message names it and says why, in one line.
    """
    known = check_target(path, raster.size, suffix)
    raster = _fit(path, raster, known)
    try:
        with replacing(path) as temporary:
            if raster.fits_pil:
                _save_with_pillow(temporary, raster, known)
            else:
                write = write_deep_png if known is PNG else write_deep_tiff
                write(temporary, raster)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise ImageError(f"{path}: cannot be written: {reason or one_line(error)}") from error


def _save_with_pillow(path: Path, raster: Raster, known: Format) -> None:
    options = dict(known.options)
    if raster.icc_profile:
        options["icc_profile"] = raster.icc_profile
    if raster.dpi:
        options["dpi"] = raster.dpi
    to_pil(raster).save(path, known.name, **options)


def _fit(path: Path, raster: Raster, known: Format) -> Raster:
    """Drop what the format cannot hold."""
    if raster.alpha is not None and not known.alpha:
        _log.warning("%s: %s has no alpha channel, flattened on white", path, known.name)
        raster = flatten_on_white(raster)
    if raster.deep and not known.deep:
        _log.warning("%s: %s has no 16-bit channels, rounded to 8 bits", path, known.name)
        raster = round_to_8_bits(raster)
    if raster.icc_profile and not known.icc_profile:
        _log.warning("%s: %s holds no ICC profile, left out", path, known.name)
        raster = replace(raster, icc_profile=None)
    gray = raster.gray and known.gray and not (raster.deep and raster.alpha is not None)
    if raster.icc_profile and _colour_space(raster.icc_profile) != ("GRAY" if gray else "RGB"):
        _log.warning(
            "%s: the ICC profile is for %s, not for these channels, left out", path, _colour_space(raster.icc_profile)
        )
        raster = replace(raster, icc_profile=None)
    return raster if known.dpi else replace(raster, dpi=None)


def _colour_space(icc_profile: bytes) -> str:
    """The colour space in the profile's header: RGB, GRAY, CMYK ..."""
    return icc_profile[16:20].decode("latin-1").strip()


def _decode(path: Path, image: Image.Image) -> Raster:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a camera's MPO holds one picture and its preview
        _log.warning("%s: has %d pictures, only the first is read", path, frames)
    bits = _bits(path, image)
    orientation = _orientation(image)
    dpi = _dpi(image, orientation)
    white_is_zero = _tiff_tag(image, PHOTOMETRIC_TAG) == WHITE_IS_ZERO
    image.load()  # even if another library decodes: Pillow detects damage
    if bits == 16 and image.mode not in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F", "CMYK"):
        read = read_deep_png if image.format == "PNG" else read_deep_tiff
        colour, alpha = read(path)
        upright = None if alpha is None else turn_upright(alpha, orientation)
        return Raster(turn_upright(colour, orientation), upright, image.info.get("icc_profile"), dpi)
    if orientation != 1 and image.format != "TIFF":  # Pillow rotates TIFF itself
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode == "CMYK":
        _log.warning("%s: CMYK, converted to sRGB", path)
        return replace(from_pil(_cmyk_to_srgb(image)), dpi=dpi)
    if image.mode in BECOMES:
        _log.info("%s: %s", path, BECOMES[image.mode])
    raster = replace(from_pil(image), icc_profile=image.info.get("icc_profile"), dpi=dpi)
    if raster.deep and white_is_zero:  # Pillow inverts 8-bit pictures, but not 16-bit ones
        raster = replace(raster, colour=np.iinfo(np.uint16).max - raster.colour)
    return raster


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation, 1 to 8, to pixels (h, w, ...); other values change nothing."""
    if orientation in QUARTER_TURNS:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _bits(path: Path, image: Image.Image) -> int:
    """Bits per channel, from the header: Pillow's mode does not distinguish 16-bit colour from 8-bit."""
    if image.format == "PNG":
        with path.open("rb") as file:
            return file.read(25)[24]
    if image.format == "TIFF":
        stored = _tiff_tag(image, BITS_TAG) or (1,)
        bits = max(stored) if isinstance(stored, tuple) else int(stored)
        if bits > 8 and bits not in (16, 32, 64):
            raise ImageError(f"bits a channel must be 8 or 16, got {bits}")
        return bits
    return 8


def _tiff_tag(image: Image.Image, tag: int) -> Any:
    return image.tag_v2.get(tag) if isinstance(image, TiffImagePlugin.TiffImageFile) else None


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception as error:  # damaged EXIF must not reject the picture
        _log.debug("EXIF cannot be read: %s", error)
        return 1
    return orientation if orientation in range(1, 9) else 1


def _dpi(image: Image.Image, orientation: int) -> tuple[float, float] | None:
    """Pixels per inch in x and y of the upright picture; None if the file has no plausible value."""
    try:
        x, y = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    if not all(math.isfinite(value) and 1 <= value <= MAX_DPI for value in (x, y)):
        return None
    return (y, x) if orientation in QUARTER_TURNS else (x, y)


def _cmyk_to_srgb(image: Image.Image) -> Image.Image:
    """Convert by the embedded ICC profile, or by Pillow's formula if it is missing or damaged."""
    if image.info.get("icc_profile"):
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
            converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError) as error:
            _log.debug("ICC profile cannot be used: %s", error)
    return image.convert("RGB")


def _is_gif(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"GIF8"


@contextmanager
def _refusing_bombs() -> Iterator[None]:
    """Turns Pillow's decompression-bomb warning into an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield
