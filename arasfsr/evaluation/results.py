"""What an evaluation found: every image's scores, their means, gains over bicubic and bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from arasfsr.evaluation.metrics import Protocol, Score
from arasfsr.evaluation.suites import Row, Suite

BASELINE = "bicubic"
"""The method that every model is compared with: Pillow's bicubic."""

RESAMPLES = 10_000
"""Bootstrap resamples of the images; the ends of an interval then vary by about 1% of its length with the seed."""

SEED = 0
"""Seed of the resamples, so that equal scores have equal intervals."""

CONFIDENCE = 0.95

CHUNK = 1 << 20
"""Drawn indices in memory at a time."""


@dataclass(frozen=True)
class Evaluation:
    """What was evaluated, how, and the scores."""

    folder: Path
    models: dict[str, tuple[str, ...]]
    """The paper's modules that each model has, by the model's name."""
    suite: Suite
    protocol: Protocol
    backend: str
    dtype: str
    """Compute dtype of the decoder; "model" is the dtype of its parameters."""
    rows: list[RowResult]
    images: int
    """Readable images of the folder."""
    smallest: tuple[str, int]
    """Path, below the folder, of the image with the shortest side, and that side in pixels."""
    broken: list[Path]
    """Files that could not be read; the log says why."""

    @property
    def methods(self) -> list[str]:
        """BASELINE and the models, in the order of the columns."""
        return [BASELINE, *self.models]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics of the rows that have images."""
        return next((result.metrics for result in self.rows if result.images), Score._fields[:2])


@dataclass(frozen=True)
class RowResult:
    """The scores of every method for one pair."""

    row: Row
    images: list[str]
    """Paths, below the folder, of the images that are large enough."""
    too_small: int
    """Images left out because their shorter side is below HR."""
    scores: dict[str, list[Score]]
    """A score for each of `images`, by method, BASELINE first."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Fields of Score that every image has."""
        every = [score for scores in self.scores.values() for score in scores]
        return tuple(name for name in Score._fields if all(getattr(score, name) is not None for score in every))

    @cached_property
    def summaries(self) -> Mapping[str, Mapping[str, Summary]]:
        """Summaries by method and metric, all from the same resamples; empty without images."""
        if not self.images:
            return {method: {} for method in self.scores}
        shape = len(self.scores), len(self.images), len(self.metrics)
        values = np.array(
            [[[getattr(s, metric) for metric in self.metrics] for s in scores] for scores in self.scores.values()]
        ).reshape(shape)
        with np.errstate(invalid="ignore"):  # equal pictures: infinity minus infinity
            both = np.stack([values, values - values[:1]])
        columns = both.transpose(2, 0, 1, 3).reshape(len(self.images), -1)
        with np.errstate(invalid="ignore"):
            summary = np.concatenate([columns.mean(axis=0, keepdims=True), mean_intervals(columns)])
        value, gain = summary.reshape(3, 2, shape[0], shape[2]).transpose(1, 2, 3, 0)
        return {
            method: {
                metric: Summary(Mean(*map(float, value[i, j])), Mean(*map(float, gain[i, j])))
                for j, metric in enumerate(self.metrics)
            }
            for i, method in enumerate(self.scores)
        }


class Summary(NamedTuple):
    """One method's score by one metric."""

    value: Mean
    gain: Mean
    """Paired difference to BASELINE, image by image; NaN where infinite scores are subtracted."""


class Mean(NamedTuple):
    """A mean over images with its bootstrap interval, whose ends are NaN if there is none."""

    mean: float
    low: float
    high: float


def mean_intervals(values: np.ndarray) -> np.ndarray:
    """Bootstrap intervals of means over images (Efron 1979, percentile method), at level CONFIDENCE.

    All columns are resampled together, so the difference of two columns is a paired one.

    Args:
        values: (n, k), k values of each of n images.

    Returns:
        (2, k), low ends and high ends. NaN for a column with values that are not finite, and for fewer than two
        images.
    """
    images, columns = values.shape
    if images < 2:
        return np.full((2, columns), np.nan)
    rng = np.random.default_rng(SEED)
    usable = np.isfinite(values).all(axis=0)
    finite = np.where(usable, values, 0.0)
    means = np.empty((RESAMPLES, columns))
    step = max(1, CHUNK // images)
    for first in range(0, RESAMPLES, step):
        count = min(step, RESAMPLES - first)
        drawn = rng.integers(0, images, (count, images))
        # count how often each image was drawn: one matrix product then serves all columns
        shifted = drawn + images * np.arange(count)[:, None]
        times = np.bincount(shifted.ravel(), minlength=count * images).reshape(count, images)
        means[first : first + count] = times @ finite / images
    tail = (1 - CONFIDENCE) / 2
    return np.where(usable, np.quantile(means, [tail, 1 - tail], axis=0), np.nan)
