"""Whether the tests pass under other versions of Python, torch and Triton: a virtual environment each, and a page."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.junit import outcome
from benchmarks.results import RESULTS, ROOT
from benchmarks.suite_tables import table_row

VERSIONS_FILE = RESULTS / "versions.json"

GROUPS = {
    "operator": ("query", "skip", "golden", "dispatch", "checkpoint", "upscale_command"),
    "training": ("training", "training_data", "training_run", "training_distributed"),
    "interpreter": ("interpreter",),
    "audit": ("audit",),
}
"""What is tried, as names of test files: the operator and what stands on it, the Triton kernels in Triton's
interpreter, and the same compiled ahead of time for every architecture."""

PACKAGES = ("torch", "triton", "numpy")

_INSTALLED = f"""
import json, platform
from importlib.metadata import version
print(json.dumps({{"python": platform.python_version()}} | {{name: version(name) for name in {PACKAGES}}}))
"""


def attempt(python: str, requirements: list[str]) -> dict[str, Any]:
    """Install the requirements and this checkout, and run each group of tests.

    Raises subprocess.CalledProcessError where they cannot be installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "venv" / "bin" / "python"
        subprocess.run([python, "-m", "venv", str(own.parents[1])], check=True)
        pip = [str(own), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        environment = {**os.environ, "ARASFSR_CUDA": "0"}
        subprocess.run([*pip, *requirements, "-e", f"{ROOT}[dev]"], check=True, env=environment)
        installed = json.loads(subprocess.run([own, "-c", _INSTALLED], check=True, capture_output=True).stdout)
        groups = {}
        for name, modules in GROUPS.items():
            report = Path(folder) / f"{name}.xml"
            tests = [f"tests/test_{module}.py" for module in modules]
            subprocess.run([own, "-m", "pytest", f"--junit-xml={report}", *tests], cwd=ROOT, check=False)
            groups[name] = outcome(report)
    return {"installed": installed, "groups": groups}


def key(result: dict[str, Any]) -> str:
    """What a result is filed under: its versions."""
    found = result["installed"]
    minor = ".".join(found["python"].split(".")[:2])
    return " ".join([f"python {minor}", *(f"{name} {found[name]}" for name in PACKAGES[:2])])


def page(content: dict[str, Any]) -> str:
    """Everything that was tried, as a page."""
    head = ["Python", "torch", "Triton", "numpy", *GROUPS, "date"]
    lines = [table_row(head), table_row(["---"] * len(head))]
    notes = []
    for result in sorted(content.values(), key=_order):
        found, groups = result["installed"], result["groups"]
        told = [found["python"], found["torch"], found["triton"], found["numpy"]]
        told += [_told(groups[name]) for name in GROUPS]
        lines.append(table_row([*told, result["machine"]["date"][:10]]))
        failed = [name for group in groups.values() for name in group["failed"]]
        if failed:
            notes += [
                "",
                f"Failed with torch {found['torch']} and Triton {found['triton']}:",
                "",
                *(f"- `{each}`" for each in failed),
            ]
    return "\n".join([_HEAD, *lines, *notes]) + "\n"


def _order(result: dict[str, Any]) -> list[list[int]]:
    """Versions by number, torch's first."""
    found = result["installed"]
    return [[int(part) for part in found[name].split("+")[0].split(".")] for name in ("torch", "triton", "python")]


def _told(group: dict[str, Any]) -> str:
    counts = {"passed": group["passed"], "skipped": group["skipped"], "failed": len(group["failed"])}
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


_HEAD = """# Versions

Tests under other versions of Python, torch and Triton, each in a virtual environment of its own, on a machine without
a GPU: of the operator and what stands on it, of training, of the Triton kernels in Triton's interpreter, and of the
same kernels compiled ahead of time for each architecture. Made by `python -m benchmarks versions` and `report`.
"""
