"""The build's switches: when the native extension is built, and what is said where it cannot be."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """setup.py as a module, on a machine that has no CUDA where it is installed by default."""
    spec = importlib.util.spec_from_file_location("setup_of_arasfsr", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "DEFAULT_CUDA", str(tmp_path / "usr" / "local" / "cuda"))
    return module


def nvcc(folder: Path, script: str = "exit 0") -> str:
    """A program of that name."""
    folder.mkdir(parents=True)
    program = folder / "nvcc"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize("switch", [{}, {"ARASFSR_CUDA": ""}, {"ARASFSR_CUDA": "auto"}, {"ARASFSR_CUDA": "1"}])
def test_the_extension_is_built_where_nvcc_is_on_the_path(
    setup: ModuleType, tmp_path: Path, switch: dict[str, str]
) -> None:
    program = nvcc(tmp_path / "bin")
    assert setup.compiler({"PATH": str(tmp_path / "bin"), **switch}) == program


def test_cuda_home_takes_precedence_over_path_and_path_over_the_default(setup: ModuleType, tmp_path: Path) -> None:
    default = nvcc(Path(setup.DEFAULT_CUDA) / "bin")
    assert setup.compiler({"PATH": str(tmp_path)}) == default
    on_path = nvcc(tmp_path / "bin")
    assert setup.compiler({"PATH": str(tmp_path / "bin")}) == on_path
    at_home = nvcc(tmp_path / "home" / "bin")
    assert setup.compiler({"PATH": str(tmp_path / "bin"), "CUDA_HOME": str(tmp_path / "home")}) == at_home


def test_without_nvcc_auto_builds_no_extension(setup: ModuleType, tmp_path: Path) -> None:
    assert setup.compiler({"PATH": str(tmp_path)}) is None


def test_0_builds_no_extension_despite_nvcc(setup: ModuleType, tmp_path: Path) -> None:
    nvcc(tmp_path / "bin")
    assert setup.compiler({"PATH": str(tmp_path / "bin"), "ARASFSR_CUDA": "0"}) is None


def test_1_without_nvcc_is_an_error_that_says_where_it_looked(setup: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^ARASFSR_CUDA=1, but nvcc is neither on PATH nor in CUDA_HOME/bin nor in "):
        setup.compiler({"PATH": str(tmp_path), "ARASFSR_CUDA": "1"})


@pytest.mark.parametrize("switch", ["yes", "2", "Auto"])
def test_other_values_are_an_error(setup: ModuleType, switch: str) -> None:
    with pytest.raises(SystemExit, match=f"^ARASFSR_CUDA must be one of auto, 1, 0, got '{switch}'$"):
        setup.compiler({"ARASFSR_CUDA": switch})


def test_tools_of_this_environment_take_precedence_over_path(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("scripts", "path"):
        shutil.move(nvcc(tmp_path / folder), tmp_path / folder / "cmake")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(setup.sysconfig, "get_path", lambda name: str(tmp_path / name))
    assert setup.program("cmake") == str(tmp_path / "scripts" / "cmake")
    (tmp_path / "scripts" / "cmake").unlink()
    assert setup.program("cmake") == str(tmp_path / "path" / "cmake")


def test_a_failed_compile_fails_the_build(tmp_path: Path) -> None:
    pytest.importorskip("pybind11", reason="the extension is built with pybind11")
    if shutil.which("cmake") is None:
        pytest.importorskip("cmake", reason="the extension is built with cmake")
    for name in ("csrc", "arasfsr", "kernels"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("setup.py", "pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    nvcc(tmp_path / "bin", "exit 7")
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=tmp_path,
        env={**os.environ, "ARASFSR_CUDA": "1", "CUDA_HOME": str(tmp_path), "CUDACXX": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "failed with status" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.glob("arasfsr/*.so"))
