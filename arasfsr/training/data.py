"""Samples for training: any folder of images of mixed sizes.

Sample k of a run is a function of the seed and k alone, so a run resumes, on any number of workers, where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf
from pathlib import Path
from threading import Lock
from typing import NamedTuple
from zlib import crc32

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from arasfsr.coords import pixel_centres
from arasfsr.errors import ImageError, TrainingError
from arasfsr.images.files import FORMATS, read_image
from arasfsr.images.raster import flatten_on_white, round_to_8_bits, to_pil
from arasfsr.training.config import DataConfig

_log = logging.getLogger(__name__)


def image_files(folder: Path) -> list[Path]:
    """Image files under a folder, recursively, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in FORMATS and path.is_file())


def read_rgb(path: Path) -> Image.Image:
    """The whole image upright, as 8-bit RGB, alpha on white; an ImageError says what is wrong with the file."""
    return to_pil(round_to_8_bits(flatten_on_white(read_image(path)))).convert("RGB")


@dataclass(frozen=True)
class Photograph:
    """An image of a run, in memory or read again whenever it is drawn."""

    path: Path
    size: tuple[int, int]
    """Width and height."""
    checksum: int
    """Of its pixels, which also tells that it is what it was."""
    kept: Image.Image | None

    @classmethod
    def of(cls, path: Path, image: Image.Image, keep: bool = True) -> Photograph:
        return cls(path, image.size, crc32(image.tobytes()), image if keep else None)

    @property
    def side(self) -> int:
        """The shorter one."""
        return min(self.size)

    @property
    def image(self) -> Image.Image:
        """8-bit RGB.

        Raises:
            TrainingError: the file is no longer what it was.
        """
        if self.kept is not None:
            return self.kept
        try:
            image = read_rgb(self.path)
        except ImageError as error:
            raise TrainingError(f"{error}; it could be read when the run began") from error
        if crc32(image.tobytes()) != self.checksum:
            raise TrainingError(f"{self.path} has changed since the run began")
        return image


class Folder(NamedTuple):
    """A folder's images."""

    images: list[Photograph]
    broken: list[Path]


def read_folder(folder: Path, memory: float = inf) -> Folder:
    """Read every image of a folder and keep the first of them, up to that many bytes; broken ones are named in the
    log and left out.

    Raises:
        ValueError: the folder is not there, or has no image that can be read.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    files = image_files(folder)
    held, room = Lock(), [memory]

    def read(path: Path) -> Photograph | str:
        try:
            image = read_rgb(path)
        except ImageError as error:
            return str(error)
        size = len(image.getbands()) * image.width * image.height
        with held:
            keep = size <= room[0]
            room[0] -= size * keep
        return Photograph.of(path, image, keep)

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(read, files))
    images = [result for result in results if isinstance(result, Photograph)]
    broken = [path for path, result in zip(files, results, strict=True) if isinstance(result, str)]
    for result in results:
        if isinstance(result, str):
            _log.warning("skipped: %s", result)
    if not images:
        raise ValueError(
            f"{folder} has no image that can be read ({len(broken)} broken); taken are {', '.join(FORMATS)}"
        )
    return Folder(images, broken)


def hold_out(images: Sequence[Photograph], count: int) -> tuple[list[Photograph], list[Photograph]]:
    """Training images and `count` held-out ones, evenly spread."""
    if count >= len(images):
        raise ValueError(f"validation.images={count}, but the folder has {len(images)} images")
    chosen = {round((i + 0.5) * len(images) / count - 0.5) for i in range(count)}
    train = [image for i, image in enumerate(images) if i not in chosen]
    return train, [image for i, image in enumerate(images) if i in chosen]


def listing(images: Sequence[Photograph], folder: Path) -> list[str]:
    """What a run remembers of its images: "below/face.png 178x218 1c291ca3" for each, name, size and checksum, in
    order, wherever the folder lies."""
    return [
        f"{each.path.relative_to(folder).as_posix()} {each.size[0]}x{each.size[1]} {each.checksum:08x}"
        for each in images
    ]


class Sample(NamedTuple):
    """One training sample, or a batch of them with a leading axis."""

    inp: Tensor
    """LR image (3, l, l) in [-1, 1]."""
    coord: Tensor | None
    """(Q, 2); None where the target is a whole picture."""
    cell: Tensor | None
    """(1, 2), or None with `coord`."""
    target: Tensor
    """(Q, 3), or a whole picture (3, L, L), in [-1, 1]."""
    noise: Tensor
    """int64 (), the seed of what the model draws for this sample."""

    def to(self, device: torch.device) -> Sample:
        """The same on a device, the seeds where they are."""
        coord, cell = (None if part is None else part.to(device, non_blocking=True) for part in self[1:3])
        inp, target = (part.to(device, non_blocking=True) for part in (self.inp, self.target))
        return Sample(inp, coord, cell, target, self.noise)


def stack(samples: Sequence[Sample]) -> Sample:
    """A batch of samples of equal shapes."""
    coords = [sample.coord for sample in samples if sample.coord is not None]
    cells = [sample.cell for sample in samples if sample.cell is not None]
    return Sample(
        torch.stack([sample.inp for sample in samples]),
        torch.stack(coords) if coords else None,
        torch.stack(cells) if cells else None,
        torch.stack([sample.target for sample in samples]),
        torch.stack([sample.noise for sample in samples]),
    )


def to_tensor(image: Image.Image) -> Tensor:
    """A PIL RGB image as (3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(in_range(np.asarray(image))).permute(2, 0, 1)


def in_range(pixels: np.ndarray) -> np.ndarray:
    """uint8 as float32 in [-1, 1]."""
    return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)


