"""Upscaling many pictures: input and output files, sizes, and a record of each."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from arasfsr.errors import ArgumentError, ImageError
from arasfsr.images.files import FORMATS, check_target, read_image, write_image
from arasfsr.images.find import find_images
from arasfsr.model import ImplicitSR
from arasfsr.upscaling import scaled_size, upscale_raster


@dataclass(frozen=True)
class SizeRule:
    """How the output's size follows from the input's; exactly one field is set."""

    scale: float | None = None
    size: tuple[int, int] | None = None
    """(height, width) in pixels."""
    width: int | None = None
    height: int | None = None
    long_side: int | None = None

    def apply(self, size: tuple[int, int]) -> tuple[int, int]:
        """The output's (height, width) for an input's; if only one side is set, the aspect ratio is kept."""
        if self.size is not None:
            return self.size
        if self.scale is not None:
            return scaled_size(size, self.scale)
        height, width = size
        if self.width is not None:
            return _proportional(height, self.width, width), self.width
        if self.height is not None:
            return self.height, _proportional(width, self.height, height)
        if self.long_side is None:
            raise ArgumentError("one field of SizeRule must be set, got none")
        if height > width:
            return self.long_side, _proportional(width, self.long_side, height)
        return _proportional(height, self.long_side, width), self.long_side

    @property
    def label(self) -> str:
        """For file names: x3.7, 1024x768 (width x height), w1024, h768 or l2048."""
        if self.size is not None:
            return f"{self.size[1]}x{self.size[0]}"
        named = (("x", self.scale), ("w", self.width), ("h", self.height), ("l", self.long_side))
        return next(f"{letter}{value:g}" if letter == "x" else f"{letter}{value}" for letter, value in named if value)


def _proportional(side: int, numerator: int, denominator: int) -> int:
    return max(1, round(side * numerator / denominator))


@dataclass(frozen=True)
class Job:
    """One picture to upscale."""

    source: Path
    target: Path
    suffix: str
    """Suffix that selects the output format; differs from the target's if that has none."""


FOLDER_NEEDED = "--output must be a folder if IN is a folder or several pictures"

Begin = Callable[[Path, tuple[int, int], tuple[int, int]], None]
"""Called when a picture is started, with its file, its (height, width), and the output's."""


@dataclass(frozen=True)
class Record:
    """The outcome of a job. Sizes are (width, height), None if not known."""

    input: str
    output: str
    status: str
    """done, skipped or failed."""
    input_size: tuple[int, int] | None = None
    output_size: tuple[int, int] | None = None
    seconds: float = 0.0
    error: str | None = None
    overwrote: bool = False
    """Whether the output is new in place of an existing file."""


def plan_jobs(inputs: Sequence[Path], output: str | None, label: str, suffix: str | None = None) -> list[Job]:
    """Find the input pictures and name their outputs.

    Args:
        inputs: files with any suffix, and folders, as searched by `find_images`.
        output: for a single input file a file, which needs a suffix unless `suffix` is given; otherwise a folder that
            mirrors the trees of input folders. It is a folder if it exists as one or ends in a slash. None writes
            NAME_LABEL.SUFFIX next to an input file, and a folder NAME_LABEL next to an input folder.
        label: as returned by `SizeRule.label`.
        suffix: of the outputs, with its dot; None keeps the inputs'.

    Raises:
        ArgumentError: an input is missing, a folder has no pictures, the output must be a folder but is not, its
            suffix is missing or unknown, an output would overwrite an input, or two outputs have the same name.
    """
    for path in inputs:
        if not path.exists():
            raise ArgumentError(f"IN must be a file or a folder, got {path}, which does not exist")
    if output is not None and len(inputs) == 1 and not inputs[0].is_dir() and not _names_folder(output):
        target = Path(output)
        named = target.suffix or suffix
        if named is None:
            raise ArgumentError(
                f"--output must end in a slash or a suffix, got {output} ({output}/ for a folder, {output}.png for a "
                "file)"
            )
        check_target(target, suffix=named)
        if suffix is not None and FORMATS[named.lower()] is not FORMATS[suffix]:
            raise ArgumentError(f"--format must agree with the suffix of {target}, got {suffix.removeprefix('.')!r}")
        jobs = [Job(inputs[0], target, named)]
    else:
        folder = None if output is None else Path(output)
        if folder is not None and folder.exists() and not folder.is_dir():
            raise ArgumentError(f"{FOLDER_NEEDED}, got the file {folder}")
        if output is not None and not _names_folder(output) and Path(output).suffix.lower() in FORMATS:
            raise ArgumentError(
                f"{FOLDER_NEEDED}, got {output}, which is named like a picture ({output}/ names a folder)"
            )
        jobs = [job for path in inputs for job in _jobs_of(path, folder, label, suffix)]
    _check_no_overwriting(jobs)
    return jobs


