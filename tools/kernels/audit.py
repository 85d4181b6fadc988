"""What the compilers make of the Triton kernels, without a GPU: registers, spills, shared memory, instructions."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import triton

from benchmarks.tables import markdown
from tools.kernels import machine_code
from tools.kernels.listed import AUDITED, of_audit, variants_of
from tools.kernels.variants import Variant

SHARED_LIMIT = {"sm_80": 163 << 10, "sm_90": 227 << 10, "sm_100": 227 << 10, "gfx942": 64 << 10}
"""Bytes of shared memory that a block may use."""

MATRIX = {"sm_80": "HMMA", "sm_90": "HGMMA", "sm_100": "UTC.MMA", "gfx942": "v_mfma"}
"""How matrix instructions begin; a pattern."""


class Report(NamedTuple):
    """What became of a kernel."""

    registers: int
    """Per thread."""
    spills: int
    """Loads and stores of local memory in the machine code; on AMD GPUs vector registers that spill."""
    shared: int
    """Bytes of shared memory per block."""
    matrix: int
    """Matrix instructions."""
    instructions: int
    stack: int
    """Bytes per thread."""


def report(compiled: Any, architecture: str) -> Report:
    """Of a compiled Triton kernel."""
    if architecture == "gfx942":
        return _amd_report(compiled)
    kernel = machine_code.of_triton(compiled)
    matrix, instructions = kernel.count(MATRIX[architecture]), kernel.count()
    return Report(kernel.registers, kernel.spills, compiled.metadata.shared, matrix, instructions, kernel.stack)


def _amd_report(compiled: Any) -> Report:
    """From the assembly and the figures that the compiler appends to it."""
    code = compiled.asm["amdgcn"]

    def figure(name: str) -> int:
        found = re.search(rf"\.{name}:\s+(\d+)", code)
        assert found, name
        return int(found[1])

    return Report(
        registers=figure("vgpr_count"),
        spills=figure("vgpr_spill_count"),
        shared=compiled.metadata.shared,
        matrix=len(re.findall(MATRIX["gfx942"], code)),
        instructions=len(re.findall(r"^\t[sv]_|^\t(?:ds|global|buffer|flat)_", code, re.MULTILINE)),
        stack=figure("private_segment_fixed_size"),
    )


def problem(variant: Variant, architecture: str, found: Report) -> str | None:
    """What is wrong with a compiled kernel, or None."""
    if found.stack or found.spills:
        return f"{found.spills} spills, a stack of {found.stack} bytes"
    if found.shared > SHARED_LIMIT[architecture]:
        return f"{found.shared} bytes of shared memory, at most {SHARED_LIMIT[architecture]} are available"
    if not found.matrix and dict(variant.arguments)["PRECISION"] == "tf32":
        return f"no {MATRIX[architecture]} instructions"
    return None


def audit(say: Callable[[str], None] = print) -> str:
    """Compile what is audited, with a line each to `say`; returns the table."""
    rows = []
    for architecture, capability in AUDITED.items():
        for variant in variants_of(of_audit(architecture), capability):
            found = report(variant.compile(), architecture)
            say(f"{architecture} {variant.label}: {problem(variant, architecture, found) or 'fine'}")
            rows.append((architecture, variant, found))
    return table(rows)


def table(rows: list[tuple[str, Variant, Report]]) -> str:
    """The table that is committed, so that a change shows in the diff."""
    columns = Report._fields[:-1]
    head = (
        f"Made by `python -m benchmarks audit` with Triton {triton.__version__}; `keep` is the forward that keeps its\n"
        "activations for the backward. Shared memory in bytes per block; matrix: matrix instructions in the code."
    )
    what = "kernel, arithmetic, width x layers, queries"
    cells = [
        {"architecture": architecture, what: variant.label, **dict(zip(columns, found, strict=False))}
        for architecture, variant, found in rows
    ]
    return f"{head}\n\n{markdown(cells, columns)}\n"
