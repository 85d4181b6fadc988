"""What the compiler makes of every Triton kernel, without a GPU: registers, spills, shared memory, instructions."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from arasfsr.kernels.backward import backward
from arasfsr.kernels.configs import ROCM, Config, Table, launch_options, table
from arasfsr.kernels.forward import forward
from arasfsr.kernels.weight_gradient import weight_gradient
from arasfsr.query.fused.packed import padded_width
from arasfsr.query.fused.triton_launch import arithmetic

GFX942 = 942
"""Stands for AMD's architecture of that name."""

SHARED_LIMIT = {80: 163 << 10, 86: 99 << 10, 89: 99 << 10, 90: 227 << 10, 100: 227 << 10, GFX942: 64 << 10}
"""Bytes of shared memory that a block may have, by architecture."""

MATRIX = {80: "HMMA", 86: "HMMA", 89: "HMMA", 90: "HGMMA", 100: "UTC.MMA", GFX942: "v_mfma"}
"""How the architecture's matrix instructions begin in its machine code; a pattern."""

_TYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


@dataclass(frozen=True)
class Case:
    """One kernel as a call would compile it."""

    kernel: str
    architecture: int
    width: int = 256
    dtype: torch.dtype = torch.bfloat16
    precision: str = "tf32"
    modulated: bool = True
    grid: bool = True
    layers: int = 4


@dataclass(frozen=True)
class Report:
    """What became of it."""

    registers: int
    stack: int
    spills: int
    """Loads and stores of local memory in the machine code; on AMD GPUs vector registers that went there."""
    shared: int
    """Bytes of shared memory a block."""
    matrix: int
    """Matrix instructions."""
    instructions: int


def _capability(architecture: int) -> tuple[int, int]:
    return ROCM if architecture == GFX942 else (architecture // 10, architecture % 10)


def _common(case: Case, cut: Table, config: Config) -> dict[str, Any]:
    return {
        "LAYERS": case.layers,
        "NP": padded_width(case.width),
        "PRECISION": case.precision,
        "ARITHMETIC": arithmetic(case.dtype, case.precision, _capability(case.architecture)),
        "STAGES": config.stages,
    }


def _layers(case: Case, cut: Table, config: Config) -> dict[str, Any]:
    return {
        **_common(case, cut, config),
        "BQ": cut.queries,
        "BM": config.rows,
        "BN": config.columns,
        "BK": config.depth,
        "BG": cut.gather,
        "MODULATED": case.modulated,
    }


def _arguments(case: Case, cut: Table) -> tuple[Any, Config, dict[str, str], dict[str, Any]]:
    """The kernel, its cut, the types of its arguments (pointers by '*'; the rest are 32-bit) and its constants."""
    half, single, double, whole = f"*{_TYPES[case.dtype]}", "*fp32", "*fp64", "*i64"
    if case.kernel == "weight_gradient":
        types = {"weight_sums": single, "bias_sums": double, "z_gradients": half, "f": half, "s": half}
        constants = _common(case, cut, cut.weights)
        constants |= {"BO": cut.weights.rows, "BI": cut.weights.columns, "BR": cut.weights.depth}
        return weight_gradient, cut.weights, types, {**constants, "HALVES": 2, "HALF": int(case.modulated)}
    if case.kernel == "backward":
        types = dict.fromkeys(("z_gradients", "f", "s", "content_weight"), half)
        types |= dict.fromkeys(("s_gradients", "share_gradients", "combined", "share", "grad", "output_weight"), single)
        return backward, cut.backward, types, {**_layers(case, cut, cut.backward), "GEOMETRY": True}
    keep = case.kernel == "keep"
    types = dict.fromkeys(("content_weight", "encoding_weight", "modulator_weight", "f", "s", "cosines"), half)
    floats = ("out", "lr_map", "image", "coord", "cell", "rel_weight", "cell_weight", "content_bias", "modulator_bias")
    types |= dict.fromkeys((*floats, "output_weight", "output_bias", "rel", "share"), single) | {"lr_rows": whole}
    constants = {
        **_layers(case, cut, cut.forward),
        "N": case.width,
        "GRID": case.grid,
        "PER_IMAGE": not case.grid,
        "HAS_CELL": not case.grid,
    }
    constants |= {"CN": cut.coordinate[0], "CK": cut.coordinate[1]}
    return forward, cut.forward, types, {**constants, "SKIP": not keep, "KEEP": keep}


def compile_case(case: Case) -> Report:
    """Compile a case ahead of time and read its machine code."""
    cut = table(_capability(case.architecture), padded_width(case.width), case.dtype, case.precision)
    kernel, config, types, constants = _arguments(case, cut)
    floats = ("shift_", "step_", "start_")
    signature = {
        name: "constexpr" if name in constants else types.get(name, "fp32" if name.startswith(floats) else "i32")
        for name in kernel.arg_names
    }
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(kernel.arg_names) if name in types}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    if case.architecture == GFX942:
        target = GPUTarget("hip", "gfx942", 64)
        return _rocm_report(triton.compile(source, target=target, options=launch_options(config, rocm=True)))
    target = GPUTarget("cuda", case.architecture, 32)
    return _cuda_report(triton.compile(source, target=target, options=launch_options(config, rocm=False)), case)


