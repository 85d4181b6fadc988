"""Runs the fused backends' tests in a process whose environment makes their kernels run on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
FUSED = ("test_golden.py", "test_fused.py", "test_fused_shapes.py", "test_fused_tf32.py")


def run_fused_tests(environment: dict[str, str], files: tuple[str, ...] = FUSED) -> None:
    """Fails with pytest's output unless all tests marked gpu of those files pass, and there are some."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", *(str(TESTS / file) for file in files)]
    done = subprocess.run(
        command,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
