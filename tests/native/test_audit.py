"""The Triton kernels, compiled ahead of time: nothing spills, all fits, the matrix units are used."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("triton", reason="Triton is made for Linux only")

from arasfsr.query.fused import triton as backend
from tools.kernels import audit
from tools.kernels.listed import AUDITED
from tools.kernels.variants import FORWARD, TRAIN, Call, Variant

if backend.interpreted():
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)


def variant(kernel: str, architecture: str, dtype: str = "bfloat16", **changes: Any) -> Variant:
    """The kernel of a call of the paper's size, or with changes."""
    found = Call(dtype, parts=TRAIN, coord=True, **changes).variants(AUDITED[architecture])
    return [each for each in found if each.label.startswith(f"{kernel} ")][-1]


def problem(kernel: str, architecture: str, dtype: str = "bfloat16", **changes: Any) -> str | None:
    found = variant(kernel, architecture, dtype, **changes)
    return audit.problem(found, architecture, audit.report(found.compile(), architecture))


@pytest.mark.parametrize("architecture", AUDITED)
@pytest.mark.parametrize("kernel", TRAIN)
def test_the_paper_s_size_in_bfloat16(kernel: str, architecture: str) -> None:
    refused = backend.compiler_reason(AUDITED[architecture])
    if refused is not None:
        pytest.skip(refused)
    assert problem(kernel, architecture) is None


@pytest.mark.parametrize("dtype", ["tf32", "float32"])
@pytest.mark.parametrize("kernel", ["forward", "keep"])
def test_the_forward_in_float32(kernel: str, dtype: str) -> None:
    assert problem(kernel, "sm_90", dtype) is None


@pytest.mark.parametrize(
    "change", [{"queries": "own", "cells": True}, {"modulated": False}, {"width": 96}, {"width": 16, "layers": 2}]
)
def test_the_forward_s_switches(change: dict[str, Any]) -> None:
    assert problem(FORWARD[0], "sm_90", **change) is None


FINE = audit.Report(registers=1, stack=0, spills=0, shared=2, matrix=3, instructions=4)


def test_the_table_has_every_figure() -> None:
    label = "forward bfloat16 256 x 4, grid, gradient to coordinates"
    assert f"| sm_90 | {label} | 1 | 0 | 2 | 3 | 4 |" in audit.table([("sm_90", variant("forward", "sm_90"), FINE)])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"spills": 2}, "2 spills"),
        ({"stack": 8}, "a stack of 8 bytes"),
        ({"shared": 300_000}, "300000 bytes"),
        ({"matrix": 0}, "no HGMMA instructions"),
    ],
)
def test_a_problem_is_named(change: dict[str, int], found: str) -> None:
    assert audit.problem(variant("forward", "sm_90"), "sm_90", FINE) is None
    assert found in str(audit.problem(variant("forward", "sm_90"), "sm_90", FINE._replace(**change)))