def _rocm_report(compiled: Any) -> Report:
    """From the assembly and the figures that the compiler appends to it."""
    code = compiled.asm["amdgcn"]

    def figure(name: str) -> int:
        found = re.search(rf"\.{name}:\s+(\d+)", code)
        assert found, name
        return int(found.group(1))

    return Report(
        registers=figure("vgpr_count"),
        stack=figure("private_segment_fixed_size"),
        spills=figure("vgpr_spill_count"),
        shared=compiled.metadata.shared,
        matrix=len(re.findall(MATRIX[GFX942], code)),
        instructions=len(re.findall(r"^\t[sv]_|^\t(?:ds|global|buffer|flat)_", code, re.MULTILINE)),
    )


def _cuda_report(compiled: Any, case: Case) -> Report:
    """From the machine code, as cuobjdump prints it."""
    code = _cuobjdump("-sass", compiled)
    registers, stack = usage(compiled)
    return Report(
        registers=registers,
        stack=stack,
        spills=len(re.findall(r"\b(?:LDL|STL)\b", code)),
        shared=compiled.metadata.shared,
        matrix=len(re.findall(MATRIX[case.architecture], code)),
        instructions=len(re.findall(r"^\s+/\*[0-9a-f]{4,}\*/", code, re.MULTILINE)),
    )


def usage(compiled: Any) -> tuple[int, int]:
    """Registers of a thread, and its bytes of stack, which is where registers spill."""
    told = _cuobjdump("-res-usage", compiled)
    found = re.search(r"REG:(\d+) STACK:(\d+)", told)
    assert found, told
    return int(found.group(1)), int(found.group(2))


def _cuobjdump(option: str, compiled: Any) -> str:
    """cuobjdump as Triton's package carries it."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as binary:
        binary.write(compiled.asm["cubin"])
        binary.flush()
        done = subprocess.run([str(tool), option, binary.name], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def cases(architectures: tuple[int, ...] = (80, 90, 100)) -> list[Case]:
    """What is audited: every kernel at the paper's size in each arithmetic, and the switches of the forward."""
    kernels = ("forward", "keep", "backward", "weight_gradient")
    found = []
    for architecture in architectures:
        found += [Case(kernel, architecture) for kernel in kernels]
        found += [
            Case(kernel, architecture, dtype=torch.float32, precision=p) for kernel in kernels for p in ("tf32", "ieee")
        ]
        found += [Case("forward", architecture, grid=False), Case("forward", architecture, modulated=False)]
        found += [Case(kernel, architecture, width=64) for kernel in kernels]
    return [*found, *(Case(kernel, GFX942) for kernel in kernels)]


def problem(case: Case, report: Report) -> str | None:
    """What is wrong with a compiled kernel, or None: spills, too much shared memory, no matrix instructions."""
    if report.stack or report.spills:
        return f"{report.spills} spills, a stack of {report.stack} bytes"
    if report.shared > SHARED_LIMIT[case.architecture]:
        return f"{report.shared} bytes of shared memory, {SHARED_LIMIT[case.architecture]} are there"
    if not report.matrix and case.precision == "tf32":
        return f"no {MATRIX[case.architecture]} instructions"
    return None


def _named(architecture: int) -> str:
    return "gfx942" if architecture == GFX942 else f"sm_{architecture}"


def markdown(found: list[tuple[Case, Report]]) -> str:
    """The table that is committed, so that a change shows in the diff."""
    columns = ("registers", "spills", "shared", "matrix", "instructions")
    lines = [
        f"Made by `python -m benchmarks audit` with Triton {triton.__version__}; `keep` is the forward that keeps its",
        "activations for the backward. Shared memory in bytes a block; matrix: matrix instructions in the code.",
        "",
        f"| kernel | architecture | width | arithmetic | variant | {' | '.join(columns)} |",
        f"| --- | --- | ---: | --- | --- | {' | '.join(['---:'] * len(columns))} |",
    ]
    for case, report in found:
        arithmetic = case.precision if case.dtype == torch.float32 else _TYPES[case.dtype]
        variant = ("grid" if case.grid else "queries") + ("" if case.modulated else ", plain")
        figures = " | ".join(str(asdict(report)[column]) for column in columns)
        lines.append(
            f"| {case.kernel} | {_named(case.architecture)} | {case.width} | {arithmetic} | {variant} | {figures} |"
        )
    return "\n".join(lines) + "\n"
