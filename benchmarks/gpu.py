"""Everything that a CUDA machine can tell, in order and within a time budget, each part written once it is there."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.cases import registry
from benchmarks.results import RESULTS, ROOT, SUITES_FILE, device_name
from benchmarks.run import run_cases

SELF_CHECK = (
    "import sys, torch; from arasfsr.selfcheck import run_checks; "
    "found = list(run_checks(torch.device('cuda'))); print(*found, sep='\\n'); "
    "sys.exit(not all(check.ok for check in found))"
)
"""Every backend on small models: little enough for a sanitizer."""

GPU_TESTS = [f"tests/test_{name}.py" for name in ("golden", "fused", "fused_cuda", "cuda_device")]
"""By name: collecting the others would ask for packages that such a machine may lack."""
if importlib.util.find_spec("hypothesis"):
    GPU_TESTS.append("tests/test_fused_shapes.py")

NO_TESTS = 5
"""pytest's exit status where no test was selected."""


@dataclass(frozen=True)
class Step:
    """A part of the run that is a program."""

    name: str
    command: tuple[str, ...]
    share: float
    """The part of the whole budget that it may take."""
    missing: str | None = None
    """Why it cannot run here."""


def problem(command: str) -> str | None:
    """Why a command has nothing to run here, in one line; None where there is a CUDA device."""
    if torch.cuda.is_available():
        return None
    return (
        f"python -m benchmarks {command} takes a machine with a CUDA device; torch {torch.__version__} finds none here"
    )


def steps() -> list[Step]:
    """Build, tests and sanitizer, with the reason of each that has to be left out."""
    sources = sorted((ROOT / "csrc").glob("**/*.cu"))
    no_build = None if sources else "csrc holds no CUDA sources yet"
    if sources and not shutil.which("nvcc"):
        no_build = "nvcc is not on the path"
    no_pytest = None if importlib.util.find_spec("pytest") else "pytest is not installed"
    sanitizer = shutil.which("compute-sanitizer")
    return [
        Step("build", (sys.executable, "setup.py", "build_ext", "--inplace"), 0.5, no_build),
        Step("tests", (sys.executable, "-m", "pytest", "-m", "gpu", *GPU_TESTS), 0.4, no_pytest),
        Step(
            "sanitizer",
            (sanitizer or "compute-sanitizer", "--error-exitcode", "1", sys.executable, "-c", SELF_CHECK),
            0.25,
            None if sanitizer else "compute-sanitizer is not on the path",
        ),
    ]


def run_step(step: Step, folder: Path, seconds: float) -> tuple[bool, str]:
    """Run a step into FOLDER/NAME.log: whether nothing failed, and one line that says what came of it."""
    if step.missing:
        return True, f"{step.name}: left out, {step.missing}"
    log = folder / f"{step.name}.log"
    with log.open("w") as file:
        try:
            done = subprocess.run(step.command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, timeout=seconds)
        except subprocess.TimeoutExpired:
            return False, f"{step.name}: not done after {seconds:.0f} s, see {log}"
    if step.name == "tests" and done.returncode == NO_TESTS:
        return True, "tests: there are no GPU tests yet"
    failed = f"failed with status {done.returncode}" if done.returncode else "passed"
    return not done.returncode, f"{step.name}: {failed}, see {log}"


def run(minutes: float, say: Callable[[str], None] = print) -> int:
    """All steps, then the suites with what is left of the time. Returns 0, or 1 where a step failed."""
    deadline = time.monotonic() + 60 * minutes
    device = torch.device("cuda")
    out = os.environ.get("OUT")
    folder = Path(out) if out else RESULTS / device_name(device)
    folder.mkdir(parents=True, exist_ok=True)
    good = True
    for step in steps():
        left = deadline - time.monotonic()
        fine, line = run_step(step, folder, max(1.0, min(left, step.share * 60 * minutes)))
        good &= fine
        say(line)
    left = max(0.0, deadline - time.monotonic())
    run_cases(registry(), device, folder / SUITES_FILE, left / 60, say=say)
    return int(not good)
