"""Build the native core's kernels for the CPU: `python tools/build_emulated.py [FOLDER] [TARGET]` prints the folder.

ARASFSR_EMULATED=FOLDER then makes backend "cuda" run on CPU tensors. Takes a C++ compiler, CMake and pybind11; what has
been built before is built again only as far as something changed.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(os.environ.get("ARASFSR_EMULATED_BUILD") or ROOT / "build" / "emulated")
"""Where it is built unless told; the environment may name another place."""

MODULE = "_C_emulated"


def commands(folder: Path, target: str) -> list[list[str]]:
    """What configures and builds it; tools are found as setup.py finds them."""
    setup = runpy.run_path(str(ROOT / "setup.py"))
    options = {
        **setup["module_options"](folder),
        "ARASFSR_EMULATE": "ON",
    }
    cmake, generator = setup["program"]("cmake"), setup["generator"]()
    if cmake is None:
        sys.exit("building the emulated core takes cmake (pip install cmake)")
    configure = [cmake, "-S", str(ROOT), "-B", str(folder), *generator, *(f"-D{k}={v}" for k, v in options.items())]
    return [configure, [cmake, "--build", str(folder), "--target", target, "--parallel", "2"]]


def build(folder: Path = FOLDER, target: str = MODULE) -> Path:
    """Build the module, or another target, and return the folder; raises RuntimeError with the output if it fails."""
    for command in commands(folder.resolve(), target):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-8000:]}")
    return folder.resolve()


if __name__ == "__main__":
    arguments = sys.argv[1:]
    print(build(Path(arguments[0]) if arguments else FOLDER, *arguments[1:2]))
