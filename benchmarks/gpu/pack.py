"""`python -m benchmarks.gpu --pack DIR`: what a bare CUDA machine without a network lacks, made on another machine.

DIR then holds the extension for the target's Python and for this one, for one architecture; the extension with the
watchdog of csrc; wheels; and start.sh, which makes a checkout run there without an install.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks.gpu import build
from benchmarks.gpu.build import BuildError

ROOT = Path(__file__).parents[2]

WHEELS = ("pydantic", "pybind11")
"""What this package imports, and building the extension needs, that a machine with torch may lack; pip brings what they
need in turn."""

PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")

MOST_BYTES = 20_000_000
"""Of everything together."""

LISTING = "packed.txt"
"""The names of what was packed: what may be deleted when the folder is packed anew."""

WATCHDOG = f"{build.MODULE}_watchdog"
"""What the extension with the watchdog is called in place of its module's name."""

START = f"""\
# Sourced by bash in the root of a checkout: makes it run where nothing is installed, with what lies beside this file.
packed=$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)
suffix=$(python3 -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
watchdog=$packed/{WATCHDOG}$suffix
if [[ ! -f $watchdog ]]; then
    echo "$packed was packed for another version of Python than $(python3 -V)" >&2
    return 1
fi
if [[ ! -d kernels || ! -d arasfsr ]]; then
    echo "start.sh is to be sourced in the root of a checkout, not in $PWD" >&2
    return 1
fi
site=$(mktemp -d)
python3 -m pip install --quiet --no-index --no-deps --no-compile --target "$site" "$packed"/*.whl || return 1
ln -sfn ../kernels arasfsr/kernels
export PYTHONPATH=$PWD:$site CUBLAS_WORKSPACE_CONFIG=:4096:8 TORCHINDUCTOR_COMPILE_THREADS=6
commit=$(cat "$packed/commit")
ARASFSR_COMMIT=$(git describe --always --dirty --abbrev=12 2>/dev/null || echo "$commit")
export ARASFSR_COMMIT
if [[ $ARASFSR_COMMIT == "$commit" ]]; then
    cp "$packed"/{build.MODULE}.*.so arasfsr/
    export ARASFSR_WATCHDOG_EXTENSION=$watchdog
else
    echo "packed at commit $commit, this checkout is at $ARASFSR_COMMIT: a run builds its extension here" >&2
fi
"""


class _Interpreter(NamedTuple):
    """A Python by its program, and its version."""

    program: str
    version: str


class PackError(RuntimeError):
    """It cannot be packed; the message is one line, and what a failed command printed."""


def pack(folder: Path, python: str, architecture: str) -> str:
    """Pack everything into a folder, for an interpreter such as python3.12, and say how large it is.

    What an earlier pack has left in the folder is replaced once all is there. Raises PackError.
    """
    if not re.fullmatch(r"\d{2,3}[af]?-(real|virtual)", architecture):
        raise PackError(f"--architecture must be as 90a-real or 100-real, got {architecture}")
    _check(folder)
    target, own = _interpreter(python), _interpreter(sys.executable)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        made = Path(temporary)
        _extensions(target, own, architecture, made)
        _wheels(target, made)
        described = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
        commit = subprocess.run(described, cwd=ROOT, capture_output=True, text=True, check=False)
        (made / "commit").write_text(commit.stdout)
        (made / "start.sh").write_text(START)
        size = sum(path.stat().st_size for path in made.iterdir())
        if size > MOST_BYTES:
            raise PackError(f"{size / 1e6:.1f} MB in all, at most {MOST_BYTES / 1e6:.0f} MB may travel")
        names = sorted(path.name for path in made.iterdir())
        (made / LISTING).write_text("\n".join((*names, LISTING, "")))
        _replace(folder, made)
    return f"{folder}: {size / 1e6:.1f} MB, to be used by: source {folder}/start.sh"


def _packed(folder: Path) -> list[Path]:
    """What an earlier pack has left there."""
    listing = folder / LISTING
    return [folder / name for name in listing.read_text().splitlines()] if listing.is_file() else []


def _check(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise PackError(f"{folder} must be a folder, it is a file")
    foreign = sorted({*folder.iterdir()} - {*_packed(folder)}) if folder.exists() else []
    if foreign:
        raise PackError(f"{folder} must be empty or hold what was packed before, it holds {foreign[0].name}")


def _replace(folder: Path, made: Path) -> None:
    folder.mkdir(exist_ok=True)
    for old in _packed(folder):
        old.unlink(missing_ok=True)
    for new in made.iterdir():
        shutil.move(new, folder / new.name)


def _interpreter(program: str) -> _Interpreter:
    command = [program, "-c", "import sys; print(sys.executable, '%d.%d' % sys.version_info[:2], sep='\\n')"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise PackError(f"--python must be an interpreter that runs: {error}") from error
    if done.returncode:
        told = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[0]
        raise PackError(f"--python must be an interpreter that runs, {program} does not: {told}")
    answer = done.stdout.splitlines()
    if len(answer) != 2:
        raise PackError(f"--python must be an interpreter, {program} does not answer as one")
    return _Interpreter(*answer)


def _extensions(target: _Interpreter, own: _Interpreter, architecture: str, to: Path) -> None:
    try:
        for interpreter in {each.version: each for each in (own, target)}.values():
            shutil.copy(build.build(interpreter.program, architecture), to)
        watchdog = build.build(target.program, architecture, watchdog=True)
    except BuildError as error:
        raise PackError(str(error)) from error
    shutil.copy(watchdog, to / watchdog.name.replace(build.MODULE, WATCHDOG, 1))


def _wheels(target: _Interpreter, to: Path) -> None:
    """The wheels for that version of Python."""
    platforms = [part for platform in PLATFORMS for part in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
    command += ["--python-version", target.version, "--implementation", "cp", *platforms, "--dest", str(to)]
    # pydantic names the one version of its core that it takes: pip is to choose them together
    done = subprocess.run([*command, *WHEELS], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PackError(f"pip does not download {', '.join(WHEELS)}: {done.stderr.strip()}")
