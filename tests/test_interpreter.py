"""Where no GPU is, the Triton kernels pass the fused backends' tests in the interpreter, in a process of their own."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from on_host import run_fused_tests

from arasfsr.query.fused import triton as backend

pytest.importorskip("triton", reason="Triton is made for Linux only")


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What these tests would launch on a GPU; fails where one of them does."""
    assert backend.interpreter_reason() is None
    file = tmp_path_factory.mktemp("launches") / "variants"
    run_fused_tests({"TRITON_INTERPRET": "1", "ARASFSR_LAUNCHES": str(file)})
    return pickle.loads(file.read_bytes())


def test_the_triton_kernels_in_the_interpreter(launched: Any) -> None:
    assert launched


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_what_tests_ask_of_a_gpu_is_compiled_ahead_and_nothing_else(launched: Any) -> None:
    from launches import of_device_tests

    from tools.kernels.listed import for_a_run, of_plan, variants_of
    from tools.kernels.variants import distinct

    asked = distinct([*launched, *of_device_tests()])
    listed, of_the_plan = distinct(for_a_run()), distinct(variants_of(of_plan()))
    assert [asked[key] for key in asked.keys() - listed.keys()] == []
    assert [listed[key].label for key in listed.keys() - of_the_plan.keys() - asked.keys()] == []
