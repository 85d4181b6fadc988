"""Samples for training: any folder of images of mixed sizes.

Sample k of a run is a function of the seed and k alone, so a run resumes, on any number of workers, where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from arasfsr.coords import pixel_centres
from arasfsr.errors import ImageError
from arasfsr.image_files import FORMATS, read_image
from arasfsr.images import flatten_on_white, round_to_8_bits, to_pil
from arasfsr.training.config import DataConfig

_log = logging.getLogger(__name__)


def image_files(folder: Path) -> list[Path]:
    """Image files under a folder, recursively, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in FORMATS and path.is_file())


def read_rgb(path: Path) -> Image.Image:
    """The whole image upright, as 8-bit RGB, alpha on white; an ImageError says what is wrong with the file."""
    return to_pil(round_to_8_bits(flatten_on_white(read_image(path)))).convert("RGB")


class Photograph(NamedTuple):
    path: Path
    image: Image.Image


class Folder(NamedTuple):
    """A folder's images, decoded."""

    images: list[Photograph]
    broken: list[Path]


def read_folder(folder: Path) -> Folder:
    """Decode every image of a folder; broken ones are named in the log and left out.

    Raises:
        ValueError: the folder is not there, or has no image that can be read.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    files = image_files(folder)

    def read(path: Path) -> Photograph | str:
        try:
            return Photograph(path, read_rgb(path))
        except ImageError as error:
            return str(error)

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
    """What a run remembers of its images: "below/face.png 178x218" for each, in order, wherever the folder lies."""
    return [f"{path.relative_to(folder).as_posix()} {image.width}x{image.height}" for path, image in images]


class Sample(NamedTuple):
    """One training sample, or a batch of them with a leading axis."""

    inp: Tensor
    """LR image (3, l, l) in [-1, 1]."""
    coord: Tensor
    """(Q, 2)."""
    cell: Tensor
    """(1, 2)."""
    target: Tensor
    """(Q, 3) in [-1, 1]."""


def to_tensor(image: Image.Image) -> Tensor:
    """A PIL RGB image as (3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.array(image, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)


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
    """Sample k belongs to batch k // batch, and all samples of a batch have LR inputs of one size."""

    images: Sequence[Photograph]
    config: DataConfig
    batch: int
    seed: int
    length: int

    def __post_init__(self) -> None:
        sides = np.array([min(photograph.image.size) for photograph in self.images], dtype=np.float64)
        least = min(self.config.lr_sizes) * self.config.scale[0]
        if not (sides >= least).any():
            raise ValueError(
                f"no image is large enough: the smallest data.lr_sizes times the smallest data.scale is {least:g} "
                f"pixels, the largest image's shorter side {sides.max():g}"
            )
        self._sides = sides
        self._weights = sides**self.config.size_exponent

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, k: int) -> Sample:
        config = self.config
        usable = [side for side in config.lr_sizes if (self._sides >= side * config.scale[0]).any()]
        lr_side = int(np.random.default_rng([self.seed, 0, k // self.batch]).choice(usable))
        rng = np.random.default_rng([self.seed, 1, k])
        weights = np.where(self._sides >= lr_side * config.scale[0], self._weights, 0)
        image = self.images[rng.choice(len(self.images), p=weights / weights.sum())].image
        image = self._crop(image, lr_side, rng)
        if config.flip and rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        scale = rng.uniform(config.scale[0], max(config.scale[0], min(config.scale[1], image.width / lr_side)))
        hr_side = max(1, round(lr_side * scale))
        hr = resize(image, (hr_side, hr_side))
        lr = resize(hr, (lr_side, lr_side))
        pixel = torch.from_numpy(rng.integers(0, hr_side, (config.queries, 2)))
        target = to_tensor(hr)[:, pixel[:, 0], pixel[:, 1]].t().contiguous()
        return Sample(to_tensor(lr), pixel_centres(pixel, hr_side), torch.full((1, 2), 2 / hr_side), target)

    def _crop(self, image: Image.Image, lr_side: int, rng: np.random.Generator) -> Image.Image:
        """The largest square, in the middle, or a patch anywhere, never smaller than the smallest target."""
        if rng.random() < self.config.whole:
            return largest_square(image)
        short = min(image.size)
        least = round(lr_side * self.config.scale[0])
        side = min(short, max(round(short * rng.uniform(*self.config.patch)), least))
        left = int(rng.integers(0, image.width - side + 1))
        top = int(rng.integers(0, image.height - side + 1))
        return image.crop((left, top, left + side, top + side))
