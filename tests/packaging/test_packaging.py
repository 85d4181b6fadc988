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

ROOT = Path(__file__).parents[2]
SOURCES = ("arasfsr", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
problems = runpy.run_path(str(ROOT / "tools" / "check_wheel.py"))["problems"]


def run_python(code: str, folder: Path, *path: Path, **variables: str) -> str:
    """What a new interpreter prints that runs in `folder`, with `path` before all that is installed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), **variables}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout without its extension, built of a copy with the setuptools at hand."""
    pytest.importorskip("setuptools", minversion="77")
    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(ROOT / name, copy / name)
    stray = copy / "arasfsr" / "_C.cpython-311-x86_64-linux-gnu.so"  # of a build in place
    stray.touch()
    run_python(f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})", copy, ARASFSR_CUDA="0")
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
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(tmp_path / "less-any.whl", "w") as less:
        for entry in whole.namelist():
            if entry != name:
                less.writestr(entry, whole.read(entry))
    assert problems(tmp_path / "less-any.whl", ROOT) == [f"{name} is missing"]


def test_another_name_at_top_level_is_a_problem(wheel: Path, tmp_path: Path) -> None:
    assert problems(with_file(wheel, tmp_path, "tests/__init__.py"), ROOT) == ["tests is at top level"]


def with_file(wheel: Path, folder: Path, name: str, platform: str = "any") -> Path:
    """A wheel that holds one more file, named for a platform."""
    more = folder / f"arasfsr-0-cp311-cp311-{platform}.whl"
    shutil.copy(wheel, more)
    with zipfile.ZipFile(more, "a") as archive:
        archive.writestr(name, "")
    return more


def test_the_wheel_without_extension_is_for_any_platform(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")


EXTENSION = "arasfsr/_C.cpython-311-x86_64-linux-gnu.so"


@pytest.mark.parametrize(
    ("name", "platform", "found"),
    [
        (EXTENSION, "linux_x86_64", []),
        (EXTENSION, "any", [f"a wheel for platform any holds {EXTENSION}"]),
        ("arasfsr/__init__.pyi", "linux_x86_64", ["a wheel for platform linux_x86_64 holds no extension"]),
        ("arasfsr/_C_emulated.so", "any", ["arasfsr/_C_emulated.so does not belong in a wheel"]),
    ],
)
def test_a_platform_wheel_holds_the_extension_and_nothing_else_compiled(
    wheel: Path, tmp_path: Path, name: str, platform: str, found: list[str]
) -> None:
    assert problems(with_file(wheel, tmp_path, name, platform), ROOT) == found


def test_the_wheel_holds_the_licence(unpacked: Path) -> None:
    (metadata,) = unpacked.glob("*.dist-info")
    assert (metadata / "licenses" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_the_wheel_imports_from_an_empty_folder(unpacked: Path, tmp_path: Path) -> None:
    code = "import arasfsr, arasfsr.kernels; print(arasfsr.__file__); print(arasfsr.kernels.__file__)"
    wanted = [unpacked / "arasfsr" / "__init__.py", unpacked / "arasfsr" / "kernels" / "__init__.py"]
    assert run_python(code, tmp_path, unpacked).splitlines() == [str(path) for path in wanted]


def test_a_checkout_has_its_kernels_whatever_is_installed() -> None:
    code = "import arasfsr.kernels; print(arasfsr.kernels.__file__)"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).resolve() == ROOT / "kernels" / "__init__.py"


def test_import_needs_neither_triton_nor_the_extension(tmp_path: Path) -> None:
    code = 'import sys; sys.modules["triton"] = sys.modules["arasfsr._C"] = None; '
    code += 'import arasfsr; print(arasfsr.backends()["tiled"])'
    assert run_python(code, tmp_path, ROOT) == "None"
