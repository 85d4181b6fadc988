"""The loader of the native core, and what the cuda backend says where it cannot serve."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import pytest

from arasfsr.architectures import covers
from arasfsr.query.fused import cuda, cuda_core


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is loaded yet, and no emulation asked for."""
    monkeypatch.delenv("ARASFSR_EMULATED", raising=False)
    monkeypatch.delenv("ARASFSR_EXTENSION", raising=False)
    monkeypatch.setattr(cuda_core, "load", cuda_core.load.__wrapped__)


def module(monkeypatch: pytest.MonkeyPatch, folder: Path, source: str) -> None:
    """Lets the extension be a module of that source."""
    (folder / "extension_of_the_test.py").write_text(source)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(cuda_core, "EXTENSION", "extension_of_the_test")


def test_an_extension_that_is_not_built_keeps_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_core, "EXTENSION", "arasfsr._not_built")
    wanted = r"\(ModuleNotFoundError: No module named 'arasfsr._not_built'\); build it .*ARASFSR_CUDA=1 pip install \.$"
    with pytest.raises(ImportError, match=wanted):
        cuda_core.load()


def test_an_extension_that_does_not_load_keeps_its_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module(monkeypatch, tmp_path, "raise ImportError('libcuda.so.1: cannot open shared object file')")
    with pytest.raises(ImportError, match=r"libcuda.so.1: cannot open shared object file"):
        cuda_core.load()


def test_an_extension_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module(monkeypatch, tmp_path, "def abi(): return 999")
    with pytest.raises(ImportError, match=f"has ABI 999, this version of arasfsr takes {cuda_core.ABI}; build it"):
        cuda_core.load()


def test_the_abi_is_the_header_s() -> None:
    header = Path(__file__).parents[2] / "csrc" / "include" / "arasfsr" / "core.h"
    assert f"#define ARASFSR_ABI {cuda_core.ABI}\n" in header.read_text()


@pytest.mark.parametrize("place", ["nothing", "."])
def test_an_emulated_module_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    monkeypatch.setenv("ARASFSR_EMULATED", str(tmp_path / place))
    with pytest.raises(ImportError, match=r"^ARASFSR_EMULATED must be _C_emulated.\*.so or a folder"):
        cuda_core.load()


SOURCE = """
#include <Python.h>
static PyObject* abi(PyObject* module, PyObject* none) { return PyLong_FromLong(ABI); }
static PyMethodDef methods[] = {{"abi", abi, METH_NOARGS, 0}, {0}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_C", 0, -1, methods};
PyMODINIT_FUNC PyInit__C(void) { return PyModule_Create(&definition); }
"""
"""A module by the extension's name, of which it has the ABI alone."""


def another_build(monkeypatch: pytest.MonkeyPatch, folder: Path, abi: int) -> Path:
    """Lets the environment name a build of another name."""
    if not shutil.which("cc"):
        pytest.skip("the other build is made by a C compiler")
    file = folder / "_C_of_another_name.so"
    options = [
        f"-I{sysconfig.get_path('include')}",
        f"-DABI={abi}",
        "-shared",
        "-fPIC",
        "-x",
        "c",
        "-",
        "-o",
        str(file),
    ]
    subprocess.run(["cc", *options], input=SOURCE, text=True, check=True)
    monkeypatch.setenv("ARASFSR_EXTENSION", str(file))
    return file


def test_the_environment_may_name_another_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = another_build(monkeypatch, tmp_path, cuda_core.ABI)
    assert getattr(cuda_core.load(), "__file__", None) == str(file)


def test_another_build_of_another_version_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = another_build(monkeypatch, tmp_path, 999)
    with pytest.raises(ImportError, match=rf"^ARASFSR_EXTENSION={file} has ABI 999, this version of arasfsr takes"):
        cuda_core.load()


def test_another_build_that_is_not_there_or_does_not_load_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "_C.so"
    monkeypatch.setenv("ARASFSR_EXTENSION", str(file))
    with pytest.raises(ImportError, match=rf"^ARASFSR_EXTENSION must be a build of arasfsr._C, got {file}"):
        cuda_core.load()
    file.write_text("no library")
    with pytest.raises(ImportError, match=rf"^ARASFSR_EXTENSION={file} does not load \(.*_C.so: "):
        cuda_core.load()


@pytest.mark.parametrize(
    ("architectures", "capability", "covered"),
    [
        ("80 86 89 90a 120+ptx", (8, 0), True),
        ("80 86 89 90a 120+ptx", (8, 7), True),
        ("80 86 89 90a 120+ptx", (9, 0), True),
        ("80 86 89 90a 120+ptx", (10, 0), False),
        ("80 86 89 90a 120+ptx", (12, 1), True),
        ("80 86 89 90a 120+ptx", (13, 0), True),
        ("86", (8, 0), False),
        ("100", (10, 3), True),
        ("100f", (10, 3), True),
        ("100a", (10, 3), False),
        ("90a+ptx", (10, 0), False),
        ("80+ptx", (9, 0), True),
        ("", (9, 0), False),
    ],
)
def test_code_for_an_architecture_runs_where_cuda_says(
    architectures: str, capability: tuple[int, int], covered: bool
) -> None:
    assert covers(architectures, capability) is covered


@pytest.mark.parametrize(
    ("capability", "held", "message"),
    [
        ((7, 5), "80", "device 1 has compute capability 7.5, it needs 8.0"),
        ((9, 0), "80 86", "device 1 has compute capability 9.0, the extension holds code for 80 86"),
        ((9, 0), "80 90a", None),
    ],
)
def test_a_device_that_it_has_no_code_for_is_named(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], held: str, message: str | None
) -> None:
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda index: capability)
    monkeypatch.setattr(cuda_core, "load", lambda: SimpleNamespace(architectures=lambda: held))
    assert cuda.reason_of_device.__wrapped__(1) == message
