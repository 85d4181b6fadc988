"""What an evaluation found: every image's scores, their means, gains over bicubic and intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from arasfsr.evaluation.bootstrap import mean_intervals
from arasfsr.evaluation.suites import Row, Suite
from arasfsr.metrics import Protocol, Score

BASELINE = "bicubic"
"""The method that every model is compared with: Pillow's bicubic."""


class Mean(NamedTuple):
    """A mean over images with its bootstrap interval; the ends are NaN where there is none."""

    mean: float
    low: float
    high: float


class Summary(NamedTuple):
    """One method's score by one metric."""

    value: Mean
    gain: Mean
    """Over bicubic, image by image; NaN where infinite scores are subtracted."""


@dataclass(frozen=True)
class RowResult:
    """The scores of every method for one pair."""

    row: Row
    images: list[str]
    """Paths, below the folder, of the images that were large enough."""
    too_small: int
    """Images left out because their shorter side is below HR."""
    scores: dict[str, list[Score]]
    """By method, BASELINE first: a score for each of `images`."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Fields of Score that every image has."""
        every = [score for scores in self.scores.values() for score in scores]
        return tuple(name for name in Score._fields if all(getattr(score, name) is not None for score in every))

    @cached_property
    def summaries(self) -> Mapping[str, Mapping[str, Summary]]:
        """By method and metric; empty without images. All come from the same resamples."""
        if not self.images:
            return {method: {} for method in self.scores}
        shape = len(self.scores), len(self.images), len(self.metrics)
        values = np.array(
            [[[getattr(s, metric) for metric in self.metrics] for s in scores] for scores in self.scores.values()]
        ).reshape(shape)
        with np.errstate(invalid="ignore"):  # equal pictures: infinity less infinity
            both = np.stack([values, values - values[:1]])
        columns = both.transpose(2, 0, 1, 3).reshape(len(self.images), -1)
        with np.errstate(invalid="ignore"):
            told = np.concatenate([columns.mean(axis=0, keepdims=True), mean_intervals(columns)])
        value, gain = told.reshape(3, 2, shape[0], shape[2]).transpose(1, 2, 3, 0)
        return {
            method: {
                metric: Summary(Mean(*map(float, value[i, j])), Mean(*map(float, gain[i, j])))
                for j, metric in enumerate(self.metrics)
            }
            for i, method in enumerate(self.scores)
        }


@dataclass(frozen=True)
class Evaluation:
    """What was evaluated, how, and what came out."""

    folder: Path
    models: dict[str, tuple[str, ...]]
    """By name: those of the paper's modules that the model has."""
    suite: Suite
    protocol: Protocol
    backend: str
    dtype: str
    """The decoder's compute dtype; "model" is that of its parameters."""
    rows: list[RowResult]
    images: int
    """Of the folder, without the broken ones."""
    smallest: tuple[str, int]
    """The path, below the folder, of the image with the shortest side, and that side."""
    broken: list[Path]
    """Files that could not be read; their reasons are in the log."""

    @property
    def methods(self) -> list[str]:
        """BASELINE and the models, in the order of the table's columns."""
        return [BASELINE, *self.models]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Of the rows that have images."""
        return next((result.metrics for result in self.rows if result.images), Score._fields[:2])
