"""Test results under several versions of Python, torch and Triton: a row for each session of noxfile.py, and a page."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.results import RESULTS, write_results
from tools.junit import outcome

VERSIONS_FILE = RESULTS / "versions.json"
PACKAGES = ("torch", "triton", "numpy")

HEAD = """# Versions

Test results under several versions of Python, torch and Triton, each in its own virtual environment, on a machine
without a GPU. The columns are groups of tests: the operator and everything built on it (*operator*), training, the
Triton kernels in Triton's interpreter, and the same kernels compiled ahead of time for each architecture (*audit*).
Written by `nox` and `python -m benchmarks report`.
"""


def record(folder: Path, groups: list[str]) -> None:
    """Write the row of what is installed here, from a folder that holds GROUP.xml for each group of tests."""
    installed = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    outcomes = {group: outcome(folder / f"{group}.xml") for group in groups}
    write_results(VERSIONS_FILE, key(installed), {"installed": installed, "groups": outcomes})


def key(installed: Mapping[str, str]) -> str:
    """What a result is filed under: its versions."""
    minor = installed["python"].rpartition(".")[0]
    return f"python {minor} torch {installed['torch']} triton {installed['triton']}"


def page(content: Mapping[str, Any]) -> str:
    """A table of all sessions, older versions of torch first, and the names of failed tests."""
    from benchmarks.tables import markdown

    def order(result: Mapping[str, Any]) -> list[list[int]]:
        found = result["installed"]
        return [[int(part) for part in found[name].split("+")[0].split(".")] for name in ("torch", "triton", "python")]

    def counted(group: Mapping[str, Any]) -> str:
        counts = {"passed": group["passed"], "skipped": group["skipped"], "failed": len(group["failed"])}
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)

    rows, notes = [], []
    for result in sorted(content.values(), key=order):
        found, groups = result["installed"], result["groups"]
        heads = {"Python": "python", "torch": "torch", "Triton": "triton", "numpy": "numpy"}
        row = {head: found[name] for head, name in heads.items()} | {
            name: counted(group) for name, group in groups.items()
        }
        rows.append(row | {"date": result["machine"]["date"][:10]})
        failed = [f"- `{name}`" for group in groups.values() for name in group["failed"]]
        if failed:
            notes += ["", f"Failed with torch {found['torch']} and Triton {found['triton']}:", "", *failed]
    return "\n".join([HEAD, markdown(rows), *notes]) + "\n"


if __name__ == "__main__":
    record(Path(sys.argv[1]), sys.argv[2:])
