"""Training samples from a folder of images of mixed sizes.

Sample k of a run depends on the seed and k alone, so a run resumes where it stopped, with any number of workers.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from arasfsr.errors import ArgumentError, ImageError, TrainingError
from arasfsr.images.find import Found, read_images
from arasfsr.images.transform import Box, largest_box, normalise_pixels, read_rgb, resize, to_tensor
from arasfsr.training.augment import augmented
from arasfsr.training.config import BudgetConfig, DataConfig


@dataclass(frozen=True)
class Photograph:
    """An image of a run, either in memory or read from its file each time it is drawn."""

    path: Path
    size: tuple[int, int]
    """(width, height) in pixels."""
    checksum: int
    """CRC-32 of the pixels: the file must not change during a run."""
    kept: Image.Image | None
    """The decoded image; None if it is read again each time."""

    @classmethod
    def of(cls, path: Path, image: Image.Image, keep: bool = True) -> Photograph:
        """A decoded RGB image, kept in memory or not."""
        return cls(path, image.size, crc32(image.tobytes()), image if keep else None)

    @property
    def side(self) -> int:
        """The shorter side in pixels."""
        return min(self.size)

    @property
    def image(self) -> Image.Image:
        """The decoded image, 8-bit RGB.

        Raises:
            TrainingError: the file has changed, or cannot be read any more.
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


def read_photographs(folder: Path, memory: float = inf) -> Found[Photograph]:
    """Read every image of a folder and keep the pixels of the first ones, up to `memory` bytes.

    Raises:
        ArgumentError: as `read_images`.
    """
    lock, room = Lock(), [memory]

    def make(path: Path, image: Image.Image) -> Photograph:
        size = len(image.getbands()) * image.width * image.height
        with lock:
            keep = size <= room[0]
            room[0] -= size * keep
        return Photograph.of(path, image, keep)

    return read_images(folder, make)


def hold_out(images: Sequence[Photograph], count: int, side: int) -> tuple[list[Photograph], list[Photograph]]:
    """Split images into those to train on and `count` held-out ones, evenly spread.

    If at least twice as many have a shorter side of `side` pixels or more, all that are held out are among these.

    Raises:
        ArgumentError: none would be left to train on.
    """
    if count >= len(images):
        raise ArgumentError(
            f"validation.images must be below the number of images, {len(images)}, got {count}; "
            "--set validation.images=N changes it"
        )
    large = [i for i, image in enumerate(images) if image.side >= side]
    among = large if len(large) >= 2 * count else range(len(images))
    chosen = {among[round((i + 0.5) * len(among) / count - 0.5)] for i in range(count)}
    train = [image for i, image in enumerate(images) if i not in chosen]
    return train, [image for i, image in enumerate(images) if i in chosen]


def listing(images: Sequence[Photograph], folder: Path) -> list[str]:
    """Images as a checkpoint names them: path below the folder, size, checksum; "below/face.png 178x218 1c291ca3"."""
    return [
        f"{each.path.relative_to(folder).as_posix()} {each.size[0]}x{each.size[1]} {each.checksum:08x}"
        for each in images
    ]


class Sample(NamedTuple):
    """One training sample, or a batch of them with a leading axis."""

    inp: Tensor
    """LR image (3, l, l) in [-1, 1]."""
    coord: Tensor | None
    """(Q, 2) query coordinates; None if the target is a whole image."""
    cell: Tensor | None
    """(1, 2) pixel size; None with `coord`."""
    target: Tensor
    """(Q, 3) RGB of the queries, or a whole image (3, L, L), in [-1, 1]."""
    noise: Tensor
    """int64 (), seed of the random numbers that the model draws for this sample."""

    def to(self, device: torch.device) -> Sample:
        """Move the tensors to a device; the seeds stay on the CPU."""
        coord, cell = (None if part is None else part.to(device, non_blocking=True) for part in self[1:3])
        inp, target = (part.to(device, non_blocking=True) for part in (self.inp, self.target))
        return Sample(inp, coord, cell, target, self.noise)


def stack(samples: Sequence[Sample]) -> Sample:
    """Collate samples of equal shapes into a batch."""
    coords = [sample.coord for sample in samples if sample.coord is not None]
    cells = [sample.cell for sample in samples if sample.cell is not None]
    return Sample(
        torch.stack([sample.inp for sample in samples]),
        torch.stack(coords) if coords else None,
        torch.stack(cells) if cells else None,
        torch.stack([sample.target for sample in samples]),
        torch.stack([sample.noise for sample in samples]),
    )


