"""Where no GPU is, the fused backends' tests pass under Triton's interpreter, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def test_the_triton_kernels_in_the_interpreter() -> None:
    pytest.importorskip("triton", reason="Triton is made for Linux only")
    files = [str(path) for path in sorted(TESTS.glob("test_fused*.py"))]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", str(TESTS / "test_golden.py"), *files]
    done = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
