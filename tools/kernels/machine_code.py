"""Reads machine code of NVIDIA GPUs with cuobjdump: registers, stack, shared memory and instructions of each kernel."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple


class Kernel(NamedTuple):
    """What the compiler made of a kernel for one architecture."""

    name: str
    architecture: str
    """Such as 90a."""
    registers: int
    """Per thread."""
    stack: int
    """Bytes per thread; registers spill to it."""
    local: int
    """Bytes of local memory per thread."""
    shared: int
    """Bytes of static shared memory per block."""
    instructions: Counter[str]
    """By opcode and, where it has modifiers, also by opcode with modifiers, such as WARPGROUP and WARPGROUP.ARRIVE."""

    @property
    def spills(self) -> int:
        """Loads and stores of local memory."""
        return self.instructions["LDL"] + self.instructions["STL"]

    def count(self, pattern: str = "") -> int:
        """Instructions whose opcode begins with a pattern."""
        return sum(n for name, n in self.instructions.items() if "." not in name and re.match(pattern, name))


def tritons_cuobjdump() -> str | None:
    """The cuobjdump that Triton's package carries."""
    triton = importlib.util.find_spec("triton")
    if triton is None or triton.origin is None:
        return None
    return shutil.which(Path(triton.origin).parent / "backends" / "nvidia" / "bin" / "cuobjdump")


def of_triton(compiled: Any) -> Kernel:
    """A kernel that Triton compiled."""
    program = tritons_cuobjdump()
    assert program is not None
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        [kernel] = kernels(Path(file.name), program)
    return kernel


def cuobjdump(option: str, file: Path, program: str) -> str:
    """What cuobjdump prints."""
    return subprocess.run([program, option, str(file)], capture_output=True, text=True, check=True).stdout


def kernels(file: Path, program: str) -> list[Kernel]:
    """The kernels of a cubin, an object file or a library, by name and architecture."""
    found = parse(cuobjdump("--dump-resource-usage", file, program), cuobjdump("--dump-sass", file, program))
    return sorted(found, key=lambda kernel: kernel[:2])


_SASS = re.compile(
    r"code for sm_(\w+)|Function : (\S+)|^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?([A-Z0-9]+)((?:\.\w+)*)"
)
"""An architecture, a function, or an instruction behind its predicate."""


def parse(usage: str, code: str) -> Iterator[Kernel]:
    """The kernels in what `cuobjdump --dump-resource-usage` and `--dump-sass` print."""
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
            if found[4]:
                counter[found[3] + found[4]] += 1
    for line in usage.splitlines():
        if found := re.search(r"arch = sm_(\w+)", line):  # a cubin has one, which is named in its code alone
            architecture = found[1]
        elif found := re.search(r"Function (\S+):", line):
            name = found[1]
        elif "REG:" in line:
            number = {key: int(value) for key, value in re.findall(r"(\w+):(\d+)", line)}
            sizes = (number["REG"], number["STACK"], number["LOCAL"], number["SHARED"])
            yield Kernel(name, architecture, *sizes, counts.get((architecture, name), Counter()))
