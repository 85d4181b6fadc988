"""The manifest of a prepared folder: JSON lines with the settings, then an entry per face or photograph."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from arasfsr.errors import ArgumentError
from arasfsr.files import replacing

MANIFEST = "manifest.jsonl"


@dataclass(frozen=True)
class Settings:
    """Which faces are kept, and how large."""

    min_side: int = 128
    """Smallest side of a face's square in pixels of the photograph; smaller ones are left out."""
    max_side: int = 1024
    """Largest side of a square in pixels; larger ones are shrunk."""
    min_sharpness: float = 0.36
    """Smallest `align.sharpness` of a square; others are left out."""


@dataclass(frozen=True)
class Entry:
    """What became of a face, or of a photograph without faces."""

    source: str
    """Path below the source folder."""
    bytes: int
    """Size of the source file; a resumed run repeats files whose size has changed."""
    status: str
    """"kept", "left out" or "failed"."""
    reason: str | None = None
    """Why the face was not kept."""
    output: str | None = None
    """Path below the output folder."""
    side: int | None = None
    """Side in pixels of the square written, or of the square in the photograph if the face was left out."""
    sharpness: float | None = None
    left_eye: tuple[float, float] | None = None
    """(x, y) in pixels of the upright photograph, of the eye at the left of the picture."""
    right_eye: tuple[float, float] | None = None


def read_manifest(folder: Path, settings: Settings) -> list[Entry]:
    """The entries of an earlier run into a folder, or none. An incomplete last line is ignored.

    Raises:
        ArgumentError: the file is not a manifest, or the earlier run had other settings.
    """
    path = folder / MANIFEST
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    try:
        first, *rest = (json.loads(line) for line in lines if line.endswith("\n"))
        earlier = Settings(**first["settings"])
        entries = [Entry(**{**line, **_points(line)}) for line in rest]
    except (ValueError, TypeError, KeyError) as error:
        raise ArgumentError(f"{path}: not a manifest of this version ({type(error).__name__}: {error})") from error
    if earlier != settings:
        raise ArgumentError(
            f"{path}: settings must be those of the earlier run, {earlier}, or the folder another, got {settings}"
        )
    return entries


def _points(line: dict[str, list[float] | None]) -> dict[str, tuple[float, ...] | None]:
    """The eyes as tuples, which JSON does not have."""
    return {name: None if (point := line[name]) is None else tuple(point) for name in ("left_eye", "right_eye")}


def write_manifest(folder: Path, settings: Settings, entries: Iterable[Entry]) -> None:
    """Replace the manifest atomically, with entries sorted by source."""
    ordered = sorted(entries, key=lambda entry: (entry.source, entry.output or "", entry.left_eye or ()))
    with replacing(folder / MANIFEST) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"settings": asdict(settings)}) + "\n")
        file.writelines(map(to_line, ordered))


def to_line(entry: Entry) -> str:
    """An entry as a line of JSON."""
    return json.dumps(asdict(entry), ensure_ascii=False) + "\n"
