"""Pictures that tests are made with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth colour picture with some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [120 + 90 * np.sin(x / (2 + c) + seed) * np.cos(y / (3 + c)) for c in range(3)]
    pixels = np.stack(waves, axis=-1) + rng.normal(0, 5, (height, width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    """The same random pixels each time, over the whole range of the type."""
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def three_pictures(folder: Path) -> Path:
    """Three images: 16 x 16, a wider one below a folder, and one of 15 x 40."""
    (folder / "more").mkdir()
    picture(16, 16, 1).save(folder / "a.png")
    picture(31, 20, 2).save(folder / "more" / "b.png")
    picture(15, 40, 3).save(folder / "small.png")
    return folder
