"""The files of a run: what lies in its folder, and reading them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

SUITES, PROBES, SUMMARY = "suites.json", "probes.json", "summary.txt"
LOG, MEMCHECK, NCU, TESTS = "all.log", "memcheck.log", "ncu.txt", "pytest.xml"

BEGUN = "begun"
"""The error of a row whose end has not been seen yet."""

Rows = dict[str, dict[str, Any]]


def by_kernel(probes: Mapping[str, Any]) -> dict[str, Rows]:
    """Rows of probes.json, by kernel and probe."""
    found: dict[str, Rows] = {}
    for name, row in probes.items():
        kernel, _, probe = name.partition(": ")
        found.setdefault(kernel, {})[probe] = row
    return found


def shares(probes: Mapping[str, Any]) -> list[float]:
    """What part of its limit each error of these rows is."""
    return [verdict["error"] / verdict["limit"] for row in probes.values() for verdict in row.get("verdicts", ())]


def latest(parts: Iterable[Rows]) -> Rows:
    """Rows of several runs, later ones in place of earlier ones unless they were only begun."""
    return {name: row for rows in parts for name, row in rows.items() if row.get("error") != BEGUN}


def read(folder: Path) -> Rows:
    """The rows of a run's suites.json: "machine", "ceilings", "steps", "CASE CONTESTANT", "kernels of CASE CONTESTANT",
    "cut: NAME" of the tuning.

    The first runs had some of them in files of their own.
    """
    rows: Rows = json.loads((folder / SUITES).read_text()) if (folder / SUITES).is_file() else {}
    if (folder / "kernels.json").is_file():
        for name, row in json.loads((folder / "kernels.json").read_text()).items():
            rows[f"kernels of {name}" if "kernels" in row else f"cut: {name}"] = row
    if (folder / "run.json").is_file():
        rows["machine"] = json.loads((folder / "run.json").read_text())["machine"]
    return rows


def read_probes(folder: Path) -> Rows:
    """The rows of a run's probes.json."""
    path = folder / PROBES
    return dict(json.loads(path.read_text())) if path.is_file() else {}


class Run(NamedTuple):
    """One committed run."""

    folder: Path
    rows: Rows
    """Of suites.json."""
    probes: Rows

    @property
    def commit(self) -> str:
        return str(self.rows["machine"]["commit"])


def runs(device: Path) -> list[Run]:
    """Every run in a device's folder, the first one first."""
    found = [Run(path.parent, read(path.parent), read_probes(path.parent)) for path in device.glob(f"*/{SUITES}")]
    for run in found:
        if "machine" not in run.rows:
            raise ValueError(f"{run.folder / SUITES} does not say on which machine it was made, as a GPU run's does")
    return sorted(found, key=lambda run: str(run.rows["machine"]["date"]))
