"""The size pairs of the paper's tables (arXiv 2511.16341), and how they are shrunk for images smaller than theirs.

The paper's originals are 1024 x 1024. One rule serves smaller ones: a pair whose target is larger than the shorter side
of the smallest image of the folder is shrunk, both sides by one factor, so that the target gets that side and the
pair keeps its scale; the LR side is rounded. All other pairs stay as the paper has them. So every row of a table is of
all images, a row that the images can serve is the paper's own, and no target is ever an enlarged image.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from arasfsr.metrics import SSIM_WINDOW

SMALLEST_SIDE = 32
"""Pixels of an image's shorter side below which a suite makes no sense: 64 -> 1024 would become 2 -> 32."""


class Pair(NamedTuple):
    """Sides, in pixels, of a square input and of the square it is upscaled to."""

    lr: int
    hr: int

    def __str__(self) -> str:
        return f"{self.lr}:{self.hr}"


def parse_pairs(text: str) -> list[Pair]:
    """Pairs from "64:256,32:256"; one that comes twice is taken once.

    Raises:
        ValueError: not of that form, LR below 1 or above HR, or HR below the window of SSIM.
    """
    pairs = []
    for entry in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,6}):([0-9]{1,6})\s*", entry)
        pair = Pair(int(match[1]), int(match[2])) if match else Pair(0, 0)
        if not (1 <= pair.lr <= pair.hr and pair.hr >= SSIM_WINDOW):
            raise ValueError(
                f"{entry.strip()!r}; taken is LR:HR, sides in pixels with LR from 1 to HR and HR of at least "
                f"{SSIM_WINDOW}, as in 64:256,32:256"
            )
        pairs.append(pair)
    return list(dict.fromkeys(pairs))


def shrink(pair: Pair, side: int) -> Pair:
    """The pair itself where its target fits into `side` pixels, else of the same scale with that target."""
    return pair if pair.hr <= side else Pair(max(1, round(pair.lr * side / pair.hr)), side)


@dataclass(frozen=True)
class Row:
    """A pair that is run, with the pairs asked for that it stands for: itself, or those that were shrunk to it."""

    pair: Pair
    asked: tuple[Pair, ...]

    def __str__(self) -> str:
        shrunk = [str(pair) for pair in self.asked if pair != self.pair]
        return f"{self.pair} (for {', '.join(shrunk)})" if shrunk else str(self.pair)


@dataclass(frozen=True)
class Suite:
    """Pairs under one degradation."""

    name: str
    """The table's; empty for pairs of one's own, which are never shrunk."""
    pairs: tuple[Pair, ...]
    degradation: str = "bic"
    """Of the inputs, one of `degrade.DEGRADATIONS`; targets are always bicubic."""
    by_module: bool = False
    """Whether the models have to differ in their modules."""

    @property
    def fitted(self) -> bool:
        """Whether pairs are shrunk to the images, and inputs made of the original, as the paper's are, not of the
        target."""
        return bool(self.name)

    def rows(self, smallest: int) -> list[Row]:
        """What is run on images whose shorter sides are at least `smallest`; pairs that become equal share a row.

        Raises:
            ValueError: `smallest` is below SMALLEST_SIDE, for a suite of the paper's.
        """
        if not self.fitted:
            return [Row(pair, (pair,)) for pair in self.pairs]
        if smallest < SMALLEST_SIDE:
            raise ValueError(f"a suite takes images whose shorter side has at least {SMALLEST_SIDE} pixels")
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
    """Pairs of one's own: none is shrunk, and an image takes part in those whose target it is large enough for."""
    return Suite("", tuple(pairs), degradation)
