"""Finds faces and their eyes with OpenCV's Haar cascades (Viola and Jones 2001); needs the extra `prepare`."""

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

from arasfsr.errors import ArasfsrError, ArgumentError, one_line

FACE_CASCADE = "haarcascade_frontalface_alt2.xml"

EYE_CASCADES = ("haarcascade_eye.xml", "haarcascade_eye_tree_eyeglasses.xml")
"""The second finds fewer eyes, but also those behind glasses."""

DETECTION_SIDE = 960
"""Longer side in pixels for face detection; larger photographs are shrunk to it."""

FACE_SIDE = 240
"""Side of a face's box in pixels for eye detection; boxes are resized to it."""

SMALLEST_FACE = 24
"""Smallest side of a face's box in pixels of the shrunk photograph; the cascade's window has 20."""

NEIGHBOURS = 4
"""Overlapping detections needed for a face; with fewer, every texture has faces."""

EYE_NEIGHBOURS = 3

SMALLEST_EYE = 0.15
"""Smallest side of an eye's box, as a fraction of the face's; an eye has about 0.2, corners and nostrils less."""

TURNS = (0, -20, 20, -40, 40)
"""Degrees by which the photograph is rotated, in this order, until a face with two eyes is found; a cascade finds faces
within about 15 degrees of upright."""

TILTED = 6.0
"""Roll in degrees above which a face is detected again, rotated upright."""

EYES_MIDPOINT = (0.49, 0.4)
"""(x, y) of the midpoint between the eyes in a box of the face cascade, as a fraction of its side."""

EYES_DISTANCE = 0.38
"""Distance between the eyes, as a fraction of the box's side."""

SAME_EYE = 0.2
"""Detections within this fraction of the eyes' distance are of one eye; their mean is more stable."""

WORST_FIT = 0.3
"""Largest `_misfit` of two detections that are the eyes of a face."""


class Point(NamedTuple):
    """Continuous pixel coordinates: the upper left corner is (0, 0), the centre of the first pixel (0.5, 0.5)."""

    x: float
    y: float


@dataclass(frozen=True)
class Face:
    """The eyes of a face, in coordinates of the photograph."""

    left: Point
    """The eye at the left of the picture, if the face is upright."""
    right: Point

    @property
    def midpoint(self) -> Point:
        return Point((self.left.x + self.right.x) / 2, (self.left.y + self.right.y) / 2)

    @property
    def distance(self) -> float:
        """Distance between the eyes in pixels."""
        return math.hypot(self.right.x - self.left.x, self.right.y - self.left.y)

    @property
    def roll(self) -> float:
        """Clockwise rotation of the face in degrees; y points down."""
        return math.degrees(math.atan2(self.right.y - self.left.y, self.right.x - self.left.x))


class DetectionError(ArasfsrError, RuntimeError):
    """OpenCV failed on a picture; the message says why."""


class Detection(NamedTuple):
    """The faces found in a photograph."""

    faces: list[Face]
    """Faces with two eyes, the largest first."""
    boxes: int
    """Boxes of the face cascade, with or without eyes."""


class Detector:
    """OpenCV's cascades; an object must not be shared by threads.

    Raises:
        ArgumentError: OpenCV is missing, or has no cascades.
    """

    def __init__(self) -> None:
        try:
            self._cv2: Any = importlib.import_module("cv2")
            folder = Path(self._cv2.data.haarcascades)
        except (ImportError, AttributeError) as error:
            raise ArgumentError(
                f'finding faces needs an optional extra, OpenCV 4: pip install "arasfsr[prepare]" ({error})'
            ) from error
        self._cv2.setNumThreads(1)  # the order of detections depends on OpenCV's threads
        self._face, *self._eyes = (self._load(folder / name) for name in (FACE_CASCADE, *EYE_CASCADES))

    def _load(self, path: Path) -> Any:
        cascade = self._cv2.CascadeClassifier(str(path))
        if cascade.empty():
            raise ArgumentError(
                f'OpenCV {self._cv2.__version__} has no {path}: pip install "arasfsr[prepare]" has OpenCV 4'
            )
        return cascade

    def detect(self, image: Image.Image) -> Detection:
        """Find the faces with two eyes in an RGB photograph, in the first of TURNS that shows one.

        Raises:
            DetectionError: OpenCV fails, usually for lack of memory.
        """
        try:
            return self._detect(image)
        except self._cv2.error as error:
            raise DetectionError(one_line(error)) from error

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
        """Detect a face again, rotated upright, if it is tilted in the picture it was found in, where its eyes are
        located less precisely; None if it is not found again."""
        if abs(face.roll + degrees) <= TILTED:
            return face
        upright = self._detect_turned(gray, -face.roll).faces
        near = [other for other in upright if math.dist(other.midpoint, face.midpoint) < face.distance / 2]
        return min(near, key=lambda other: math.dist(other.midpoint, face.midpoint), default=None)

    def _detect_turned(self, gray: np.ndarray, degrees: float) -> Detection:
        """Detect faces in the rotated picture; coordinates are those of the unrotated one."""
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
        """The most plausible pair of eyes in a face's box."""
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
    """Mean of the points within a distance of a centre."""
    near = [point for point in points if math.dist(point, centre) <= distance]
    return Point(sum(point.x for point in near) / len(near), sum(point.y for point in near) / len(near))


def _misfit(face: Face, left: float, top: float, side: float) -> float:
    """How far two eyes are from their expected place in a face's box, as a fraction of its side; 0 is best."""
    midpoint = face.midpoint
    x, y = (midpoint.x - left) / side, (midpoint.y - top) / side
    slope = abs(face.right.y - face.left.y) / side
    return abs(x - EYES_MIDPOINT[0]) + abs(y - EYES_MIDPOINT[1]) + abs(face.distance / side - EYES_DISTANCE) + slope


@dataclass(frozen=True)
class Turn:
    """Clockwise rotation of a picture about its centre, on a canvas that holds all of it."""

    size: tuple[int, ...]
    """(height, width) of the picture."""
    degrees: float

    @cached_property
    def matrix(self) -> np.ndarray:
        """(2, 3), maps continuous coordinates of the picture to those of the canvas."""
        height, width = self.size[:2]
        c, s = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        rotation = np.array([[c, -s], [s, c]])
        canvas = self.canvas
        shift = np.array([canvas[1], canvas[0]]) / 2 - rotation @ (np.array([width, height]) / 2)
        return np.hstack([rotation, shift[:, None]])

    @property
    def canvas(self) -> tuple[int, int]:
        """(height, width) of the canvas."""
        height, width = self.size[:2]
        c, s = abs(math.cos(math.radians(self.degrees))), abs(math.sin(math.radians(self.degrees)))
        return math.ceil(height * c + width * s), math.ceil(width * c + height * s)

    def apply(self, cv2: Any, picture: np.ndarray) -> np.ndarray:
        """The rotated picture; outside it its edge is repeated."""
        if self.degrees == 0:
            return picture
        matrix = self.matrix.copy()
        matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5  # OpenCV's origin is the centre of the first pixel
        height, width = self.canvas
        turned: np.ndarray = cv2.warpAffine(
            picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return turned

    def back(self, point: Point) -> Point:
        """Map a point of the canvas to the picture."""
        x, y = self.matrix[:, :2].T @ (np.array(point) - self.matrix[:, 2])
        return Point(float(x), float(y))
