"""The manifest of a prepared folder: JSON lines, first the settings, then what became of each face and photograph."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from arasfsr.files import replacing

MANIFEST = "manifest.jsonl"


@dataclass(frozen=True)
class Settings:
    """What is kept, and how."""

    min_side: int = 128
    """Pixels of a face's square in the photograph below which it is left out."""
    max_side: int = 1024
    """Pixels to which a larger square is shrunk."""
    min_sharpness: float = 0.36
    """As `align.sharpness` measures it, of the square that is written."""


@dataclass(frozen=True)
class Record:
    """What became of a face, or of a photograph without any."""

    source: str
    """Path below the source folder."""
    bytes: int
    """Of the source file; a resumed run does a file again whose size has changed."""
    status: str
    """kept, left out or failed."""
    reason: str | None = None
    """Why it was not kept."""
    output: str | None = None
    """Path below the output folder."""
    side: int | None = None
    """Pixels of the square: that was written, or that the photograph has of a face left out."""
    sharpness: float | None = None
    left_eye: tuple[float, float] | None = None
    """(x, y) in the upright photograph's pixels: the eye at the left of the picture."""
    right_eye: tuple[float, float] | None = None


def read_manifest(folder: Path, settings: Settings) -> list[Record]:
    """The records of an earlier run into a folder, none where there was none; a last line cut off is passed over.

    Raises:
        ValueError: the file is no such manifest, or the earlier run had other settings.
    """
    path = folder / MANIFEST
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    try:
        first, *rest = (json.loads(line) for line in lines if line.endswith("\n"))
        earlier = Settings(**first["settings"])
        records = [Record(**{**line, **_points(line)}) for line in rest]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: not a manifest of this version ({type(error).__name__}: {error})") from error
    if earlier != settings:
        raise ValueError(f"{path}: made with {earlier}, not with {settings}; take these, or another folder")
    return records


def _points(line: dict[str, list[float] | None]) -> dict[str, tuple[float, ...] | None]:
    """JSON has no tuples."""
    return {name: None if (point := line[name]) is None else tuple(point) for name in ("left_eye", "right_eye")}


def write_manifest(folder: Path, settings: Settings, records: Iterable[Record]) -> None:
    """Write the manifest anew, sorted by source; it is there whole or as it was."""
    ordered = sorted(records, key=lambda record: (record.source, record.output or "", record.left_eye or ()))
    with replacing(folder / MANIFEST) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"settings": asdict(settings)}) + "\n")
        file.writelines(map(to_line, ordered))


def to_line(record: Record) -> str:
    return json.dumps(asdict(record), ensure_ascii=False) + "\n"
