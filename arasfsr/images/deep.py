"""16-bit colour, which Pillow truncates to 8 bits: PNG by OpenCV and TIFF by tifffile, from the extra `deep`.

Error messages leave out the file name, which the caller adds.
"""

from __future__ import annotations

import importlib
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from arasfsr.errors import ImageError
from arasfsr.images.raster import Raster

PNG_HEADER_END = 33
"""Offset of the end of a PNG file's signature and first chunk (IHDR); iCCP and pHYs are inserted there."""

INCHES_PER_METRE = 1 / 0.0254

PNG_COMPRESSION = 6
"""zlib's default; OpenCV's is 1."""

ASSOCIATED_ALPHA = 1
"""TIFF's ExtraSamples value for premultiplied alpha."""


def _require(module: str) -> Any:
    """Import an optional module; the error says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImageError(f'16-bit colour needs an optional extra: pip install "arasfsr[deep]" ({error})') from error


def read_deep_png(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Colour (h, w, 3) and alpha (h, w) or None of a 16-bit PNG file, uint16, not rotated.

    Raises:
        ImageError: OpenCV is missing or cannot decode the file.
    """
    return _decode_with_opencv(_require("cv2"), path)


def read_deep_tiff(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Colour (h, w, 3) and alpha (h, w) or None of a TIFF file's first page, uint16, not rotated.

    Compressions for which tifffile needs further packages (LZW, PackBits, JPEG) are decoded by OpenCV.

    Raises:
        ImageError: the extra is missing, or neither library can decode the file.
    """
    tifffile, cv2 = _require("tifffile"), _require("cv2")
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        planar = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        associated = bool(page.extrasamples) and page.extrasamples[0] == ASSOCIATED_ALPHA
        try:
            pixels = page.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error) or planar:  # OpenCV silently shuffles planar pixels
                raise
            colour, alpha = _decode_with_opencv(cv2, path)
        else:
            colour, alpha = _split(np.moveaxis(pixels, 0, -1) if planar else pixels)
    if associated and alpha is not None:
        colour = _divide_by_alpha(colour, alpha)
    return colour, alpha


def write_deep_png(path: Path, raster: Raster) -> None:
    """Write a uint16 picture as 16-bit RGB or RGBA, with its ICC profile and DPI."""
    cv2 = _require("cv2")
    try:
        _, encoded = cv2.imencode(".png", _join(raster, "bgr"), [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION])
    except cv2.error as error:
        raise ImageError(f"OpenCV cannot encode {raster.size[1]} x {raster.size[0]} pixels") from error
    data = memoryview(encoded)
    with path.open("wb") as file:
        file.write(data[:PNG_HEADER_END])
        if raster.icc_profile:
            file.write(_png_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(raster.icc_profile)))
        if raster.dpi:
            per_metre = (round(dots * INCHES_PER_METRE) for dots in raster.dpi)
            file.write(_png_chunk(b"pHYs", struct.pack(">IIB", *per_metre, 1)))
        file.write(data[PNG_HEADER_END:])


def write_deep_tiff(path: Path, raster: Raster) -> None:
    """Write a uint16 picture as deflated 16-bit RGB or RGBA, with its ICC profile and DPI."""
    tifffile = _require("tifffile")
    tifffile.imwrite(
        path,
        _join(raster, "rgb"),
        photometric="rgb",
        extrasamples=None if raster.alpha is None else ["unassalpha"],
        compression="zlib",
        predictor=True,
        iccprofile=raster.icc_profile,
        resolution=raster.dpi,
        resolutionunit="inch" if raster.dpi else None,
        metadata=None,
    )


def _decode_with_opencv(cv2: Any, path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ImageError("OpenCV cannot decode the file")
    colour, alpha = _split(pixels)
    return np.ascontiguousarray(colour[..., ::-1]), alpha


def _split(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Colour and alpha of (h, w, 3) or (h, w, 4) uint16; gray with alpha, (h, w, 2), becomes RGB with alpha."""
    if pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] not in (2, 3, 4):
        raise ImageError(f"must be 16-bit RGB or RGBA, decoded as {pixels.shape} of {pixels.dtype}")
    colour = np.repeat(pixels[..., :1], 3, axis=2) if pixels.shape[2] == 2 else pixels[..., :3]
    alpha = None if pixels.shape[2] == 3 else np.ascontiguousarray(pixels[..., -1])
    return np.ascontiguousarray(colour), alpha


def _join(raster: Raster, order: str) -> np.ndarray:
    """The channels as one array in `order`, "rgb" or "bgr", with alpha last; copied only if necessary."""
    if raster.alpha is None and order == "rgb" and not raster.gray:
        return raster.colour
    joined = np.empty((*raster.size, 3 if raster.alpha is None else 4), np.uint16)
    for position, channel in enumerate(order):
        joined[..., position] = raster.colour if raster.gray else raster.colour[..., "rgb".index(channel)]
    if raster.alpha is not None:
        joined[..., 3] = raster.alpha
    return joined


def _divide_by_alpha(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    top = np.iinfo(np.uint16).max
    divisor = np.maximum(alpha, 1).astype(np.float32)[..., None]
    straight: np.ndarray = np.rint(colour * (top / divisor)).clip(0, top)
    return straight.astype(np.uint16)


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
