"""The Triton kernels, compiled ahead of time: nothing spills, all fits, the matrix units are used."""

from __future__ import annotations

import pytest

pytest.importorskip("triton", reason="Triton is made for Linux only")

from arasfsr.query.fused import triton as backend
from benchmarks import audit

if backend.interpreted():
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)


@pytest.mark.parametrize("architecture", [80, 90, 100, audit.GFX942])
@pytest.mark.parametrize("kernel", ["forward", "keep", "backward", "weight_gradient"])
def test_the_paper_s_size_in_bfloat16(kernel: str, architecture: int) -> None:
    refused = backend.compiler_reason((architecture // 10, architecture % 10))
    if refused is not None:
        pytest.skip(refused)
    case = audit.Case(kernel, architecture)
    assert audit.problem(case, audit.compile_case(case)) is None


@pytest.mark.parametrize("precision", ["tf32", "ieee"])
@pytest.mark.parametrize("kernel", ["forward", "keep"])
def test_the_forward_in_float32(kernel: str, precision: str) -> None:
    case = audit.Case(kernel, 90, dtype=audit.torch.float32, precision=precision)
    assert audit.problem(case, audit.compile_case(case)) is None


@pytest.mark.parametrize("change", [{"grid": False}, {"modulated": False}, {"width": 96}, {"width": 16, "layers": 2}])
def test_the_forward_s_switches(change: dict[str, int]) -> None:
    case = audit.Case("forward", 90, **change)  # type: ignore[arg-type]
    assert audit.problem(case, audit.compile_case(case)) is None


def test_the_table_names_every_figure() -> None:
    case = audit.Case("forward", 90)
    report = audit.Report(registers=1, stack=0, spills=0, shared=2, matrix=3, instructions=4)
    assert "| forward | sm_90 | 256 | bf16 | grid | 1 | 0 | 2 | 3 | 4 |" in audit.markdown([(case, report)])


@pytest.mark.parametrize(
    ("change", "found"),
    [({"spills": 2}, "2 spills"), ({"shared": 300_000}, "300000 bytes"), ({"matrix": 0}, "no HGMMA instructions")],
)
def test_what_is_wrong_is_named(change: dict[str, int], found: str) -> None:
    fine = {"registers": 1, "stack": 0, "spills": 0, "shared": 2, "matrix": 3, "instructions": 4}
    assert found in str(audit.problem(audit.Case("forward", 90), audit.Report(**{**fine, **change})))
