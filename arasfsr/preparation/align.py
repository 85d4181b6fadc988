"""The aligned square of a face, framed as the training images of the bundled models, and its sharpness."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from arasfsr.images.transform import resize
from arasfsr.preparation.faces import Face, Point

EYES_MIDPOINT = (0.50, 0.44)
"""(x, y) of the midpoint between the eyes, as a fraction of the square's side."""

EYES_DISTANCE = 0.26
"""Distance between the eyes, as a fraction of the square's side."""

ROLL_KEPT = 5.0
"""Largest roll in degrees that is not corrected: rotation blurs the picture, and the eyes are not located more
precisely than that."""

OVERHANG = 0.03
"""Fraction of its side by which a square may extend beyond the photograph, whose edge is then repeated."""


def natural_side(face: Face) -> int:
    """Side of the face's square in pixels of the photograph, rounded down, so that nothing is enlarged."""
    return math.floor(face.distance / EYES_DISTANCE + 1e-6)  # 52 pixels / 0.26 are 200


def overhang(face: Face, size: tuple[int, int]) -> float:
    """How far the face's square extends beyond a photograph of `size` = (width, height), as a fraction of its side; at
    most 0 if it lies inside."""
    side = natural_side(face)
    to_photograph = _matrix(face, side)
    corners = [to_photograph @ (x, y, 1) for x in (0, side) for y in (0, side)]
    return max(float(max(-x, x - size[0], -y, y - size[1])) for x, y in corners) / side


def align(image: Image.Image, face: Face) -> Image.Image:
    """The face's square with a side of `natural_side`: cropped if the face is upright, else rotated bicubically.

    Beyond the photograph its edge is repeated.
    """
    side = natural_side(face)
    matrix = _matrix(face, side)
    if abs(face.roll) <= ROLL_KEPT:
        left, top = (round(float(value)) for value in matrix[:, 2])
        return Image.fromarray(_window(image, left, top, left + side, top + side))
    corners = np.array([matrix @ (x, y, 1) for x in (0, side) for y in (0, side)])
    (left, top), (right, bottom) = np.floor(corners.min(axis=0)) - 2, np.ceil(corners.max(axis=0)) + 2
    window = Image.fromarray(_window(image, int(left), int(top), int(right), int(bottom)))
    matrix[:, 2] -= left, top
    return window.transform(
        (side, side), Image.Transform.AFFINE, tuple(map(float, matrix.ravel())), Image.Resampling.BICUBIC
    )


def _matrix(face: Face, side: int) -> np.ndarray:
    """(2, 3), maps continuous coordinates of the square to those of the photograph."""
    roll = math.radians(face.roll) if abs(face.roll) > ROLL_KEPT else 0.0
    rotation = np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
    midpoint: Point = face.midpoint
    return np.hstack([rotation, (np.array(midpoint) - side * rotation @ EYES_MIDPOINT)[:, None]])


def _window(image: Image.Image, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """Pixels of a rectangle that may extend beyond the picture, whose edge is repeated."""
    rows = np.arange(top, bottom).clip(0, image.height - 1)
    columns = np.arange(left, right).clip(0, image.width - 1)
    first = image.crop((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))
    pixels: np.ndarray = np.asarray(first)[rows - rows[0]][:, columns - columns[0]]
    return pixels


def sharpness(image: Image.Image) -> float:
    """RMS error of halving a picture and enlarging it again, divided by the same error of the halved picture.

    It measures detail at the picture's own size, whatever the contrast. On 96 aligned portraits it is 0.42 to 0.88; on
    the same portraits enlarged twice, or blurred by 1.5 pixels, 0.19 to 0.31; enlarged 1.5 times, 0.33 to 0.53. A flat
    picture has 0.
    """
    gray = image.convert("L")
    half = _half(gray)
    lost, lost_again = (_difference(of, resize(_half(of), of.size)) for of in (gray, half))
    return lost / lost_again if lost_again else 0.0


def _half(image: Image.Image) -> Image.Image:
    return resize(image, (max(1, image.width // 2), max(1, image.height // 2)))


def _difference(one: Image.Image, other: Image.Image) -> float:
    """Root mean square difference in grey levels."""
    return float(np.sqrt(np.mean((np.asarray(one, np.float64) - np.asarray(other, np.float64)) ** 2)))
