"""Bootstrap intervals of means over images (Efron 1979, the percentile method)."""

from __future__ import annotations

import numpy as np

RESAMPLES = 10_000
"""Resamples of the images; the ends of an interval then vary by about a hundredth of its length with the seed."""

SEED = 0
"""Of the resamples, so that the same scores always have the same intervals."""

CONFIDENCE = 0.95

CHUNK = 1 << 20
"""Drawn indices that are held at a time."""


def mean_intervals(values: np.ndarray) -> np.ndarray:
    """Intervals that hold the means with CONFIDENCE: (n, k) values of n images to (2, k), low ends and high ends.

    All columns are resampled together, image by image, so differences of two columns keep their pairing. NaN where a
    column has a value that is not finite, and for fewer than two images.
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
        # how often each image was drawn: one product then serves all columns
        shifted = drawn + images * np.arange(count)[:, None]
        times = np.bincount(shifted.ravel(), minlength=count * images).reshape(count, images)
        means[first : first + count] = times @ finite / images
    tail = (1 - CONFIDENCE) / 2
    return np.where(usable, np.quantile(means, [tail, 1 - tail], axis=0), np.nan)
