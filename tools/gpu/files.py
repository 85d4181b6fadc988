"""The folder of a run: names of its files, writing rows and logs, reading what committed runs left."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from arasfsr.files import replacing

SUITES, PROBES, MEASURED, SUMMARY = "suites.json", "probes.json", "measured.json", "summary.txt"
LOG, MEMCHECK, NCU, TESTS = "all.log", "memcheck.log", "ncu.txt", "pytest.xml"

STARTED = "begun"
"""The error of a probe's row until the probe ends."""

Rows = dict[str, dict[str, Any]]


class Results:
    """Writes rows by file and key. A file is replaced with each row, so that it is complete at any moment."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.resolve()
        self.files: dict[str, Rows] = {}
        self._lock = threading.Lock()

    def __call__(self, file: str, key: str, row: Mapping[str, Any]) -> None:
        with self._lock:
            self.files.setdefault(file, {})[key] = dict(row)
            with replacing(self.folder / file) as temporary:
                temporary.write_text(json.dumps(self.files[file], indent=1) + "\n")

    def log(self, name: str, output: bytes, file: str = LOG) -> None:
        """Append what a process printed."""
        with self._lock, (self.folder / file).open("ab") as log:
            log.write(f"\n=== {name}\n".encode() + output)


class Run(NamedTuple):
    """What a run found."""

    folder: Path
    rows: Rows
    """Of suites.json: "machine", "ceilings", "steps", "CASE CONTESTANT", "kernels of CASE CONTESTANT", "cut: NAME"."""
    probes: Rows
    """Of probes.json: "BACKEND WIDTH ARITHMETIC: PROBE"."""

    @property
    def commit(self) -> str:
        return str(self.rows["machine"]["commit"])


def _load(path: Path) -> Rows:
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def read(folder: Path) -> Run:
    """A run's rows; the first runs had some of them in kernels.json and run.json."""
    rows = _load(folder / SUITES)
    for name, row in _load(folder / "kernels.json").items():
        rows[f"kernels of {name}" if "kernels" in row else f"cut: {name}"] = row
    rows |= {name: row for name, row in _load(folder / "run.json").items() if name == "machine"}
    return Run(folder, rows, _load(folder / PROBES))


def runs(device: Path) -> list[Run]:
    """Every run in a device's folder, the oldest first. Raises ValueError where one does not name its machine."""
    found = [read(path.parent) for path in device.glob(f"*/{SUITES}")]
    for run in found:
        if "machine" not in run.rows:
            raise ValueError(f"{run.folder / SUITES} must name the machine, as a GPU run's file does")
    return sorted(found, key=lambda run: str(run.rows["machine"]["date"]))


def latest(parts: Iterable[Rows]) -> Rows:
    """Rows of several runs: later ones replace earlier ones, unless they did not end."""
    return {name: row for rows in parts for name, row in rows.items() if row.get("error") != STARTED}


def by_kernel(probes: Rows) -> dict[str, Rows]:
    """Rows of probes.json by kernel ("BACKEND WIDTH ARITHMETIC") and probe."""
    found: dict[str, Rows] = {}
    for name, row in probes.items():
        kernel, _, probe = name.partition(": ")
        found.setdefault(kernel, {})[probe] = row
    return found


def worst_error(probes: Rows) -> float | None:
    """The largest error of these rows as a part of its limit."""
    verdicts = [verdict for row in probes.values() for verdict in row.get("verdicts", ())]
    return max((verdict["error"] / verdict["limit"] for verdict in verdicts), default=None)
