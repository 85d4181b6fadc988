"""The wheel: what it holds, and that it works away from the checkout."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import arasfsr

ROOT = Path(__file__).parents[1]
SOURCES = ("arasfsr", "kernels", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
problems = runpy.run_path(str(ROOT / "tools" / "check_wheel.py"))["problems"]


def run_python(code: str, folder: Path, *path: Path) -> str:
    """What a new interpreter prints that runs in `folder`, with `path` before all that is installed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built of a copy with the setuptools at hand."""
    pytest.importorskip("setuptools", minversion="77")
    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    run_python(f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})", copy)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_only_arasfsr_is_at_top_level(unpacked: Path) -> None:
    assert {entry.name for entry in unpacked.iterdir()} == {"arasfsr", f"arasfsr-{arasfsr.__version__}.dist-info"}


def test_every_module_and_data_file_is_in_the_wheel(wheel: Path) -> None:
    assert problems(wheel, ROOT) == []


@pytest.mark.parametrize("name", ["arasfsr/kernels/__init__.py", "arasfsr/assets/sample.png", "arasfsr/py.typed"])
def test_a_missing_file_is_a_problem(wheel: Path, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(tmp_path / "less.whl", "w") as less:
        for entry in whole.namelist():
            if entry != name:
                less.writestr(entry, whole.read(entry))
    assert problems(tmp_path / "less.whl", ROOT) == [f"{name} is missing"]


def test_another_name_at_top_level_is_a_problem(wheel: Path, tmp_path: Path) -> None:
    shutil.copy(wheel, tmp_path / "more.whl")
    with zipfile.ZipFile(tmp_path / "more.whl", "a") as more:
        more.writestr("tests/__init__.py", "")
    assert problems(tmp_path / "more.whl", ROOT) == ["tests is at top level"]


def test_the_wheel_holds_the_licence(unpacked: Path) -> None:
    (metadata,) = unpacked.glob("*.dist-info")
    assert (metadata / "licenses" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_the_wheel_imports_from_an_empty_folder(unpacked: Path, tmp_path: Path) -> None:
    code = "import arasfsr, arasfsr.kernels; print(arasfsr.__file__); print(arasfsr.kernels.__file__)"
    wanted = [unpacked / "arasfsr" / "__init__.py", unpacked / "arasfsr" / "kernels" / "__init__.py"]
    assert run_python(code, tmp_path, unpacked).splitlines() == [str(path) for path in wanted]


def test_import_needs_no_triton(tmp_path: Path) -> None:
    code = 'import sys; sys.modules["triton"] = None; import arasfsr; print(arasfsr.backends()["tiled"])'
    assert run_python(code, tmp_path, ROOT) == "None"
