"""A training set of a folder of photographs: each face aligned, and a manifest of what was kept and what was not."""

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

from arasfsr.atomic import replacing
from arasfsr.errors import ArgumentError, ImageError
from arasfsr.image_files import FORMATS
from arasfsr.image_find import find_images
from arasfsr.image_transform import read_rgb, resize
from arasfsr.preparation.align import OVERHANG, align, natural_side, overhang, sharpness
from arasfsr.preparation.faces import DetectionError, Detector, Face
from arasfsr.preparation.manifest import MANIFEST, Record, Settings, read_manifest, to_line, write_manifest

KEPT, LEFT_OUT, FAILED = "kept", "left out", "failed"

DIGITS = 2
"""Decimals of eyes and sharpness in the manifest."""


@dataclass(frozen=True)
class Job:
    """A photograph and the path, below the output folder, of its largest face."""

    source: Path
    output: Path


def plan(source: Path, folder: Path) -> list[Job]:
    """The photographs below a folder, sorted, without those of an output folder inside it. The outputs mirror the
    tree as PNG; where two photographs differ in their suffix alone, it stays in the name.

    Raises:
        ValueError: `source` is no folder, has no photographs, or is the output folder.
    """
    inside = folder.resolve()
    if inside == source.resolve():
        raise ArgumentError(f"the output folder must not be the folder of the photographs, got {folder}")
    files = [path for path in find_images(source) if inside not in path.resolve().parents]
    if not files:
        raise ArgumentError(f"{source} has no photographs; supported are {', '.join(FORMATS)}")
    relative = [path.relative_to(source) for path in files]
    stems = [path.with_suffix("") for path in relative]
    return [
        Job(file, Path(f"{path if stems.count(stem) > 1 else stem}.png"))
        for file, path, stem in zip(files, relative, stems, strict=True)
    ]


class Preparer:
    """Prepares photograph by photograph, in several threads."""

    def __init__(self, source: Path, folder: Path, settings: Settings, workers: int = 1) -> None:
        """
        Raises:
            ValueError: as `plan`, `read_manifest` and `Detector`.
        """
        self.jobs = plan(source, folder)
        self._source, self._folder, self._settings = source, folder, settings
        self._workers = workers
        self._own = threading.local()
        self._own.detector = Detector()  # what is missing shows before anything is written
        self._earlier: defaultdict[str, list[Record]] = defaultdict(list)
        for record in read_manifest(folder, settings):
            self._earlier[record.source].append(record)

    def run(self, told: Callable[[Sequence[Record]], None] | None = None) -> list[Record]:
        """Do what no earlier run has done, and return the records of all photographs.

        The manifest grows with each photograph, so an interrupted run goes on where it was. `told` gets each
        photograph's records as soon as they are there.

        Raises:
            OSError: the output folder cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        done = {job.source: earlier for job in self.jobs if (earlier := self._done(job))}
        here = {self._name(job) for job in self.jobs}
        # a photograph that is gone keeps its records: they tell where a face in the folder came from
        gone = [record for name, earlier in self._earlier.items() if name not in here for record in earlier]
        records = [*gone, *(record for earlier in done.values() for record in earlier)]
        write_manifest(self._folder, self._settings, records)
        todo = [job for job in self.jobs if job.source not in done]
        with (self._folder / MANIFEST).open("a", encoding="utf-8") as manifest:
            if told is not None:
                for earlier in done.values():
                    told(earlier)
            for found in self._each(todo):
                manifest.write("".join(map(to_line, found)))  # at once, so that no face of a photograph is missing
                manifest.flush()
                records += found
                if told is not None:
                    told(found)
        write_manifest(self._folder, self._settings, records)
        return [record for record in records if record.source in here]

    def _each(self, jobs: Sequence[Job]) -> Iterator[list[Record]]:
        """Every photograph's records, in order."""
        pool = ThreadPoolExecutor(self._workers)
        try:
            yield from pool.map(self._prepare, jobs)
        finally:
            pool.shutdown(cancel_futures=True)

    def _name(self, job: Job) -> str:
        return job.source.relative_to(self._source).as_posix()

    def _done(self, job: Job) -> list[Record] | None:
        """A photograph's records of an earlier run, if they still hold; what failed is tried again."""
        earlier = self._earlier.get(self._name(job), [])
        size = os.stat(job.source).st_size
        holds = all(
            record.status != FAILED
            and record.bytes == size
            and (record.output is None or (self._folder / record.output).is_file())
            for record in earlier
        )
        return earlier if earlier and holds else None

    def _prepare(self, job: Job) -> list[Record]:
        name = self._name(job)
        size = 0
        if not hasattr(self._own, "detector"):
            self._own.detector = Detector()
        try:
            size = job.source.stat().st_size
            image = read_rgb(job.source)
            found = self._own.detector.detect(image)
        except (ImageError, OSError) as error:
            return [Record(name, size, FAILED, str(error))]
        except DetectionError as error:
            return [Record(name, size, FAILED, f"{job.source}: {error}")]
        if not found.faces:
            reason = f"no two eyes in {found.boxes} face{'s' * (found.boxes > 1)}" if found.boxes else "no face"
            return [Record(name, size, LEFT_OUT, reason)]
        records: list[Record] = []
        for face in found.faces:
            number = 1 + sum(record.status == KEPT for record in records)
            output = job.output if number == 1 else job.output.with_suffix(f".face{number}.png")
            records.append(self._keep_or_not(name, size, image, face, output))
        return records

    def _keep_or_not(self, name: str, size: int, image: Image.Image, face: Face, output: Path) -> Record:
        eyes = [(round(eye.x, DIGITS), round(eye.y, DIGITS)) for eye in (face.left, face.right)]
        settings, side = self._settings, natural_side(face)
        if side < settings.min_side:
            reason = f"too small: {side} pixels, of at least {settings.min_side}"
            return Record(name, size, LEFT_OUT, reason, None, side, None, *eyes)
        beyond = overhang(face, image.size)
        if beyond > OVERHANG:
            reason = f"cut off: reaches {beyond:.0%} of its side beyond the picture, of at most {OVERHANG:.0%}"
            return Record(name, size, LEFT_OUT, reason, None, side, None, *eyes)
        square = align(image, face)
        if side > settings.max_side:
            square = resize(square, (settings.max_side, settings.max_side))
        sharp = round(sharpness(square), DIGITS)
        if sharp < settings.min_sharpness:
            reason = f"not sharp: {sharp}, of at least {settings.min_sharpness}"
            return Record(name, size, LEFT_OUT, reason, None, side, sharp, *eyes)
        path = self._folder / output
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            square.save(temporary)
        return Record(name, size, KEPT, None, output.as_posix(), square.width, sharp, *eyes)


def reasons(records: Sequence[Record]) -> dict[str, int]:
    """How often each reason left something out, the numbers in it aside, the commonest first."""
    counted = Counter(re.split(r":| in \d", record.reason or "")[0] for record in records if record.status == LEFT_OUT)
    return dict(counted.most_common())
