"""Finding and reading the images of a folder."""

from __future__ import annotations

import logging
import os
from collections import Counter
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


def find_images(folder: Path, excluded: Path | None = None) -> list[Path]:
    """Image files below a folder, recursively, sorted by path, without those in the folder `excluded`.

    Hidden files and folders are skipped; how many files of other kinds were skipped is logged.

    Raises:
        ArgumentError: the folder does not exist.
    """
    if not folder.is_dir():
        raise ArgumentError(f"{folder} is not a folder")
    left_out = None if excluded is None else excluded.resolve()
    images, others = [], Counter[str]()
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in _visible(folders) if Path(place, name).resolve() != left_out]
        for path in (Path(place, name) for name in _visible(names)):
            suffix = path.suffix.lower()
            if suffix in FORMATS:
                images.append(path)
            else:
                others[suffix or "without suffix"] += 1
    if others:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
        _log.info("%s: files of other kinds skipped: %s", folder, counts)
    return sorted(images)


def _visible(names: list[str]) -> list[str]:
    return [name for name in names if not name.startswith(".")]


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
        count = f" ({len(broken)} broken)" if broken else ""
        raise ArgumentError(f"{folder} has no image that can be read{count}; supported are {', '.join(FORMATS)}")
    return Found(images, broken)