def _seed(rng: np.random.Generator) -> Tensor:
    return torch.tensor(rng.integers(2**63))


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Pillow's bicubic, which low-passes when it shrinks; `size` is (width, height)."""
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)


def largest_square(image: Image.Image) -> Image.Image:
    """The largest square of an image, in its middle; an odd pixel over stays at the right or at the bottom."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


@dataclass
class Samples(Dataset[Sample]):
    """Sample k belongs to batch k // batch; all samples of a batch have LR inputs of one size, and where the scale is
    drawn per batch targets of one size."""

    images: Sequence[Photograph]
    config: DataConfig
    batch: int
    seed: int
    length: int

    def __post_init__(self) -> None:
        sides = np.array([photograph.side for photograph in self.images], dtype=np.float64)
        least = min(self.config.lr_sizes) * self.config.scale[0]
        if not (sides >= least).any():
            raise ValueError(
                f"no image is large enough: the smallest data.lr_sizes times the smallest data.scale is {least:g} "
                f"pixels, the largest image's shorter side {sides.max():g}"
            )
        self._largest = sides.max()
        self._order = np.argsort(sides, kind="stable")
        self._sides = sides[self._order]
        self._shares = np.cumsum(self._sides**self.config.size_exponent)
        self._usable = [side for side in self.config.lr_sizes if side * self.config.scale[0] <= self._largest]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, k: int) -> Sample:
        config = self.config
        lr_side, hr_side = self._sizes(k // self.batch)
        rng = np.random.default_rng([self.seed, 1, k])
        least = hr_side or lr_side * config.scale[0]
        image = self._crop(self._draw(least, rng).image, round(least), rng)
        if config.flip and rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if hr_side is None:
            hr_side = round(lr_side * self._scale(image.width / lr_side, rng)) or 1
        hr = resize(image, (hr_side, hr_side))
        lr = to_tensor(resize(hr, (lr_side, lr_side)))
        if config.queries is None:
            return Sample(lr, None, None, to_tensor(hr), _seed(rng))
        pixel = rng.integers(0, hr_side, (config.queries, 2))
        target = torch.from_numpy(in_range(np.asarray(hr)[pixel[:, 0], pixel[:, 1]]))
        cell = torch.full((1, 2), 2 / hr_side)
        return Sample(lr, pixel_centres(torch.from_numpy(pixel), hr_side), cell, target, _seed(rng))

    def path(self, k: int) -> Path:
        """The file that sample k is made of."""
        lr_side, hr_side = self._sizes(k // self.batch)
        rng = np.random.default_rng([self.seed, 1, k])
        return self._draw(hr_side or lr_side * self.config.scale[0], rng).path

    def _sizes(self, batch: int) -> tuple[int, int | None]:
        """Sides of a batch's LR inputs and of its targets, None where each sample draws its own."""
        rng = np.random.default_rng([self.seed, 0, batch])
        lr_side = int(rng.choice(self._usable))
        if self.config.queries is not None and not self.config.scale_per_batch:
            return lr_side, None
        hr_side = round(lr_side * self._scale(self._largest / lr_side, rng)) or 1
        return lr_side, min(hr_side, int(self._largest))

    def _scale(self, most: float, rng: np.random.Generator) -> float:
        low, high = self.config.scale
        return rng.uniform(low, max(low, min(high, most)))

    def _draw(self, least: float, rng: np.random.Generator) -> Photograph:
        """An image whose shorter side has at least that many pixels, by its share of them all."""
        first = np.searchsorted(self._sides, least)
        below = self._shares[first - 1] if first else 0.0
        place = np.searchsorted(self._shares, below + rng.random() * (self._shares[-1] - below), side="right")
        return self.images[int(self._order[min(place, len(self._order) - 1)])]

    def _crop(self, image: Image.Image, least: int, rng: np.random.Generator) -> Image.Image:
        """The largest square, in the middle, or a patch anywhere, never smaller than the smallest target."""
        if rng.random() < self.config.whole:
            return largest_square(image)
        short = min(image.size)
        side = min(short, max(round(short * rng.uniform(*self.config.patch)), least))
        left = int(rng.integers(0, image.width - side + 1))
        top = int(rng.integers(0, image.height - side + 1))
        return image.crop((left, top, left + side, top + side))
