"""What travels to a GPU machine, and what is built there: with stand-ins for the extension, its build and the GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tools.gpu.__main__ import main
from tools.kernels import build, pack
from tools.kernels.build import BuildError

ROOT = Path(__file__).parents[2]
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")


def stand_in(python: str, architectures: str, watchdog: bool = False, folder: Path = Path()) -> Path:
    """A file in place of the extension, which says what was asked for."""
    file = folder / f"_C{SUFFIX}"
    file.write_text(f"{architectures} {watchdog}")
    return file


@pytest.fixture
def packing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder to pack into; nothing is compiled or downloaded."""
    (tmp_path / "built").mkdir()
    monkeypatch.setattr(build, "build", lambda *a, **b: stand_in(*a, **b, folder=tmp_path / "built"))
    monkeypatch.setattr(pack, "_download_wheels", lambda version, to: (to / "some.whl").write_text(version))
    return tmp_path / "packed"


def pack_into(folder: Path, *options: str) -> int:
    return main(["--pack", str(folder), "--python", sys.executable, *options])


def test_all_that_has_to_travel_is_packed_and_its_size_is_told(
    packing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pack_into(packing, "--architecture", "100-real") == 0
    names = {path.name for path in packing.iterdir()}
    assert names == {f"_C{SUFFIX}", f"_C_watchdog{SUFFIX}", "some.whl", "commit", "start.sh"}
    assert (packing / f"_C{SUFFIX}").read_text() == "100-real False"
    assert (packing / f"_C_watchdog{SUFFIX}").read_text() == "100-real True"
    assert capsys.readouterr().out == f"{packing}: 0.0 MB, use it with: source {packing}/start.sh\n"


def failure(capsys: pytest.CaptureFixture[str], folder: Path, *options: str) -> str:
    """What is said of a pack that fails."""
    with pytest.raises(SystemExit) as end:
        pack_into(folder, *options)
    assert end.value.code == 1
    return capsys.readouterr().err


def test_more_than_may_travel_fails_and_leaves_nothing(
    packing: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pack, "_download_wheels", lambda version, to: (to / "some.whl").write_bytes(bytes(20_000_000)))
    assert failure(capsys, packing) == "--pack: the pack must be at most 20 MB, got 20.0 MB\n"
    assert [path.name for path in packing.parent.iterdir()] == ["built"]


def test_only_what_was_packed_is_replaced(packing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pack_into(packing) == 0
    (packing / "old.whl").touch()
    assert pack_into(packing) == 0
    assert not (packing / "old.whl").exists()
    (packing / "notes").write_text("mine")
    told = failure(capsys, packing)
    assert told == f"--pack: {packing} must be empty or an earlier pack, got notes in it\n"
    assert (packing / "notes").read_text() == "mine"
    assert (packing / "start.sh").is_file()


def test_a_file_in_place_of_the_folder_or_the_interpreter_is_named_in_one_line(
    packing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packing.touch()
    assert failure(capsys, packing) == f"--pack: {packing} must be a folder, got a file\n"
    assert failure(capsys, packing / "folder") == f"--pack: [Errno 17] File exists: '{packing}'\n"
    packing.unlink()
    told = failure(capsys, packing, "--python", "python0")
    assert told == "--pack: --python must be an interpreter that runs: [Errno 2] No such file or directory: 'python0'\n"
    assert failure(capsys, packing, "--python", "false") == (
        "--pack: --python must be an interpreter that runs, false does not: status 1\n"
    )


def test_what_is_no_interpreter_and_no_architecture_is_named(packing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = failure(capsys, packing, "--python", "true")
    assert told == "--pack: --python must be an interpreter, true does not answer as one\n"
    told = failure(capsys, packing, "--architecture", "banana")
    assert told == "--pack: --architecture must be such as 90a-real or 100-real, got banana\n"


def test_start_is_for_the_root_of_a_checkout(packing: Path) -> None:
    assert pack_into(packing) == 0
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["bash", "-c", f"source {packing}/start.sh"]
    done = subprocess.run(command, cwd=packing.parent, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"start.sh must be sourced in the root of a checkout, not in {packing.parent}\n"


def test_without_nvcc_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    no_nvcc = {"find_nvcc": lambda environment: None, "program": lambda name: name}
    monkeypatch.setattr("runpy.run_path", lambda path: no_nvcc)
    told = failure(capsys, tmp_path / "packed")
    assert told == "--pack: building the extension needs nvcc, which is not found\n"


def checkout(folder: Path) -> Path:
    """As a clone has it, with what the tests of this file need."""
    shutil.copytree(ROOT / "arasfsr", folder / "arasfsr", ignore=shutil.ignore_patterns("*.so", "kernels", "weights"))
    shutil.copytree(ROOT / "kernels", folder / "kernels")
    return folder


def test_start_makes_a_checkout_run_where_pydantic_is_missing_and_no_index_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "built").mkdir()
    monkeypatch.setattr(build, "build", lambda *a, **b: stand_in(*a, **b, folder=tmp_path / "built"))
    packed, clone, bare = tmp_path / "packed", checkout(tmp_path / "clone"), tmp_path / "bare"
    assert pack_into(packed) == 0
    venv.create(bare, with_pip=True)
    python = """
import os, pathlib, pydantic, pybind11, arasfsr.config
import arasfsr.kernels
assert pathlib.Path(arasfsr.__file__).is_relative_to(os.getcwd())
print(arasfsr.config.ModelConfig().decoder.width, pathlib.Path(os.environ["ARASFSR_WATCHDOG_EXTENSION"]).read_text())
"""
    command = 'python3 -c "import pydantic" 2>/dev/null && exit 9; source "$1/start.sh" && python3 -c "$2"'
    kept = {"PATH": f"{bare}/bin:{os.environ['PATH']}", "PIP_NO_INDEX": "1", "HOME": str(tmp_path)}

    def start(python: str) -> subprocess.CompletedProcess[str]:
        line = ["bash", "-c", command, "bash", packed, python]
        return subprocess.run(line, cwd=clone, env=kept, capture_output=True, text=True, check=False)

    done = start(python)
    assert (done.returncode, done.stdout) == (0, "256 90a-real True\n"), done.stderr
    extension = clone / "arasfsr" / f"_C{SUFFIX}"
    assert extension.read_text() == "90a-real False"
    extension.unlink()
    git = ["git", "-C", str(clone), "-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    for each in (["init", "--quiet"], ["add", "arasfsr/__init__.py"], ["commit", "--quiet", "-m", "another"]):
        subprocess.run([*git, *each], check=True)
    done = start("import os; print(os.environ['ARASFSR_COMMIT'], 'ARASFSR_WATCHDOG_EXTENSION' in os.environ)")
    here = subprocess.run([*git, "describe", "--always", "--abbrev=12"], capture_output=True, text=True, check=True)
    assert (done.returncode, done.stdout) == (0, f"{here.stdout.strip()} False\n")
    assert f"this checkout is at {here.stdout.strip()}: a run builds its extension here" in done.stderr
    assert not extension.exists()


PROGRAM = """#!/bin/sh
echo "$0 $*" >> {log}
{script}
"""

EXTENSION = """
#include <Python.h>
static PyObject* abi(PyObject* module, PyObject* none) { return PyLong_FromLong(ABI); }
static PyObject* architectures(PyObject* module, PyObject* none) { return PyUnicode_FromString(HELD); }
static PyMethodDef methods[] = {{"abi", abi, METH_NOARGS, 0}, {"architectures", architectures, METH_NOARGS, 0}, {0}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_C", 0, -1, methods};
PyMODINIT_FUNC PyInit__C(void) { return PyModule_Create(&definition); }
"""


class Machine:
    """A checkout on a machine whose programs are stand-ins: what they were called with is in the log."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.programs, self.log = folder / "bin", folder / "log"
        self.root = folder / "clone"
        self.programs.mkdir()
        self.log.touch()
        for name in ("arasfsr", "csrc/include/arasfsr"):
            (self.root / name).mkdir(parents=True)
        (self.root / "arasfsr" / "__init__.py").touch()
        (self.root / "csrc" / "include" / "arasfsr" / "core.h").write_text("#define ARASFSR_ABI 3\n")
        shutil.copy(ROOT / "setup.py", self.root)
        monkeypatch.setattr(build, "ROOT", self.root)
        monkeypatch.setenv("PATH", f"{self.programs}:{os.environ['PATH']}")
        monkeypatch.setenv("CUDA_HOME", str(folder))
        monkeypatch.setattr(sysconfig, "get_path", lambda name: str(self.programs))
        self.program("nvcc", "exit 0")
        self.program("ninja", "exit 0")
        self.program("nvidia-smi", "echo 9.0")

    def program(self, name: str, script: str) -> None:
        file = self.programs / name
        file.write_text(PROGRAM.format(log=self.log, script=script))
        file.chmod(0o755)

    def builds(self, extension: Path) -> None:
        """Let cmake put that extension where it is told to."""
        self.program(
            "cmake",
            f"""for word; do case $word in -DCMAKE_LIBRARY_OUTPUT_DIRECTORY=*) to=${{word#*=}};; esac; done
            [ -z "$to" ] || {{ mkdir -p "$to" && cp {extension} "$to/_C{SUFFIX}"; }}""",
        )

    def calls(self, name: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if line.startswith(f"{self.programs}/{name} ")]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    include = sysconfig.get_path("include")
    if not shutil.which("cc"):
        pytest.skip("the stand-in for the extension is made by a C compiler")
    for name, abi, held in (("right", 3, "90a"), ("other", 3, "80 86"), ("old", 2, "90a")):
        defined = [f"-DABI={abi}", f'-DHELD="{held}"', f"-I{include}"]
        command = ["cc", *defined, "-shared", "-fPIC", "-x", "c", "-", "-o", str(tmp_path / name)]
        subprocess.run(command, input=EXTENSION, text=True, check=True)
    pytest.importorskip("pybind11", reason="the extension is built with pybind11")
    pytest.importorskip("setuptools", reason="setup.py is read")
    found = Machine(tmp_path, monkeypatch)
    found.builds(tmp_path / "right")
    return found


def has(machine: Machine, name: str) -> None:
    """Let the checkout have that extension."""
    shutil.copy(machine.programs.parent / name, machine.root / "arasfsr" / f"_C{SUFFIX}")


def test_an_extension_with_code_for_the_gpu_is_left_alone(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    has(machine, "right")
    assert build.main() == 0
    assert capsys.readouterr().out == "the extension loads and holds code for 9.0\n"
    assert machine.calls("cmake") == []


@pytest.mark.parametrize(
    ("present", "reason"),
    [
        (None, "the extension does not load (ModuleNotFoundError: No module named 'arasfsr._C')"),
        ("other", "the extension holds code for 80 86, not for compute capability 9.0"),
        ("old", "the extension has ABI 2, the sources have 3"),
    ],
)
def test_where_it_is_of_no_use_it_is_built_for_the_gpu_alone(
    machine: Machine, capsys: pytest.CaptureFixture[str], present: str | None, reason: str
) -> None:
    if present is not None:
        has(machine, present)
    assert build.main() == 0
    assert capsys.readouterr().out == f"built for 90a-real: {reason}\n"
    configure, built = machine.calls("cmake")
    assert "-DARASFSR_ARCHITECTURES=90a-real" in configure.split()
    assert "-DARASFSR_WATCHDOG=OFF" in configure.split()
    assert "--target _C" in built
    assert build.main() == 0
    assert len(machine.calls("cmake")) == 2  # it is there now


@pytest.mark.parametrize(
    ("capability", "name"), [((9, 0), "90a-real"), ((8, 6), "86-real"), ((10, 0), "100-real"), ((12, 1), "121-real")]
)
def test_code_is_built_for_one_capability(capability: tuple[int, int], name: str) -> None:
    assert build.architecture(capability) == name


@pytest.mark.parametrize(
    ("program", "script", "told"),
    [
        ("cmake", "echo the reason; exit 7", "cmake --fresh ... failed with status 7:\nthe reason\n"),
        ("nvidia-smi", "echo no devices; exit 9", "nvidia-smi names no compute capability: no devices\n"),
    ],
)
def test_a_failure_says_why(
    machine: Machine, capsys: pytest.CaptureFixture[str], program: str, script: str, told: str
) -> None:
    machine.program(program, script)
    assert build.main() == 1
    found = capsys.readouterr().err
    assert found.startswith("no extension: ")
    assert found.endswith(told)


def test_what_is_built_and_still_does_not_load_is_a_failure(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.builds(machine.programs.parent / "other")
    assert build.main() == 1
    assert "built for 90a-real, but the extension holds code for 80 86" in capsys.readouterr().err


def test_without_nvidia_smi_the_gpu_is_not_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=r"^nvidia-smi does not run \(.*\), so the GPU is not known$"):
        build.capabilities()


def test_building_needs_no_torch() -> None:
    code = "import sys, tools.kernels.build; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
