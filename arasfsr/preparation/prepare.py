"""Makes a training set from a folder of photographs: aligned faces, and a manifest of what was kept and left out."""

from __future__ import annotations

import os
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from arasfsr.errors import ArgumentError, ImageError
from arasfsr.files import replacing
from arasfsr.images.files import FORMATS
from arasfsr.images.find import find_images
from arasfsr.images.transform import read_rgb, resize
from arasfsr.preparation.align import OVERHANG, align, natural_side, overhang, sharpness
from arasfsr.preparation.faces import DetectionError, Detector, Face
from arasfsr.preparation.manifest import MANIFEST, Entry, Settings, read_manifest, to_line, write_manifest

KEPT, LEFT_OUT, FAILED = "kept", "left out", "failed"

DIGITS = 2
"""Decimals of eye coordinates and sharpness in the manifest."""


@dataclass(frozen=True)
class Job:
    """A photograph, and the path of its largest face below the output folder."""

    source: Path
    output: Path


def plan(source: Path, folder: Path) -> list[Job]:
    """A job for each photograph below `source`, sorted, without those in an output folder inside it.

    Outputs mirror the tree as PNG. If photographs differ only in their suffix, their outputs keep it: a.jpg.png.

    Raises:
        ArgumentError: `source` is not a folder, has no photographs, or is the output folder.
    """
    if folder.resolve() == source.resolve():
        raise ArgumentError(f"the output folder must not be the folder of the photographs, got {folder}")
    files = find_images(source, excluded=folder)
    if not files:
        raise ArgumentError(f"{source} has no photographs; supported are {', '.join(FORMATS)}")
    relative = [path.relative_to(source) for path in files]
    stems = [path.with_suffix("") for path in relative]
    return [
        Job(file, Path(f"{path if stems.count(stem) > 1 else stem}.png"))
        for file, path, stem in zip(files, relative, stems, strict=True)
    ]


class Preparer:
    """Prepares a folder of photographs in several threads."""

    def __init__(self, source: Path, folder: Path, settings: Settings, workers: int = 1) -> None:
        """
        Raises:
            ArgumentError: as `plan`, `read_manifest` and `Detector`.
        """
        self.jobs = plan(source, folder)
        self._source, self._folder, self._settings = source, folder, settings
        self._workers = workers
        self._own = threading.local()
        self._own.detector = Detector()  # fails here, before anything is written, if OpenCV is missing
        self._earlier: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in read_manifest(folder, settings):
            self._earlier[entry.source].append(entry)

    def run(self, progress: Callable[[Sequence[Entry]], None] | None = None) -> list[Entry]:
        """Prepare the photographs that no earlier run has done, and return the entries of all of them.

        The manifest grows with each photograph, so an interrupted run continues where it stopped. `progress` is called
        with each photograph's entries as soon as it is done.

        Raises:
            OSError: the output folder cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        done = {job.source: earlier for job in self.jobs if (earlier := self._done(job))}
        here = {self._name(job) for job in self.jobs}
        # deleted photographs keep their entries, which say where the faces in the folder came from
        gone = [entry for name, earlier in self._earlier.items() if name not in here for entry in earlier]
        entries = [*gone, *(entry for earlier in done.values() for entry in earlier)]
        write_manifest(self._folder, self._settings, entries)
        todo = [job for job in self.jobs if job.source not in done]
        with (self._folder / MANIFEST).open("a", encoding="utf-8") as manifest:
            if progress is not None:
                for earlier in done.values():
                    progress(earlier)
            for found in self._each(todo):
                manifest.write("".join(map(to_line, found)))  # in one write, so that no face of a photograph is missing
                manifest.flush()
                entries += found
                if progress is not None:
                    progress(found)
        write_manifest(self._folder, self._settings, entries)
        return [entry for entry in entries if entry.source in here]

    def _each(self, jobs: Sequence[Job]) -> Iterator[list[Entry]]:
        """The entries of each photograph, in order."""
        pool = ThreadPoolExecutor(self._workers)
        try:
            yield from pool.map(self._prepare, jobs)
        finally:
            pool.shutdown(cancel_futures=True)

    def _name(self, job: Job) -> str:
        return job.source.relative_to(self._source).as_posix()

    def _done(self, job: Job) -> list[Entry] | None:
        """A photograph's entries of an earlier run if they are still valid; failures are tried again."""
        earlier = self._earlier.get(self._name(job), [])
        size = os.stat(job.source).st_size
        valid = all(
            entry.status != FAILED
            and entry.bytes == size
            and (entry.output is None or (self._folder / entry.output).is_file())
            for entry in earlier
        )
        return earlier if earlier and valid else None

    def _prepare(self, job: Job) -> list[Entry]:
        name = self._name(job)
        size = 0
        if not hasattr(self._own, "detector"):
            self._own.detector = Detector()
        try:
            size = job.source.stat().st_size
            image = read_rgb(job.source)
            found = self._own.detector.detect(image)
        except (ImageError, OSError) as error:
            return [Entry(name, size, FAILED, str(error))]
        except DetectionError as error:
            return [Entry(name, size, FAILED, f"{job.source}: {error}")]
        if not found.faces:
            reason = f"no two eyes in {found.boxes} face{'s' * (found.boxes > 1)}" if found.boxes else "no face"
            return [Entry(name, size, LEFT_OUT, reason)]
        entries: list[Entry] = []
        for face in found.faces:
            number = 1 + sum(entry.status == KEPT for entry in entries)
            output = job.output if number == 1 else job.output.with_suffix(f".face{number}.png")
            entries.append(self._keep_or_not(name, size, image, face, output))
        return entries

    def _keep_or_not(self, name: str, size: int, image: Image.Image, face: Face, output: Path) -> Entry:
        eyes = [(round(eye.x, DIGITS), round(eye.y, DIGITS)) for eye in (face.left, face.right)]
        settings, side = self._settings, natural_side(face)
        if side < settings.min_side:
            reason = f"too small: {side} pixels, of at least {settings.min_side}"
            return Entry(name, size, LEFT_OUT, reason, None, side, None, *eyes)
        beyond = overhang(face, image.size)
        if beyond > OVERHANG:
            reason = f"cut off: reaches {beyond:.0%} of its side beyond the picture, of at most {OVERHANG:.0%}"
            return Entry(name, size, LEFT_OUT, reason, None, side, None, *eyes)
        square = align(image, face)
        if side > settings.max_side:
            square = resize(square, (settings.max_side, settings.max_side))
        sharp = round(sharpness(square), DIGITS)
        if sharp < settings.min_sharpness:
            reason = f"not sharp: {sharp}, of at least {settings.min_sharpness}"
            return Entry(name, size, LEFT_OUT, reason, None, side, sharp, *eyes)
        path = self._folder / output
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            square.save(temporary)
        return Entry(name, size, KEPT, None, output.as_posix(), square.width, sharp, *eyes)


def reasons(entries: Sequence[Entry]) -> dict[str, int]:
    """Number of faces left out by reason, without the numbers in it, the most frequent first."""
    counts = Counter(re.split(r":| in \d", entry.reason or "")[0] for entry in entries if entry.status == LEFT_OUT)
    return dict(counts.most_common())
