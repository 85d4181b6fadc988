"""Finding and reading the images of a folder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from PIL import Image

from arasfsr.errors import ArgumentError, ImageError
from arasfsr.images.files import FORMATS
from arasfsr.images.transform import read_rgb

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Found(Generic[T]):
    """The result of `read_images`."""

    images: dict[Path, T]
    """By path, sorted."""
    broken: list[Path]
    """Files that cannot be read; the reasons are logged."""


class _Broken(NamedTuple):
    reason: str


def find_images(folder: Path) -> list[Path]:
    """Image files below a folder, recursively, sorted by path.

    Raises:
        ArgumentError: the folder does not exist.
    """
    if not folder.is_dir():
        raise ArgumentError(f"{folder} is not a folder")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in FORMATS and path.is_file())


def read_images(folder: Path, extract: Callable[[Path, Image.Image], T]) -> Found[T]:
    """Decode every image below a folder as RGB and return `extract(path, image)` for each.

    Images are read in threads, and at most one per thread is in memory unless `extract` keeps it: 5,000 images of
    1024 x 1024 are 15 GB. Broken images are logged and skipped.

    Raises:
        ArgumentError: the folder does not exist, or has no image that can be read.
    """

    def read(path: Path) -> T | _Broken:
        try:
            image = read_rgb(path)
        except ImageError as error:
            return _Broken(str(error))  # the exception's traceback would keep the image in memory
        return extract(path, image)

    files = find_images(folder)
    with ThreadPoolExecutor() as pool:
        results = dict(zip(files, pool.map(read, files), strict=True))
    images, broken = {}, []
    for path, result in results.items():
        if isinstance(result, _Broken):
            _log.warning("skipped: %s", result.reason)
            broken.append(path)
        else:
            images[path] = result
    if not images:
        raise ArgumentError(
            f"{folder} has no image that can be read ({len(broken)} broken); supported are {', '.join(FORMATS)}"
        )
    return Found(images, broken)
