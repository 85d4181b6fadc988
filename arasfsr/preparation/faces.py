"""Faces and their eyes in photographs, by OpenCV's Haar cascades (Viola and Jones 2001), of the extra `prepare`."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

FACE_CASCADE = "haarcascade_frontalface_alt2.xml"

EYE_CASCADES = ("haarcascade_eye.xml", "haarcascade_eye_tree_eyeglasses.xml")
"""The second finds fewer, but those behind glasses too."""

DETECTION_SIDE = 960
"""Pixels of the longer side at which faces are looked for; larger photographs are shrunk."""

FACE_SIDE = 240
"""Pixels of a face's box at which its eyes are looked for."""

SMALLEST_FACE = 24
"""Pixels of a face's box at the detection's size; the cascade's own window has 20."""

NEIGHBOURS = 4
"""Overlapping detections that make a face; fewer find faces in every texture."""

EYE_NEIGHBOURS = 3

SMALLEST_EYE = 0.15
"""Of an eye's box, as a part of the face's; an eye has some 0.2, what is smaller are corners of eyes and nostrils."""

TURNS = (0, -20, 20, -40, 40)
"""Degrees by which the photograph is turned, one after the other, until a face with two eyes shows; a cascade finds
faces within some 15 degrees of upright."""

ASLANT = 6.0
"""Degrees of roll from which a face is looked at again, turned upright."""

EYES_MIDPOINT = (0.49, 0.4)
"""(x, y) of the eyes' midpoint in a box of the face cascade, as a part of its side."""

EYES_DISTANCE = 0.38
"""Of the eyes, as a part of the box's side."""

SAME_EYE = 0.2
"""Detections of an eye, by either cascade, lie within this part of the eyes' distance; their mean is steadier."""

WORST_FIT = 0.3
"""Of `_misfit`, beyond which two detections are no eyes of a face."""


class Point(NamedTuple):
    """Continuous pixel coordinates: the picture's upper left corner is (0, 0), its first pixel's centre (0.5, 0.5)."""

    x: float
    y: float


@dataclass(frozen=True)
class Face:
    """A face by its eyes, in the photograph's coordinates."""

    left: Point
    """The eye that an upright face has at the left of the picture."""
    right: Point

    @property
    def midpoint(self) -> Point:
        return Point((self.left.x + self.right.x) / 2, (self.left.y + self.right.y) / 2)

    @property
    def distance(self) -> float:
        """Of the eyes in pixels."""
        return math.hypot(self.right.x - self.left.x, self.right.y - self.left.y)

    @property
    def roll(self) -> float:
        """Degrees by which the face is turned clockwise in the picture, whose y points down."""
        return math.degrees(math.atan2(self.right.y - self.left.y, self.right.x - self.left.x))


class DetectionError(RuntimeError):
    """OpenCV cannot search a picture; the message says why."""


class Detection(NamedTuple):
    """What was found in a photograph."""

    faces: list[Face]
    """The largest first."""
    boxes: int
    """Faces of the cascade's, with and without eyes; of the turn that was taken."""


