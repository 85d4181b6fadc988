"""Build the native core's kernels for the CPU: `python tools/build_emulated.py [FOLDER] [TARGET]` prints the folder.

With ARASFSR_EMULATED=FOLDER, backend "cuda" then runs on CPU tensors. Needs a C++ compiler, CMake and pybind11. Builds
are incremental.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(os.environ.get("ARASFSR_EMULATED_BUILD") or ROOT / "build" / "emulated")
"""Default build folder; ARASFSR_EMULATED_BUILD overrides it."""

MODULE = "_C_emulated"


def commands(folder: Path, target: str) -> list[list[str]]:
    """The commands that configure and build it, with the tools that setup.py finds."""
    setup = runpy.run_path(str(ROOT / "setup.py"))
    options = {
        **setup["module_options"](folder),
        "ARASFSR_EMULATE": "ON",
    }
    cmake, generator = setup["program"]("cmake"), setup["generator"]()
    if cmake is None:
        sys.exit("building the emulated core needs cmake (pip install cmake)")
    configure = [cmake, "-S", str(ROOT), "-B", str(folder), *generator, *(f"-D{k}={v}" for k, v in options.items())]
    return [configure, [cmake, "--build", str(folder), "--target", target, "--parallel", "2"]]


def build(folder: Path = FOLDER, target: str = MODULE) -> Path:
    """Build the module, or another target, and return the folder; on failure raises RuntimeError with the output."""
    for command in commands(folder.resolve(), target):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-8000:]}")
    return folder.resolve()


if __name__ == "__main__":
    arguments = sys.argv[1:]
    print(build(Path(arguments[0]) if arguments else FOLDER, *arguments[1:2]))
