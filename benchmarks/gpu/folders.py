"""The files of a run: what lies in its folder, and reading them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SUITES, PROBES, SUMMARY = "suites.json", "probes.json", "summary.txt"
MEMCHECK, TESTS = "memcheck.log", "pytest.xml"

Rows = dict[str, dict[str, Any]]


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