def _flipped(image: Image.Image, flip: bool) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image


def _seed(rng: np.random.Generator) -> Tensor:
    return torch.tensor(rng.integers(2**63))


@dataclass
class Samples(Dataset[Sample]):
    """The samples of a run. Sample k belongs to batch k // batch.

    With a budget, `batch` is the size of the largest batches, and the others have the first of their numbers only. All
    samples of a batch have LR inputs of one size, and targets of one size too if the scale is drawn per batch.

    Raises:
        ArgumentError: no image is large enough for any sample.
    """

    images: Sequence[Photograph]
    config: DataConfig
    batch: int
    seed: int
    length: int
    budget: BudgetConfig | None = None

    def __post_init__(self) -> None:
        sides = np.array([photograph.side for photograph in self.images], dtype=np.float64)
        least = min(self.config.lr_sizes) * self.config.scale[0]
        if not (sides >= least).any():
            raise ArgumentError(
                f"an image must have a shorter side of at least {least:g} pixels, the smallest data.lr_sizes times the "
                f"smallest data.scale, got at most {sides.max():g}"
            )
        self._largest = sides.max()
        self._order = np.argsort(sides, kind="stable")
        self._sides = sides[self._order]
        self._shares = np.cumsum(self._sides**self.config.size_exponent)
        self.lr_sizes = [side for side in self.config.lr_sizes if side * self.config.scale[0] <= self._largest]
        """Those of the configuration for which some image is large enough."""

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, k: int) -> Sample:
        config = self.config
        lr_side, hr_side = self._sizes(k // self.batch)
        rng = np.random.default_rng([self.seed, 1, k])
        least = hr_side or lr_side * config.scale[0]
        image = self._draw(least, rng).image
        box = self._box(image.size, round(least), rng)
        flip = config.flip and rng.random() < 0.5
        if hr_side is None:
            hr_side = round(lr_side * self._scale((box[2] - box[0]) / lr_side, rng)) or 1
        if config.augment is not None and rng.random() < config.augment.probability:
            hr = _flipped(augmented(image, box, hr_side, config.augment, rng), flip)
        else:
            hr = resize(_flipped(image.crop(box), flip), (hr_side, hr_side))
        lr = to_tensor(resize(hr, (lr_side, lr_side)))
        if config.queries is None:
            return Sample(lr, None, None, to_tensor(hr), _seed(rng))
        queries = config.queries if self.budget is None else self.budget.queries_per_sample(lr_side)
        pixel = rng.integers(0, hr_side, (queries, 2))
        target = torch.from_numpy(normalise_pixels(np.asarray(hr)[pixel[:, 0], pixel[:, 1]]))
        cell = torch.full((1, 2), 2 / hr_side)
        return Sample(lr, pixel_centres(torch.from_numpy(pixel), hr_side), cell, target, _seed(rng))

    def numbers(self, batch: int) -> range:
        """The numbers of the samples of a batch."""
        count = self.batch if self.budget is None else self.budget.samples(self._sizes(batch)[0])
        return range(batch * self.batch, batch * self.batch + count)

    def path(self, k: int) -> Path:
        """The file that sample k comes from."""
        lr_side, hr_side = self._sizes(k // self.batch)
        rng = np.random.default_rng([self.seed, 1, k])
        return self._draw(hr_side or lr_side * self.config.scale[0], rng).path

    def _sizes(self, batch: int) -> tuple[int, int | None]:
        """LR side and HR side of a batch; the HR side is None if each sample draws its own scale."""
        rng = np.random.default_rng([self.seed, 0, batch])
        lr_side = int(rng.choice(self.lr_sizes))
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

    def _box(self, size: tuple[int, int], least: int, rng: np.random.Generator) -> Box:
        """The largest square, in the middle, or a patch anywhere, never smaller than the smallest target."""
        if rng.random() < self.config.whole:
            return largest_box(size)
        short = min(size)
        side = min(short, max(round(short * rng.uniform(*self.config.patch)), least))
        left, top = (int(rng.integers(0, length - side + 1)) for length in size)
        return left, top, left + side, top + side
