"""`python -m benchmarks.gpu.build`: on a GPU machine, the extension for its GPU into the checkout, where it is missing.

Returns 0 where the extension loads and holds code for the GPU, or has been built. Takes nvcc, CMake, Ninja and pybind11
as they are found; nothing here imports torch, and CUDA is not touched but by nvidia-smi.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from arasfsr.architectures import covers

ROOT = Path(__file__).parents[2]
MODULE = "_C"
LINES = 30
"""Of a failed command's output, that are shown."""


class BuildError(RuntimeError):
    """It cannot be built, or not be told what to build; the message says why."""


class Held(NamedTuple):
    """What an extension says of itself."""

    abi: int
    architectures: str


def build(python: str, architectures: str, watchdog: bool = False) -> Path:
    """The extension for that interpreter and those architectures, as CMake writes them: its file, under build.

    What has been compiled before is kept: for a second interpreter only the binding is.
    Raises BuildError with one line, or with the last lines of what failed.
    """
    setup = runpy.run_path(str(ROOT / "setup.py"))
    nvcc, cmake = setup["find_nvcc"](os.environ), setup["program"]("cmake")
    if nvcc is None or cmake is None:
        raise BuildError(f"building the extension takes {'cmake' if nvcc else 'nvcc'}, which is not found")
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
    """The compute capabilities of this machine's GPUs."""
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
    """For code that runs on that compute capability alone: 9.0 has kernels of its own."""
    major, minor = capability
    return "90a-real" if capability == (9, 0) else f"{major}{minor}-real"


def held() -> Held | str:
    """What the extension in the checkout holds, or why it does not load."""
    code = "import arasfsr._C as extension; print(extension.abi(), extension.architectures(), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"its import ended with status {done.returncode}"])[-1]
    abi, architectures = done.stdout.splitlines()
    return Held(int(abi), architectures)


def lacking(capabilities: list[tuple[int, int]]) -> str | None:
    """Why the checkout's extension is of no use on such GPUs, or None."""
    found = held()
    if isinstance(found, str):
        return f"the extension does not load ({found})"
    wanted = re.search(r"#define ARASFSR_ABI (\d+)", (ROOT / "csrc" / "include" / "arasfsr" / "core.h").read_text())
    assert wanted is not None
    if found.abi != int(wanted[1]):
        return f"the extension has ABI {found.abi}, the sources have {wanted[1]}"
    missing = [f"{major}.{minor}" for major, minor in capabilities if not covers(found.architectures, (major, minor))]
    if missing:
        return f"the extension holds code for {found.architectures}, not for compute capability {', '.join(missing)}"
    return None


def provide() -> str:
    """Build what is lacking, and say in a line what was found or done."""
    found = capabilities()
    reason = lacking(found)
    if reason is None:
        return f"the extension loads and holds code for {', '.join(f'{major}.{minor}' for major, minor in found)}"
    wanted = ";".join(architecture(capability) for capability in found)
    made = build(sys.executable, wanted)
    target = ROOT / "arasfsr" / made.name
    shutil.copy(made, target.with_suffix(".new"))
    target.with_suffix(".new").replace(target)  # nobody imports half a file
    reason_now = lacking(found)
    if reason_now is not None:
        raise BuildError(f"built for {wanted}, but {reason_now}")
    return f"built for {wanted}: {reason}"


def main() -> int:
    """Returns 1 where the extension is of no use afterwards."""
    try:
        print(provide())
    except BuildError as error:
        print(f"no extension: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