class Detector:
    """OpenCV's cascades, loaded once; not to be shared by threads.

    Raises:
        ValueError: OpenCV is missing, or has no cascades.
    """

    def __init__(self) -> None:
        try:
            self._cv2: Any = importlib.import_module("cv2")
            folder = Path(self._cv2.data.haarcascades)
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f'finding faces needs an optional extra, OpenCV 4: pip install "arasfsr[prepare]" ({error})'
            ) from error
        self._cv2.setNumThreads(1)  # OpenCV's threads hand detections over in any order
        self._face, *self._eyes = (self._load(folder / name) for name in (FACE_CASCADE, *EYE_CASCADES))

    def _load(self, path: Path) -> Any:
        cascade = self._cv2.CascadeClassifier(str(path))
        if cascade.empty():
            raise ValueError(
                f'OpenCV {self._cv2.__version__} has no {path}: pip install "arasfsr[prepare]" has OpenCV 4'
            )
        return cascade

    def detect(self, image: Image.Image) -> Detection:
        """The faces of an RGB photograph that have two eyes, as one of TURNS shows them.

        Raises:
            DetectionError: OpenCV fails, for want of memory as a rule.
        """
        try:
            return self._detect(image)
        except self._cv2.error as error:
            raise DetectionError(str(error).strip().splitlines()[0]) from error

    def _detect(self, image: Image.Image) -> Detection:
        gray = np.asarray(image.convert("L"))
        boxes = 0
        for degrees in TURNS:
            found = self._detect_turned(gray, degrees)
            boxes = max(boxes, found.boxes)
            seen = (self._look_again(gray, face, degrees) for face in found.faces)
            faces = [face for face in seen if face is not None]
            if faces:
                return Detection(sorted(faces, key=lambda face: (-face.distance, face.left)), found.boxes)
        return Detection([], boxes)

    def _look_again(self, gray: np.ndarray, face: Face, degrees: float) -> Face | None:
        """The same face as it shows when it is upright, where the turn that showed it left it aslant: its eyes are
        found less surely then. None where it does not show."""
        if abs(face.roll + degrees) <= ASLANT:
            return face
        upright = self._detect_turned(gray, -face.roll).faces
        near = [other for other in upright if math.dist(other.midpoint, face.midpoint) < face.distance / 2]
        return min(near, key=lambda other: math.dist(other.midpoint, face.midpoint), default=None)

    def _detect_turned(self, gray: np.ndarray, degrees: float) -> Detection:
        """What shows in a picture turned by some degrees, in the coordinates of the picture as it is."""
        turn = Turn(gray.shape, degrees)
        found = self._detect_upright(turn.apply(self._cv2, gray))
        return Detection([Face(turn.back(face.left), turn.back(face.right)) for face in found.faces], found.boxes)

    def _detect_upright(self, gray: np.ndarray) -> Detection:
        factor = min(1.0, DETECTION_SIDE / max(gray.shape))
        small = self._resize(gray, factor)
        boxes = self._face.detectMultiScale(small, 1.1, NEIGHBOURS, minSize=(SMALLEST_FACE, SMALLEST_FACE))
        each = [tuple(float(value) / factor for value in box) for box in boxes]
        faces = [face for box in each if (face := self._eyes_of(gray, *box)) is not None]
        return Detection(faces, len(each))

    def _eyes_of(self, gray: np.ndarray, left: float, top: float, width: float, height: float) -> Face | None:
        """The most plausible two eyes of a face's box."""
        x0, y0 = max(0, int(left)), max(0, int(top))
        crop = gray[y0 : int(top + 0.7 * height), x0 : int(left + width)]
        factor = FACE_SIDE / width
        part = self._resize(crop, factor)
        smallest = round(SMALLEST_EYE * FACE_SIDE)
        eyes = sorted(
            Point((x + w / 2) / factor + x0, (y + h / 2) / factor + y0)
            for cascade in self._eyes
            for x, y, w, h in cascade.detectMultiScale(part, 1.05, EYE_NEIGHBOURS, minSize=(smallest, smallest))
        )
        pairs = [Face(one, other) for i, one in enumerate(eyes) for other in eyes[i + 1 :]]
        best = min(pairs, key=lambda face: _misfit(face, left, top, width), default=None)
        if best is None or _misfit(best, left, top, width) > WORST_FIT:
            return None
        near = SAME_EYE * best.distance
        return Face(_mean_near(eyes, best.left, near), _mean_near(eyes, best.right, near))

    def _resize(self, gray: np.ndarray, factor: float) -> np.ndarray:
        method = self._cv2.INTER_AREA if factor < 1 else self._cv2.INTER_LINEAR
        size = max(1, round(gray.shape[1] * factor)), max(1, round(gray.shape[0] * factor))
        resized: np.ndarray = gray if factor == 1 else self._cv2.resize(gray, size, interpolation=method)
        return resized


def _mean_near(points: Sequence[Point], centre: Point, distance: float) -> Point:
    """Of the points within a distance of one of them."""
    near = [point for point in points if math.dist(point, centre) <= distance]
    return Point(sum(point.x for point in near) / len(near), sum(point.y for point in near) / len(near))


def _misfit(face: Face, left: float, top: float, side: float) -> float:
    """How far two eyes are from where they should be in a face's box, in parts of its side; 0 is best."""
    midpoint = face.midpoint
    x, y = (midpoint.x - left) / side, (midpoint.y - top) / side
    slope = abs(face.right.y - face.left.y) / side
    return abs(x - EYES_MIDPOINT[0]) + abs(y - EYES_MIDPOINT[1]) + abs(face.distance / side - EYES_DISTANCE) + slope


@dataclass(frozen=True)
class Turn:
    """A picture turned clockwise about its middle, on a canvas that holds all of it."""

    size: tuple[int, ...]
    """(height, width) of the picture."""
    degrees: float

    @cached_property
    def matrix(self) -> np.ndarray:
        """(2, 3): continuous coordinates of the picture to those of the canvas."""
        height, width = self.size[:2]
        c, s = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        rotation = np.array([[c, -s], [s, c]])
        canvas = self.canvas
        shift = np.array([canvas[1], canvas[0]]) / 2 - rotation @ (np.array([width, height]) / 2)
        return np.hstack([rotation, shift[:, None]])

    @property
    def canvas(self) -> tuple[int, int]:
        """(height, width)."""
        height, width = self.size[:2]
        c, s = abs(math.cos(math.radians(self.degrees))), abs(math.sin(math.radians(self.degrees)))
        return math.ceil(height * c + width * s), math.ceil(width * c + height * s)

    def apply(self, cv2: Any, picture: np.ndarray) -> np.ndarray:
        """The canvas; what the picture does not cover repeats its edge."""
        if self.degrees == 0:
            return picture
        matrix = self.matrix.copy()
        matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5  # OpenCV counts from pixels' centres
        height, width = self.canvas
        turned: np.ndarray = cv2.warpAffine(
            picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return turned

    def back(self, point: Point) -> Point:
        """A point of the canvas in the picture."""
        x, y = self.matrix[:, :2].T @ (np.array(point) - self.matrix[:, 2])
        return Point(float(x), float(y))
