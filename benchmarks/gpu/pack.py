"""`python -m benchmarks.gpu.pack DIR`: what a bare CUDA machine without a network lacks, made on another machine.

DIR then holds the extension for the target's Python and one architecture, wheels, and start.sh, which makes a checkout
run there without an install. Takes nvcc, CMake and pybind11, and a Python of the target's version.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
WHEELS = "pydantic"
"""What this package imports that a machine with torch may lack; pip brings what it needs in turn."""

PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")

START = """\
# Sourced in the root of a checkout: makes it run where nothing is installed, with what lies beside this file.
packed=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python3 -m pip install --quiet --no-index --no-deps --no-compile --upgrade --target /tmp/site "$packed"/*.whl
ln -sfn ../kernels arasfsr/kernels
cp "$packed"/_C.*.so arasfsr/
export PYTHONPATH=$PWD:/tmp/site CUBLAS_WORKSPACE_CONFIG=:4096:8 TORCHINDUCTOR_COMPILE_THREADS=6
ARASFSR_COMMIT=$(cat "$packed/commit")
export ARASFSR_COMMIT
"""


def build_extension(python: str, architecture: str, to: Path) -> None:
    """The extension for that Python, with code for one architecture."""
    with tempfile.TemporaryDirectory() as folder:
        environment = f"{folder}/venv"
        subprocess.run([python, "-m", "venv", environment], check=True)
        own = f"{environment}/bin/python"
        subprocess.run([own, "-m", "pip", "install", "--quiet", "pybind11", "cmake", "ninja"], check=True)
        pybind11 = subprocess.run(
            [own, "-c", "import pybind11; print(pybind11.get_cmake_dir())"], check=True, text=True, capture_output=True
        ).stdout.strip()
        options = {
            "CMAKE_BUILD_TYPE": "Release",
            "CMAKE_LIBRARY_OUTPUT_DIRECTORY": str(to.resolve()),
            "CMAKE_MAKE_PROGRAM": f"{environment}/bin/ninja",
            "Python_EXECUTABLE": own,
            "pybind11_DIR": pybind11,
            "ARASFSR_BINDING": "ON",
            "ARASFSR_ARCHITECTURES": architecture,
            "BUILD_TESTING": "OFF",
        }
        cmake, build = f"{environment}/bin/cmake", f"{folder}/build"
        definitions = [f"-D{name}={value}" for name, value in options.items()]
        subprocess.run([cmake, "-S", str(ROOT), "-B", build, "-G", "Ninja", *definitions], check=True)
        subprocess.run([cmake, "--build", build, "--target", "_C"], check=True)


def download_wheels(version: str, to: Path) -> None:
    """The wheels for that version of Python."""
    platforms = [part for platform in PLATFORMS for part in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--python-version", version]
    # pydantic names the one version of its core that it takes: pip is to choose them together
    subprocess.run([*command, "--implementation", "cp", *platforms, "--dest", str(to), WHEELS], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.pack", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="python3.12", help="an interpreter of the target's version (python3.12)")
    parser.add_argument("--architecture", default="90a-real", help="as CMake writes it (90a-real)")
    given = parser.parse_args()
    version = subprocess.run(
        [given.python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        check=True,
        text=True,
        capture_output=True,
    ).stdout.strip()
    if given.folder.exists():
        shutil.rmtree(given.folder)
    given.folder.mkdir(parents=True)
    build_extension(given.python, given.architecture, given.folder)
    download_wheels(version, given.folder)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True
    )
    (given.folder / "commit").write_text(commit.stdout)
    (given.folder / "start.sh").write_text(START)
    size = sum(path.stat().st_size for path in given.folder.iterdir())
    print(f"{given.folder}: {size / 1e6:.1f} MB, to be used by: source {given.folder}/start.sh")


if __name__ == "__main__":
    main()