def _names_folder(output: str) -> bool:
    separators = tuple(separator for separator in (os.sep, os.altsep) if separator)
    return output.endswith(separators) or Path(output).is_dir()


def _jobs_of(path: Path, folder: Path | None, label: str, suffix: str | None) -> list[Job]:
    if not path.is_dir():
        name = path.stem if folder is not None else f"{path.stem}_{label}"
        wanted = suffix or path.suffix
        return [Job(path, (folder or path.parent) / (name + wanted), wanted)]
    folder = folder or _beside(path, label)
    jobs = [
        Job(source, folder / _with_suffix(source.relative_to(path), suffix), suffix or source.suffix)
        for source in find_images(path, excluded=folder)
    ]
    if not jobs:
        raise ArgumentError(f"IN must hold pictures ({', '.join(FORMATS)}), got the folder {path}, which has none")
    return jobs


def _beside(folder: Path, label: str) -> Path:
    """NAME_LABEL next to a folder, relative if the folder is."""
    if folder.name in ("", ".."):  # the current folder, or one above it
        return folder / ".." / f"{folder.resolve().name}_{label}"
    return folder.with_name(f"{folder.name}_{label}")


def _with_suffix(path: Path, suffix: str | None) -> Path:
    return path if suffix is None else path.with_suffix(suffix)


def _check_no_overwriting(jobs: Sequence[Job]) -> None:
    sources = {_identity(job.source): job.source for job in jobs}
    targets: dict[Path, Path] = {}
    for job in jobs:
        if job.target.exists() and _identity(job.target) in sources:
            raise ArgumentError(f"--output must not overwrite an input, got {job.target}")
        other = targets.setdefault(job.target.resolve(), job.source)
        if other is not job.source:
            raise ArgumentError(f"outputs must differ, got {job.target} for both {other} and {job.source}")


def _identity(path: Path) -> tuple[int, int]:
    """Device and inode, equal for two names of one file: hard links, or a case-insensitive file system."""
    status = path.stat()
    return status.st_dev, status.st_ino


@dataclass(frozen=True)
class Upscaler:
    """A model and its settings."""

    model: ImplicitSR
    rule: SizeRule
    backend: str = "auto"
    dtype: torch.dtype | None = None
    skip_existing: bool = False

    def run(
        self, jobs: Sequence[Job], advance: Callable[[float], None] | None = None, begin: Begin | None = None
    ) -> Iterator[Record]:
        """Upscale the pictures one by one; a failure is yielded as a record and does not stop the others.

        `advance` is called with the fraction of a picture just done, which sum to 1 for each; `begin` for each picture
        that can be read.

        Raises:
            BackendUnavailable: the requested backend cannot run.
        """
        for job in jobs:
            done = 0.0

            def report(part: float) -> None:
                nonlocal done
                done += part
                if advance is not None:
                    advance(part)

            yield self._attempt(job, report, begin)
            report(1.0 - done)

    def _attempt(self, job: Job, report: Callable[[float], None], begin: Begin | None) -> Record:
        names = (str(job.source), str(job.target))
        if self.skip_existing and job.target.exists():
            return Record(*names, "skipped")
        start, existed = time.perf_counter(), job.target.exists()
        try:
            before, after = self._upscale(job, report, begin)
        except ImageError as error:
            return Record(*names, "failed", error=str(error))
        except MemoryError:
            return Record(*names, "failed", error=f"{job.source}: not enough memory to read it")
        except (ArgumentError, OSError) as error:
            return Record(*names, "failed", error=f"{job.source}: {error}")
        seconds = round(time.perf_counter() - start, 3)
        return Record(*names, "done", before[::-1], after[::-1], seconds, overwrote=existed)

    def _upscale(
        self, job: Job, report: Callable[[float], None], begin: Begin | None
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        raster = read_image(job.source)
        size = height, width = self.rule.apply(raster.size)
        check_target(job.target, size, job.suffix)
        job.target.parent.mkdir(parents=True, exist_ok=True)
        if begin is not None:
            begin(job.source, raster.size, size)
        try:
            result = upscale_raster(
                self.model, raster, size, self.backend, self.dtype, lambda rows: report(rows / height)
            )
            write_image(job.target, result, job.suffix)
        except (MemoryError, RuntimeError, ValueError) as error:
            if not _lacks_memory(error):
                raise
            raise ImageError(f"{job.source}: not enough memory for an output of {width} x {height} pixels") from error
        return raster.size, size


def _lacks_memory(error: Exception) -> bool:
    """Whether host or device memory ran out; torch on CPUs and NumPy report it only in the message."""
    messages = ("can't allocate memory", "array is too big", "Maximum allowed dimension exceeded")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(text in str(error) for text in messages)
