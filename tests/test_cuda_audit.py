"""The native extension's machine code: nothing spills, no stack, registers within bounds, the matrix units are used.

Reads the extension that lies in the checkout, or the one that ARASFSR_AUDITED names, with CUDA's cuobjdump or Triton's.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

REGISTERS = 65536
"""Of a multiprocessor."""

THREADS = 256
"""Of a block."""

MOST_REGISTERS = 255
"""What a thread can have."""

SHARED_LIMIT = 48 << 10
"""Bytes of static shared memory; dynamic memory is the launch's, and checked there."""


class Kernel(NamedTuple):
    """What the compiler made of a kernel for one architecture."""

    name: str
    architecture: str
    registers: int
    stack: int
    local: int
    shared: int
    instructions: Counter[str]
    """By the first word of their names."""

    @property
    def blocks(self) -> int:
        """Blocks that a multiprocessor is to run at a time: the last number of the kernel's Shape."""
        return int(re.findall(r"Li(\d+)E", self.name)[-1])


def problem(kernel: Kernel) -> str | None:
    """What is wrong with a kernel, if anything."""
    accesses = kernel.instructions["LDL"] + kernel.instructions["STL"]
    if accesses:
        return f"{accesses} accesses of local memory"
    if kernel.stack or kernel.local:
        return f"a stack of {kernel.stack} and {kernel.local} bytes of local memory"
    most = min(MOST_REGISTERS, REGISTERS // (THREADS * kernel.blocks))
    if kernel.registers > most:
        return f"{kernel.registers} registers, where {kernel.blocks} blocks leave {most}"
    if kernel.shared > SHARED_LIMIT:
        return f"{kernel.shared} bytes of static shared memory"
    if not kernel.instructions["HMMA"] + kernel.instructions["HGMMA"]:
        return "no matrix instructions"
    return None


_SASS = re.compile(r"code for sm_(\w+)|Function : (\S+)|^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?([A-Z0-9]+)")
"""An architecture, a function, or an instruction with its predicate."""


def parse(usage: str, code: str) -> Iterator[Kernel]:
    """The kernels of `cuobjdump --dump-resource-usage` and `cuobjdump -sass`."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    architecture, counter = "", Counter[str]()
    for line in code.splitlines():
        found = _SASS.search(line)
        if found is None:
            continue
        if found[1]:
            architecture = found[1]
        elif found[2]:
            counter = counts[architecture, found[2]] = Counter()
        else:
            counter[found[3]] += 1
    for line in usage.splitlines():
        if found := re.search(r"arch = sm_(\w+)", line):
            architecture = found[1]
        elif found := re.search(r"Function (\S+):", line):
            name = found[1]
        elif "REG:" in line:
            numbers = {key: int(value) for key, value in re.findall(r"(\w+):(\d+)", line)}
            yield Kernel(
                name,
                architecture,
                numbers["REG"],
                numbers["STACK"],
                numbers["LOCAL"],
                numbers["SHARED"],
                counts.get((architecture, name), Counter()),
            )


def library() -> Path | None:
    """The extension to read."""
    if os.environ.get("ARASFSR_AUDITED"):
        return Path(os.environ["ARASFSR_AUDITED"])
    return next(iter(sorted((ROOT / "arasfsr").glob("_C.*.so"))), None)


@cache
def cuobjdump() -> str | None:
    """The program: nvcc's, or the one that Triton's package carries."""
    found = shutil.which("cuobjdump")
    triton = importlib.util.find_spec("triton")
    if found is None and triton is not None and triton.origin is not None:
        found = shutil.which(str(Path(triton.origin).parent / "backends" / "nvidia" / "bin" / "cuobjdump"))
    return found


@cache
def dump(option: str) -> str:
    done = subprocess.run([str(cuobjdump()), option, str(library())], capture_output=True, text=True, check=True)
    return done.stdout


if cuobjdump() is None:
    pytest.skip("there is no cuobjdump, which comes with nvcc and with Triton", allow_module_level=True)
if library() is None:
    pytest.skip("no extension is built; ARASFSR_CUDA=1 pip install -e . builds one", allow_module_level=True)

KERNELS = sorted(parse(dump("--dump-resource-usage"), dump("--dump-sass")), key=lambda kernel: kernel[:2])


def test_every_architecture_has_the_same_kernels() -> None:
    names: dict[str, set[str]] = {}
    for kernel in KERNELS:
        names.setdefault(kernel.architecture, set()).add(kernel.name)
    assert len(set(map(frozenset, names.values()))) == 1
    assert all(len(found) >= 2 for found in names.values())


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: f"sm_{kernel.architecture}-{kernel.name}")
def test_nothing_spills_and_the_matrix_units_are_used(kernel: Kernel) -> None:
    assert problem(kernel) is None


def test_it_holds_the_architectures_that_it_names() -> None:
    spec = importlib.util.spec_from_file_location("arasfsr._C", str(library()))
    assert spec is not None
    assert spec.loader is not None
    extension = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(extension)
    named = extension.architectures().split()
    assert {word.removesuffix("+ptx") for word in named} == {kernel.architecture for kernel in KERNELS}
    portable = set(re.findall(r"\.sm_(\w+)\.ptx", dump("--list-ptx")))
    assert {word.removesuffix("+ptx") for word in named if word.endswith("+ptx")} == portable


FINE = Kernel("_Z7forward5ShapeILi256ELi1EE", "80", 255, 0, 0, 0, Counter(HMMA=1))


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
def test_what_is_wrong_is_named(change: dict[str, object], found: str) -> None:
    assert problem(FINE) is None
    assert found in str(problem(FINE._replace(**change)))  # type: ignore[arg-type]
