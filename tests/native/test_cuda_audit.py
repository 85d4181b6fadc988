"""The CUDA extension's machine code: nothing spills, no stack, registers within bounds, the matrix units are used.

Reads the extension in the checkout, or the one that ARASFSR_AUDITED names, with CUDA's cuobjdump or Triton's.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tools.kernels.machine_code import Kernel, cuobjdump, kernels, tritons_cuobjdump

ROOT = Path(__file__).parents[2]

REGISTERS = 65536
"""Of a multiprocessor."""

THREADS = 256
"""Of a block, but for the kernels of 90a with warpgroups: those have three of them."""

WARPGROUP_THREADS = 384

WARPGROUPS = ("forward90", "backward90", "coordinate90", "weights90")
"""In the names of kernels with warpgroups."""

ONLY_90A = (*WARPGROUPS, "order_kernel")
"""In the names of kernels that are there for 90a alone: those, and what brings their weights in order."""

WITHOUT_PRODUCTS = ("order_kernel", "scatter_kernel")
"""In the names of kernels that multiply no matrices."""

PRODUCTS = 4
"""wgmma instructions with a stage of weights, between a fence and a wait."""

MOST_REGISTERS = 255
"""What a thread can have."""

SHARED_LIMIT = 48 << 10
"""Bytes of static shared memory; dynamic memory is the launch's, and checked there."""


def blocks(kernel: Kernel) -> int:
    """Blocks that a multiprocessor is to run at a time: the last number of the kernel's Shape, if it has one."""
    return int(re.findall(r"Li(\d+)E", kernel.name)[-1]) if "Shape" in kernel.name else 1


def named(kernel: Kernel, words: tuple[str, ...]) -> bool:
    return any(word in kernel.name for word in words)


def problem(kernel: Kernel) -> str | None:
    """What is wrong with a kernel, if anything."""
    if kernel.spills:
        return f"{kernel.spills} accesses of local memory"
    if kernel.stack or kernel.local:
        return f"a stack of {kernel.stack} and {kernel.local} bytes of local memory"
    threads = WARPGROUP_THREADS if named(kernel, WARPGROUPS) else THREADS
    most = min(MOST_REGISTERS, REGISTERS // (threads * blocks(kernel)))
    if kernel.registers > most:
        return f"{kernel.registers} registers, where {blocks(kernel)} blocks leave {most}"
    if kernel.shared > SHARED_LIMIT:
        return f"{kernel.shared} bytes of static shared memory"
    if named(kernel, WARPGROUPS):
        return problem_of_products(kernel.instructions) or problem_of_streams(kernel.instructions)
    if not kernel.instructions["HMMA"] and not named(kernel, WITHOUT_PRODUCTS):
        return "no matrix instructions"
    return None


def problem_of_products(instructions: Counter[str]) -> str | None:
    """What is wrong with the products of a kernel for sm_90a."""
    products, fences = instructions["HGMMA"], instructions["WARPGROUP.ARRIVE"]
    if not products:
        return "no warpgroup matrix instructions"
    if fences * PRODUCTS > products:  # ptxas then says C7510 or the like, which is no warning that -Werror takes
        return f"{fences} fences for {products} warpgroup matrix instructions: the compiler made them wait in turn"
    return None


def problem_of_streams(instructions: Counter[str]) -> str | None:
    """What is wrong with how a kernel for sm_90a gets what both blocks of a cluster read."""
    if not instructions["UBLKCP.S.G.MULTICAST"]:
        return "no bulk copies to both blocks of a cluster"
    if instructions["USETMAXREG.TRY_ALLOC.CTAPOOL"] != 1 or instructions["USETMAXREG.DEALLOC.CTAPOOL"] != 1:
        return "registers do not go from the producer to the consumers"
    return None


def library() -> Path | None:
    """The extension to read."""
    if os.environ.get("ARASFSR_AUDITED"):
        return Path(os.environ["ARASFSR_AUDITED"])
    return next(iter(sorted((ROOT / "arasfsr").glob("_C.*.so"))), None)


PROGRAM = shutil.which("cuobjdump") or tritons_cuobjdump()

if PROGRAM is None:
    pytest.skip("there is no cuobjdump, which comes with nvcc and with Triton", allow_module_level=True)
if library() is None:
    pytest.skip("no extension is built; ARASFSR_CUDA=1 pip install -e . builds one", allow_module_level=True)

KERNELS = kernels(Path(str(library())), PROGRAM)


def test_every_architecture_has_the_same_kernels() -> None:
    names: dict[str, set[str]] = {kernel.architecture: set() for kernel in KERNELS}
    for kernel in KERNELS:
        if not named(kernel, ONLY_90A):
            names[kernel.architecture].add(kernel.name)
    assert len(set(map(frozenset, names.values()))) == 1
    assert all(len(found) >= 2 for found in names.values())


def test_warpgroups_are_used_where_there_are_any() -> None:
    found = {kernel.architecture for kernel in KERNELS}
    assert {kernel.architecture for kernel in KERNELS if named(kernel, ONLY_90A)} == found & {"90a"}
    each = len(WARPGROUPS) + 1  # the forward is there with keeping and without
    assert sum(named(kernel, WARPGROUPS) for kernel in KERNELS) == 2 * each * ("90a" in found)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: f"sm_{kernel.architecture}-{kernel.name}")
