"""Where no GPU is, the Triton kernels pass the fused backends' tests in the interpreter, in a process of their own."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fused_backends import FUSED, ON_HOST
from on_host import BRIEF, FUSED_TESTS, GOLDEN_TESTS, run_fused_tests

from arasfsr.query.fused import triton as backend

if TYPE_CHECKING:
    from tools.kernels.variants import Variant

pytest.importorskip("triton", reason="Triton is made for Linux only")
if ON_HOST or "triton" in FUSED:
    pytest.skip("backend triton runs in this process, and so do its tests", allow_module_level=True)


def launches_of(tests: str, folder: Path) -> list[Variant]:
    """Run the tests that pytest's -k selects, and return what they would launch on a GPU."""
    assert backend.interpreter_reason() is None
    file = folder / "variants"
    run_fused_tests({"TRITON_INTERPRET": "1", "ARASFSR_LAUNCHES": str(file)}, (GOLDEN_TESTS, *FUSED_TESTS), "-k", tests)
    found: list[Variant] = pickle.loads(file.read_bytes())
    return found


@pytest.fixture(scope="module")
def brief_launches(tmp_path_factory: pytest.TempPathFactory) -> list[Variant]:
    return launches_of(BRIEF, tmp_path_factory.mktemp("brief"))


@pytest.fixture(scope="module")
def other_launches(tmp_path_factory: pytest.TempPathFactory) -> list[Variant]:
    return launches_of(f"not ({BRIEF})", tmp_path_factory.mktemp("others"))


def test_output_and_gradients_in_the_interpreter(brief_launches: list[Variant]) -> None:
    assert brief_launches


@pytest.mark.slow
def test_everything_else_in_the_interpreter(other_launches: list[Variant]) -> None:
    assert other_launches


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_exactly_the_kernels_that_gpu_tests_launch_are_compiled_ahead(
    brief_launches: list[Variant], other_launches: list[Variant]
) -> None:
    from launches import of_device_tests

    from tools.kernels.listed import for_a_run, of_plan, variants_of
    from tools.kernels.variants import distinct

    asked = distinct([*brief_launches, *other_launches, *of_device_tests()])
    listed, of_the_plan = distinct(for_a_run()), distinct(variants_of(of_plan()))
    assert [asked[key] for key in asked.keys() - listed.keys()] == []
    assert [listed[key].label for key in listed.keys() - of_the_plan.keys() - asked.keys()] == []
