"""The size pairs of the paper's tables (arXiv 2511.16341), and how they are shrunk to smaller images.

The paper's images are 1024 x 1024. For smaller ones, a pair whose target is larger than the shorter side of the
folder's smallest image is shrunk to that side and keeps its scale; the LR side is rounded. All other pairs stay as in
the paper. So every row of a table is over all images, and no target is an enlarged image.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from arasfsr.errors import ArgumentError
from arasfsr.evaluation.metrics import SSIM_WINDOW

SMALLEST_SIDE = 32
"""Smallest shorter side of an image, in pixels, for a suite: below it 64 -> 1024 would be less than 2 -> 32."""


class Pair(NamedTuple):
    """Sides, in pixels, of a square input and of its upscaled output."""

    lr: int
    hr: int

    def __str__(self) -> str:
        return f"{self.lr}:{self.hr}"


def parse_pairs(text: str) -> list[Pair]:
    """Parse pairs such as "64:256,32:256"; duplicates are dropped.

    Raises:
        ArgumentError: the text has another form, LR is below 1 or above HR, or HR is below the window of SSIM.
    """
    pairs = []
    for entry in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,6}):([0-9]{1,6})\s*", entry)
        pair = Pair(int(match[1]), int(match[2])) if match else Pair(0, 0)
        if not (1 <= pair.lr <= pair.hr and pair.hr >= SSIM_WINDOW):
            raise ArgumentError(
                f"pair must be LR:HR in pixels, 1 <= LR <= HR and HR >= {SSIM_WINDOW}, as in 64:256,32:256, got "
                f"{entry.strip()!r}"
            )
        pairs.append(pair)
    return list(dict.fromkeys(pairs))


def shrink(pair: Pair, side: int) -> Pair:
    """The pair itself if its target is at most `side` pixels, else a pair of the same scale with a target of `side`."""
    return pair if pair.hr <= side else Pair(max(1, round(pair.lr * side / pair.hr)), side)


@dataclass(frozen=True)
class Row:
    """A pair that is run, and the pairs asked for that it replaces: itself, or those that were shrunk to it."""

    pair: Pair
    asked: tuple[Pair, ...]

    def __str__(self) -> str:
        shrunk = [str(pair) for pair in self.asked if pair != self.pair]
        return f"{self.pair} (for {', '.join(shrunk)})" if shrunk else str(self.pair)


@dataclass(frozen=True)
class Suite:
    """Size pairs, and how their inputs are made."""

    name: str
    """The paper's table; empty for custom pairs, which are never shrunk."""
    pairs: tuple[Pair, ...]
    degradation: str = "bic"
    """How inputs are made, a key of `DEGRADATIONS`; targets are always bicubic."""
    by_module: bool = False
    """Whether the models must differ in their modules."""

    @property
    def fitted(self) -> bool:
        """Whether pairs are shrunk to the images, and inputs are made from the original image, as in the paper, instead
        of the target."""
        return bool(self.name)

    def rows(self, smallest: int) -> list[Row]:
        """The rows for images whose shorter sides are at least `smallest`; pairs that become equal share a row.

        Raises:
            ArgumentError: `smallest` is below SMALLEST_SIDE, for one of the paper's suites.
        """
        if not self.fitted:
            return [Row(pair, (pair,)) for pair in self.pairs]
        if smallest < SMALLEST_SIDE:
            raise ArgumentError(
                f"the shorter side of an image must be at least {SMALLEST_SIDE} pixels for a suite, got {smallest}"
            )
        rows: dict[Pair, tuple[Pair, ...]] = {}
        for pair in self.pairs:
            run = shrink(pair, smallest)
            rows[run] = (*rows.get(run, ()), pair)
        return [Row(run, asked) for run, asked in rows.items()]


def _pairs(targets_of: dict[int, Sequence[int]]) -> tuple[Pair, ...]:
    return tuple(Pair(lr, hr) for lr, targets in targets_of.items() for hr in targets)


_IDEAL = _pairs({64: (96, 128, 256, 512, 1024)})

SUITES = {
    suite.name: suite
    for suite in (
        Suite("ideal", _IDEAL),
        Suite("ideal-supplement", _pairs({32: (128, 256, 512), 96: (256, 512, 1024)})),
        Suite("real", _pairs({16: (32,), 32: (64,), 64: (128,)}), "nn65"),
        Suite("real-supplement", _pairs({16: (64, 128, 256), 48: (128, 256, 512)}), "nn65"),
        Suite("fsr8", _pairs({12: (96,), 16: (128,), 20: (160,), 32: (256,)})),
        Suite("ablation", _IDEAL, by_module=True),
    )
}
"""The paper's tables, by name."""


def own_pairs(pairs: Sequence[Pair], degradation: str = "bic") -> Suite:
    """Custom pairs: none is shrunk, and images smaller than a pair's target are left out of it."""
    return Suite("", tuple(pairs), degradation)