def test_nothing_spills_and_the_matrix_units_are_used(kernel: Kernel) -> None:
    assert problem(kernel) is None


def test_it_holds_the_architectures_it_names() -> None:
    spec = importlib.util.spec_from_file_location("arasfsr._C", str(library()))
    assert spec is not None
    assert spec.loader is not None
    extension = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(extension)
    names = extension.architectures().split()
    assert {word.removesuffix("+ptx") for word in names} == {kernel.architecture for kernel in KERNELS}
    portable = set(re.findall(r"\.sm_(\w+)\.ptx", cuobjdump("--list-ptx", Path(str(library())), str(PROGRAM))))
    assert {word.removesuffix("+ptx") for word in names if word.endswith("+ptx")} == portable


WAITED = b"has waited 2 s for stage"
"""What the watchdog of csrc/src/watchdog.h prints."""


def test_there_is_no_watchdog_code() -> None:
    assert WAITED not in Path(str(library())).read_bytes()
    assert not any(kernel.instructions["BPT.TRAP"] for kernel in KERNELS)


@pytest.mark.skipif(not (shutil.which("nvcc") and shutil.which("cmake")), reason="kernels are built by nvcc and cmake")
def test_watchdog_kernels_can_exit_and_keep_their_products(tmp_path: Path) -> None:
    """Of one file of kernels, as CMake builds it with the option."""
    options = ["-DARASFSR_WATCHDOG=ON", "-DARASFSR_ARCHITECTURES=90a-real", "-DBUILD_TESTING=OFF"]
    configure = ["cmake", "-S", str(ROOT), "-B", str(tmp_path), "-G", "Unix Makefiles", *options]
    subprocess.run(configure, capture_output=True, check=True)
    made = "CMakeFiles/arasfsr_core_90a.dir/src/weights90.cu.o"
    files = ["-f", "csrc/CMakeFiles/arasfsr_core_90a.dir/build.make", f"csrc/{made}"]
    built = subprocess.run(["make", *files], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "serialized" not in built.stderr  # as ptxas says of products, C7510 and the like
    assert "setmaxnreg" not in built.stderr
    assert WAITED in (tmp_path / "csrc" / made).read_bytes()
    found = kernels(tmp_path / "csrc" / made, str(PROGRAM))
    assert len(found) == 2
    for kernel in found:
        assert problem(kernel) is None
        assert kernel.instructions["BPT.TRAP"]


FINE = Kernel("_Z7forward5ShapeILi256ELi1EE", "80", 255, 0, 0, 0, Counter(HMMA=1))

FINE_90A = Kernel(
    "_Z9forward90I8Bfloat16E",
    "90a",
    168,
    0,
    0,
    0,
    Counter(
        {
            "HGMMA": 8,
            "WARPGROUP.ARRIVE": 2,
            "UBLKCP.S.G.MULTICAST": 1,
            "USETMAXREG.TRY_ALLOC.CTAPOOL": 1,
            "USETMAXREG.DEALLOC.CTAPOOL": 1,
        }
    ),
)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"instructions": Counter(HMMA=1, STL=1, LDL=2)}, "3 accesses of local memory"),
        ({"stack": 8}, "a stack of 8"),
        ({"local": 16}, "16 bytes of local memory"),
        ({"registers": 256}, "256 registers, where 1 blocks leave 255"),
        ({"registers": 129, "name": "_Z7forward5ShapeILi64ELi2EE"}, "129 registers, where 2 blocks leave 128"),
        ({"shared": 50_000}, "50000 bytes"),
        ({"instructions": Counter(FFMA=9)}, "no matrix instructions"),
    ],
)
def test_problems_are_named(change: dict[str, object], found: str) -> None:
    assert problem(FINE) is None
    assert found in str(problem(FINE._replace(**change)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"HGMMA": 0}, "no warpgroup matrix instructions"),
        ({"WARPGROUP.ARRIVE": 8}, "8 fences for 8 warpgroup matrix instructions"),
        ({"UBLKCP.S.G.MULTICAST": 0, "UBLKCP.S.G": 1}, "no bulk copies to both blocks"),
        ({"USETMAXREG.DEALLOC.CTAPOOL": 0}, "registers do not go"),
    ],
)
def test_warpgroup_problems_are_named(change: dict[str, int], found: str) -> None:
    assert problem(FINE_90A) is None
    assert found in str(problem(FINE_90A._replace(instructions=Counter({**FINE_90A.instructions, **change}))))


def test_registers_of_three_warpgroups_are_bounded() -> None:
    assert "171 registers, where 1 blocks leave 170" in str(problem(FINE_90A._replace(registers=171)))
