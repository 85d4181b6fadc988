"""`python -m tools.kernels.build`: on a GPU machine, build the extension for its GPU into the checkout.

Does nothing if the extension loads and holds code for the GPU. Needs nvcc, CMake, Ninja and pybind11; nothing here
imports torch, and only nvidia-smi touches the GPU.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from arasfsr.architectures import covers

ROOT = Path(__file__).parents[2]
MODULE = "_C"
LINES = 30
"""Of a failed command's output, that are shown."""


class BuildError(RuntimeError):
    """The extension cannot be built, or the GPU is not known; the message says why."""


def build(python: str, architectures: str, watchdog: bool = False) -> Path:
    """Build the extension for an interpreter and architectures, as CMake writes them; returns its file, under build/.

    What was compiled before is kept: for a second interpreter only the binding is compiled.
    Raises BuildError with one line, or with the last lines of what failed.
    """
    setup = runpy.run_path(str(ROOT / "setup.py"))
    nvcc, cmake = setup["find_nvcc"](os.environ), setup["program"]("cmake")
    if nvcc is None or cmake is None:
        raise BuildError(f"building the extension needs {'cmake' if nvcc else 'nvcc'}, which is not found")
    folder = ROOT / "build" / "gpu" / (architectures.replace(";", "+") + ("-watchdog" if watchdog else ""))
    made = folder / "module"
    shutil.rmtree(made, ignore_errors=True)
    options = {
        **_module_options(setup, made, python),
        "CMAKE_CUDA_COMPILER": nvcc,
        "ARASFSR_ARCHITECTURES": architectures,
        "ARASFSR_WATCHDOG": "ON" if watchdog else "OFF",
        "BUILD_TESTING": "OFF",
    }
    definitions = [f"-D{name}={value}" for name, value in options.items()]
    # --fresh: what the last configuration found may be gone, or be of another interpreter
    _run([cmake, "--fresh", "-S", str(ROOT), "-B", str(folder), *setup["generator"](), *definitions])
    _run([cmake, "--build", str(folder), "--target", MODULE, "--parallel", str(os.cpu_count() or 1)])
    files = list(made.glob(f"{MODULE}.*.so"))
    if len(files) != 1:
        raise BuildError(f"CMake has built no {MODULE} in {made}")
    return files[0]


def _module_options(setup: dict[str, Any], folder: Path, python: str) -> dict[str, str]:
    try:
        found: dict[str, str] = setup["module_options"](folder, python)
    except SystemExit as error:
        raise BuildError(str(error)) from error
    return found


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-LINES:])
        raise BuildError(f"{' '.join(command[:2])} ... failed with status {done.returncode}:\n{tail}")


def capabilities() -> list[tuple[int, int]]:
    """The compute capabilities of this machine's GPUs; raises BuildError if nvidia-smi does not tell."""
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"nvidia-smi does not run ({error}), so the GPU is not known") from error
    found = sorted({(int(major), int(minor)) for major, minor in re.findall(r"^(\d+)\.(\d)\s*$", done.stdout, re.M)})
    if done.returncode or not found:
        raise BuildError(f"nvidia-smi names no compute capability: {(done.stdout + done.stderr).strip()}")
    return found


def architecture(capability: tuple[int, int]) -> str:
    """CMake's name for code that runs on that compute capability alone; 9.0 has kernels of its own."""
    major, minor = capability
    return "90a-real" if capability == (9, 0) else f"{major}{minor}-real"


def unusable(capabilities: list[tuple[int, int]]) -> str | None:
    """Why the checkout's extension is of no use on such GPUs, or None."""
    code = "import arasfsr._C as extension; print(extension.abi(), extension.architectures(), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        error = (done.stderr.strip().splitlines() or [f"its import ended with status {done.returncode}"])[-1]
        return f"the extension does not load ({error})"
    abi, architectures = done.stdout.splitlines()
    wanted = re.search(r"#define ARASFSR_ABI (\d+)", (ROOT / "csrc" / "include" / "arasfsr" / "core.h").read_text())
    assert wanted is not None
    if abi != wanted[1]:
        return f"the extension has ABI {abi}, the sources have {wanted[1]}"
    missing = [f"{major}.{minor}" for major, minor in capabilities if not covers(architectures, (major, minor))]
    if missing:
        return f"the extension holds code for {architectures}, not for compute capability {', '.join(missing)}"
    return None


def provide() -> str:
    """Build the extension unless it is usable; returns one line that says what was found or done."""
    found = capabilities()
    reason = unusable(found)
    if reason is None:
        return f"the extension loads and holds code for {', '.join(f'{major}.{minor}' for major, minor in found)}"
    wanted = ";".join(map(architecture, found))
    made = build(sys.executable, wanted)
    target = ROOT / "arasfsr" / made.name
    shutil.copy(made, target.with_suffix(".new"))
    target.with_suffix(".new").replace(target)  # nobody imports half a file
    if (remaining := unusable(found)) is not None:
        raise BuildError(f"built for {wanted}, but {remaining}")
    return f"built for {wanted}: {reason}"


def main() -> int:
    """The command; returns 1 if the extension is unusable afterwards."""
    try:
        print(provide())
    except BuildError as error:
        print(f"no extension: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
