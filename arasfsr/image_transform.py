"""How a large picture becomes a small one: the degradations of the paper's tables (arXiv 2511.16341)."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from arasfsr.training.data import resize

JPEG_QUALITY = 65
"""The quality, 1 .. 95, that gives nn65 its name."""


@dataclass(frozen=True)
class Degradation:
    """A function that makes an LR image, called as it, with what it does in words."""

    text: str
    apply: Callable[[Image.Image, tuple[int, int]], Image.Image]

    def __call__(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        """Bring an RGB image to `size` = (width, height); the image given is left as it is.

        Raises:
            ValueError: the image has another mode than RGB, or a side of `size` is below 1.
        """
        if image.mode != "RGB":
            raise ValueError(f"image has mode {image.mode}; taken is RGB")
        if min(size) < 1:
            raise ValueError(f"size={size}; taken is (width, height) of at least 1")
        return self.apply(image, size)


def nearest_jpeg(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The nearest pixels, as JPEG of quality 65 keeps them (4:2:0, Pillow's default tables)."""
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.NEAREST).save(buffer, format="JPEG", quality=JPEG_QUALITY)
    buffer.seek(0)
    with Image.open(buffer) as decoded:
        return decoded.convert("RGB")


DEGRADATIONS = {
    "bic": Degradation("Pillow's bicubic, which low-passes", resize),
    "nn65": Degradation(f"nearest pixels, then JPEG of quality {JPEG_QUALITY}", nearest_jpeg),
}
"""Every degradation, by the paper's name for it."""
