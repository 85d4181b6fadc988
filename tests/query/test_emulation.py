"""Where no GPU is, the native core's kernels pass the fused backends' tests on the CPU, in processes of their own."""

from __future__ import annotations

import os
import runpy
import shutil
from pathlib import Path

import pytest
from fused_backends import FUSED, ON_HOST
from on_host import BRIEF, CUDA_TESTS, FUSED_TESTS, GOLDEN_TESTS, run_fused_tests

pytest.importorskip("pybind11", reason="the emulated core is built with pybind11")
if ON_HOST or "cuda" in FUSED:
    pytest.skip("backend cuda runs in this process, and so do its tests", allow_module_level=True)
if not shutil.which(os.environ.get("CXX", "c++")):
    pytest.skip("the emulated core is built with a C++ compiler", allow_module_level=True)

build = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "build_emulated.py"))["build"]


@pytest.fixture(scope="module")
def emulated() -> str:
    """The folder of the emulated module, built as far as something changed."""
    return str(build())


def test_output_gradients_and_binding_in_the_emulation(emulated: str) -> None:
    files = (GOLDEN_TESTS, *FUSED_TESTS, CUDA_TESTS)
    run_fused_tests({"ARASFSR_EMULATED": emulated}, files, "-k", f"{BRIEF} or test_fused_cuda")


@pytest.mark.slow
def test_everything_else_in_the_emulation(emulated: str) -> None:
    run_fused_tests({"ARASFSR_EMULATED": emulated}, (GOLDEN_TESTS, *FUSED_TESTS), "-k", f"not ({BRIEF})")


@pytest.mark.slow
def test_random_thread_order_and_little_shared_memory(emulated: str) -> None:
    """A missing barrier, or a stage that is filled again too early, shows as a wrong number."""
    small = {"ARASFSR_EMULATION_SEED": "1", "ARASFSR_EMULATION_SHARED": str(99 << 10)}
    run_fused_tests({"ARASFSR_EMULATED": emulated, **small}, FUSED_TESTS)  # golden sizes would take minutes


@pytest.mark.slow
def test_compute_capability_9_in_random_thread_order(emulated: str) -> None:
    """It takes rows of 256: all rows are padded to that."""
    newer = {"ARASFSR_EMULATION_CAPABILITY": "90", "ARASFSR_EMULATION_SEED": "1", "ARASFSR_TEST_ROWS": "256"}
    run_fused_tests({"ARASFSR_EMULATED": emulated, **newer}, (GOLDEN_TESTS, *FUSED_TESTS))
