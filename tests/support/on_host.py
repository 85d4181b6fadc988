"""Runs the fused backends' tests in a process whose environment makes their kernels run on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.junit import outcome

TESTS = Path(__file__).parents[1]

GOLDEN_TESTS = "query/test_golden.py"
FUSED_TESTS = ("query/test_fused.py", "query/test_fused_shapes.py", "query/test_fused_tf32.py")
CUDA_TESTS = "native/test_fused_cuda.py"

BRIEF = "test_the_output_is_within_the_contract or (gradient and liif-tiny)"
"""For pytest's -k: a few that run every kernel, for while one works on them."""


def run_fused_tests(environment: dict[str, str], files: tuple[str, ...], *options: str) -> None:
    """Fails with pytest's output unless all tests marked gpu of those files pass, none is skipped, and there are some.

    The options are pytest's.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        paths = [str(TESTS / file) for file in files]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-m", "gpu", f"--junit-xml={report}", *options, *paths],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        found = outcome(report)
    told = done.stdout[-8000:] + done.stderr[-2000:]
    assert done.returncode == 0, told
    assert found["passed"] > 0, told
    assert found["skipped"] == 0, told
