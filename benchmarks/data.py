"""How fast one worker makes training samples, and how fast it decodes the images that they are made of."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from arasfsr.images.transform import read_rgb
from arasfsr.training.config import DataConfig
from arasfsr.training.data import Photograph, Samples

SIDE = 128
IMAGES = 200
BATCH = 16
BAR = 300.0
"""Samples a second and worker."""

CASES = {
    "samples": DataConfig(),
    "samples-patches": DataConfig(whole=0.7),
    "samples-whole-pictures": DataConfig(queries=None),
}
"""How samples are made; the LR sides are the defaults, 16 to 64."""


def faces() -> list[Photograph]:
    """Smooth pictures of 128 x 128 pixels with a little noise: what is timed does not depend on what they show."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(IMAGES):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = (smooth + rng.integers(-4, 5, smooth.shape)).clip(0, 255).astype(np.uint8)
        found.append(Photograph.of(Path(f"{i}.png"), Image.fromarray(noisy)))
    return found


def _rate(make: Callable[[int], object], count: int, repetitions: int) -> dict[str, Any]:
    """How many a second: the median over the repetitions, and each."""
    for k in range(BATCH):
        make(k)
    rates = []
    for repetition in range(repetitions):
        start = time.perf_counter()
        for k in range(repetition * count, (repetition + 1) * count):
            make(k)
        rates.append(count / (time.perf_counter() - start))
    return {"per_second": statistics.median(rates), "rates": rates, "load": os.getloadavg()[0]}


def measure(count: int = 1000, repetitions: int = 5) -> dict[str, dict[str, Any]]:
    """Every case by name; samples with their bar."""
    images = faces()
    found = {}
    for name, config in CASES.items():
        samples = Samples(images, config, BATCH, 0, count * repetitions)
        found[name] = _rate(samples.__getitem__, count, repetitions) | {"bar": BAR}
    with tempfile.TemporaryDirectory() as folder:
        paths = {"png": [], "jpg": []}  # type: dict[str, list[Path]]
        for suffix, files in paths.items():
            for photograph in images:
                files.append(Path(folder, photograph.path.name).with_suffix(f".{suffix}"))
                photograph.image.save(files[-1])
        for suffix, files in paths.items():
            found[f"decode-{suffix}"] = _rate(lambda k: read_rgb(files[k % IMAGES]), IMAGES, repetitions)  # noqa: B023
    return found
