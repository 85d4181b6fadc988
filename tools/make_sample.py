"""Make the bundled sample face from scikit-image's astronaut portrait: `python tools/make_sample.py`."""

from __future__ import annotations

import math
from pathlib import Path

import skimage.data
from PIL import Image

ASSETS = Path(__file__).parents[1] / "arasfsr" / "assets"

EYES = ((203.5, 100.8), (246.5, 103.0))
"""Pupils (x, y) in the portrait, in pixels, measured by eye."""

EYE_DISTANCE = 0.26
EYES_MIDPOINT = (0.50, 0.44)
"""Framing of aligned portraits, as fractions of the crop's side."""

LARGEST_SIDE = 256
LR_SIDE = 64


def crop_box() -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the square with that framing of the eyes."""
    side = round(math.dist(*EYES) / EYE_DISTANCE)
    left, top = (round((EYES[0][axis] + EYES[1][axis]) / 2 - share * side) for axis, share in enumerate(EYES_MIDPOINT))
    return left, top, left + side, top + side


def main() -> None:
    """Write sample_hr.png, of at most 256 x 256 pixels, and sample.png, its 64 x 64 downscaling."""
    portrait = Image.fromarray(skimage.data.astronaut())
    box = crop_box()
    face = portrait.crop(box)
    if face.width > LARGEST_SIDE:
        face = face.resize((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.BICUBIC)
    ASSETS.mkdir(exist_ok=True)
    face.save(ASSETS / "sample_hr.png", optimize=True)
    face.resize((LR_SIDE, LR_SIDE), Image.Resampling.BICUBIC).save(ASSETS / "sample.png", optimize=True)
    print(f"crop {box} of the portrait: sample_hr.png {face.width} x {face.height}, sample.png {LR_SIDE} x {LR_SIDE}")


if __name__ == "__main__":
    main()
