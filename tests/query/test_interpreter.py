"""Where no GPU is, the Triton kernels pass the fused backends' tests in the interpreter, in a process of their own."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from fused_backends import FUSED, ON_HOST
from on_host import FUSED_TESTS, GOLDEN_TESTS, run_fused_tests

from arasfsr.query.fused import triton as backend

pytest.importorskip("triton", reason="Triton is made for Linux only")
if ON_HOST or "triton" in FUSED:
    pytest.skip("backend triton runs in this process, and so do its tests", allow_module_level=True)


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What these tests would launch on a GPU; fails where one of them does."""
    assert backend.interpreter_reason() is None
    file = tmp_path_factory.mktemp("launches") / "variants"
    run_fused_tests({"TRITON_INTERPRET": "1", "ARASFSR_LAUNCHES": str(file)}, (GOLDEN_TESTS, *FUSED_TESTS))
    return pickle.loads(file.read_bytes())


def test_triton_kernels_in_the_interpreter(launched: Any) -> None:
    assert launched


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_exactly_the_kernels_that_gpu_tests_launch_are_compiled_ahead(launched: Any) -> None:
    from launches import of_device_tests

    from benchmarks.gpu.variants import CAPABILITY, distinct, of_plan, standing_in, variants, variants_of

    with standing_in(CAPABILITY):
        asked = distinct([*launched, *of_device_tests()])
        listed, of_the_plan = distinct(variants()), distinct(variants_of(of_plan()))
    assert [asked[key] for key in asked.keys() - listed.keys()] == []
    assert [listed[key].label for key in listed.keys() - of_the_plan.keys() - asked.keys()] == []
