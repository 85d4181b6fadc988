"""Which packages and files the distribution holds, and how CMake builds its extension; pyproject.toml has the rest.

The environment chooses: ARASFSR_CUDA=auto builds the extension where nvcc is (CUDA_HOME, PATH, /usr/local/cuda), 0
never, 1 always; without it the wheel is pure Python. ARASFSR_CUDA_ARCHITECTURES="80;90a" overrides the list in csrc.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
EXTENSION = "arasfsr._C"
SWITCH = "ARASFSR_CUDA"
SWITCHES = ("auto", "1", "0")
ARCHITECTURES = "ARASFSR_CUDA_ARCHITECTURES"
DEFAULT_CUDA = "/usr/local/cuda"


def find_nvcc(environment: Mapping[str, str]) -> str | None:
    """CUDA's compiler; a CUDA_HOME goes before the path."""
    home = environment.get("CUDA_HOME")
    folders = [f"{home}/bin"] if home else []
    folders += [environment.get("PATH", os.defpath), f"{DEFAULT_CUDA}/bin"]
    return shutil.which("nvcc", path=os.pathsep.join(folders))


def compiler(environment: Mapping[str, str]) -> str | None:
    """The nvcc to build the extension with, None for a pure Python distribution; ends with one line if unclear."""
    switch = environment.get(SWITCH) or "auto"
    if switch not in SWITCHES:
        sys.exit(f"{SWITCH} must be one of {', '.join(SWITCHES)}, got {switch!r}")
    found = None if switch == "0" else find_nvcc(environment)
    if switch == "1" and found is None:
        sys.exit(f"{SWITCH}=1, but nvcc is neither on PATH nor in CUDA_HOME/bin nor in {DEFAULT_CUDA}/bin")
    return found


def program(name: str) -> str | None:
    """A program of this Python's environment, be that active or not, or else of the path."""
    folders = (sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath))
    return shutil.which(name, path=os.pathsep.join(folders))


def generator() -> list[str]:
    """CMake's arguments that choose Ninja, where it is; named each time: an isolated build's is gone after it."""
    ninja = program("ninja")
    return ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []


def module_options(folder: Path, python: str = sys.executable) -> dict[str, str]:
    """CMake's options that make it put the Python module for that interpreter into a folder."""
    try:
        import pybind11
    except ImportError:
        sys.exit(f"the extension's build needs pybind11 (pip install pybind11); {SWITCH}=0 goes without the extension")
    return {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_LIBRARY_OUTPUT_DIRECTORY": str(folder),
        "Python_EXECUTABLE": python,
        "pybind11_DIR": pybind11.get_cmake_dir(),
        "ARASFSR_BINDING": "ON",
    }


class CMakeBuild(build_ext):
    """Has CMakeLists.txt, the one description of the native code, build the extension."""

    def build_extension(self, ext: Extension) -> None:
        cmake, nvcc = program("cmake"), compiler(os.environ)
        assert nvcc is not None
        if cmake is None:
            sys.exit(f"the extension's build needs cmake (pip install cmake); {SWITCH}=0 goes without the extension")
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        folder = Path(self.build_temp).resolve() / "native"
        options = {**module_options(target.parent), "CMAKE_CUDA_COMPILER": nvcc, "BUILD_TESTING": "OFF"}
        definitions = [f"-D{name}={value}" for name, value in options.items()]
        architectures = os.environ.get(ARCHITECTURES)
        name = "ARASFSR_ARCHITECTURES"  # to CMake, which would remember the last build's
        definitions.append(f"-D{name}={architectures}" if architectures else f"-U{name}")
        configure = [cmake, "-S", str(ROOT), "-B", str(folder), *generator(), *definitions]
        jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or str(os.cpu_count() or 1)
        for command in (configure, [cmake, "--build", str(folder), "--target", "_C", "--parallel", jobs]):
            status = subprocess.run(command, check=False).returncode
            if status:
                sys.exit(f"{' '.join(command[:3])} ... failed with status {status}, its output is above")
        if not target.is_file():
            sys.exit(f"CMake has built no {target}")


if __name__ == "__main__":
    setup(
        packages=find_packages(include=["arasfsr", "arasfsr.*"]),  # arasfsr/kernels is a link to kernels
        include_package_data=False,
        package_data={
            "arasfsr": ["py.typed", "assets/*", "weights/*.safetensors", "query/*.json"],
            "arasfsr.kernels": ["*.json"],
        },
        ext_modules=[Extension(EXTENSION, sources=[])] if compiler(os.environ) else [],
        cmdclass={"build_ext": CMakeBuild},
    )
