"""Upscaling in one call: `arasfsr.upscale("face.png")`."""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import torch
from PIL import Image

from arasfsr.checkpoints.native import find_model, load_model
from arasfsr.defaults import MODEL, SCALE
from arasfsr.devices import find_device
from arasfsr.errors import ArgumentError, ArgumentTypeError
from arasfsr.images.files import read_image
from arasfsr.images.raster import round_to_8_bits, to_pil
from arasfsr.model import ImplicitSR
from arasfsr.upscaling import Picture, target_size, upscale_raster

_log = logging.getLogger(__name__)

MODELS_KEPT = 2
"""Models that stay loaded, those used last."""


@overload
def upscale(
    image: str | os.PathLike[str],
    scale: float | None = None,
    *,
    size: tuple[int, int] | None = None,
    model: str | os.PathLike[str] | ImplicitSR = MODEL,
    device: str | torch.device = "auto",
    backend: str = "auto",
    dtype: torch.dtype | str | None = None,
) -> Image.Image: ...
@overload
def upscale(
    image: Picture,
    scale: float | None = None,
    *,
    size: tuple[int, int] | None = None,
    model: str | os.PathLike[str] | ImplicitSR = MODEL,
    device: str | torch.device = "auto",
    backend: str = "auto",
    dtype: torch.dtype | str | None = None,
) -> Picture: ...
def upscale(
    image: Any,
    scale: float | None = None,
    *,
    size: tuple[int, int] | None = None,
    model: str | os.PathLike[str] | ImplicitSR = MODEL,
    device: str | torch.device = "auto",
    backend: str = "auto",
    dtype: torch.dtype | str | None = None,
) -> Any:
    """Upscale a picture by `scale`, or to `size` = (height, width); by 4 if neither is given.

    Args:
        image: a file, a PIL image, an (H, W, 3) uint8 array, or a (B, 3, h, w) float tensor in [0, 1]. A file is read
            as the command line reads it: PNG, JPEG, WebP, TIFF or BMP, with its EXIF orientation applied. A PIL image
            is taken as it is; `PIL.ImageOps.exif_transpose` turns one that was opened from a camera's file.
        scale: above 0; the output's sides are round(scale * side), at least one pixel.
        size: whole numbers of at least 1.
        model: a bundled name, a .safetensors file, a .pth file of the authors' implementation, the folder of a training
            run, or an `ImplicitSR`. The two models used last stay loaded, one whose file has changed is loaded again;
            `forget_models` releases them.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1" ...; an `ImplicitSR` stays where it is.
        backend: as in `Encoding.query`.
        dtype: as in `Encoding.query`.

    Returns:
        For a file a PIL image with the file's ICC profile and DPI in its `info`, else a picture of the input's type as
        from `ImplicitSR.upscale`. 16-bit grayscale stays so (mode I;16). PIL has no mode for 16-bit colour: that of a
        file is upscaled in 16 bits and rounded to 8 at the end, with a warning in the log; the command line writes all
        16.

    Raises:
        FileNotFoundError: there is no such picture or model.
        ImageError: the picture cannot be read, or has another mode.
        CheckpointError: the file is not a model.
        ArgumentError, ArgumentTypeError: an argument is wrong; the message names it.
        BackendUnavailable: the backend asked for by name cannot run.
    """
    if scale is None and size is None:
        scale = SCALE
    chosen = _choose_model(model, device)
    if isinstance(image, str | os.PathLike):
        return _upscale_file(chosen, Path(image), scale, size, backend, dtype)
    return chosen.upscale(image, scale, size, backend, dtype)


def forget_models() -> None:
    """Release the models that `upscale` has loaded."""
    _load.cache_clear()


def _upscale_file(
    model: ImplicitSR,
    path: Path,
    scale: float | None,
    size: tuple[int, int] | None,
    backend: str,
    dtype: torch.dtype | str | None,
) -> Image.Image:
    if not path.exists():
        raise FileNotFoundError(f"image must be a picture or its file, got {str(path)!r}, which does not exist")
    raster = read_image(path)
    raster = upscale_raster(model, raster, target_size(raster.size, scale, size), backend, dtype)
    if not raster.fits_pil:
        _log.warning("%s: PIL has no mode for 16-bit colour, rounded to 8 bits", path)
        raster = round_to_8_bits(raster)
    image = to_pil(raster)
    kept = {"icc_profile": raster.icc_profile, "dpi": raster.dpi}
    image.info.update({name: value for name, value in kept.items() if value is not None})
    return image


def _choose_model(model: str | os.PathLike[str] | ImplicitSR, device: str | torch.device) -> ImplicitSR:
    if isinstance(model, ImplicitSR):
        if device != "auto":
            raise ArgumentError(f"device must be auto for an ImplicitSR, which stays where it is, got {str(device)!r}")
        return model
    if not isinstance(model, str | os.PathLike):
        raise ArgumentTypeError(f"model must be a name, a file or an ImplicitSR, got {type(model).__name__}")
    path = find_model(os.fspath(model))
    if path is None:
        return _load(os.fspath(model), find_device(device))
    status = path.stat()
    return _load(str(path.resolve()), find_device(device), (status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(MODELS_KEPT)
def _load(name: str, device: torch.device, state: tuple[int, int, int] | None = None) -> ImplicitSR:
    """The model, frozen, so that its weights are laid out once; `state` tells a file from what it was before."""
    return load_model(name, device).requires_grad_(False)
