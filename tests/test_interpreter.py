"""Where no GPU is, the Triton kernels pass the fused backends' tests in the interpreter, in a process of their own."""

from __future__ import annotations

import pytest
from on_host import run_fused_tests

from arasfsr.query import triton as backend


def test_the_triton_kernels_in_the_interpreter() -> None:
    pytest.importorskip("triton", reason="Triton is made for Linux only")
    assert backend.interpreter_reason() is None
    run_fused_tests({"TRITON_INTERPRET": "1"})
