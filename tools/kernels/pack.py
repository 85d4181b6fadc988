"""`python -m tools.gpu --pack DIR`: what a CUDA machine without nvcc and network lacks, made on another machine.

DIR then holds the extension for the target's Python and for this one, for one architecture; the extension with csrc's
watchdog; wheels; and start.sh, which makes a checkout run there without an installation.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.kernels import build
from tools.kernels.build import ROOT, BuildError

WHEELS = ("pydantic", "pybind11")
"""What this package imports, and building the extension needs, that a machine with torch may lack; pip adds what they
depend on."""

PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")

MOST_BYTES = 20_000_000
"""Of everything together."""

WATCHDOG = f"{build.MODULE}_watchdog"
"""Name of the extension with the watchdog."""

START_FILE, COMMIT_FILE = "start.sh", "commit"

PACKED = (START_FILE, COMMIT_FILE, f"{build.MODULE}*.so", "*.whl", "packed.txt")
"""Patterns of the files that a pack consists of, or once did."""

START = f"""\
# Source this in bash in the root of a checkout: the checkout then runs with the files beside this one, uninstalled.
packed=$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)
suffix=$(python3 -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
watchdog=$packed/{WATCHDOG}$suffix
if [[ ! -f $watchdog ]]; then
    echo "$packed was packed for another version of Python than $(python3 -V)" >&2
    return 1
fi
if [[ ! -d kernels || ! -d arasfsr ]]; then
    echo "start.sh must be sourced in the root of a checkout, not in $PWD" >&2
    return 1
fi
site=$(mktemp -d)
python3 -m pip install --quiet --no-index --no-deps --no-compile --target "$site" "$packed"/*.whl || return 1
[[ -d arasfsr/kernels ]] || ln -sfn ../kernels arasfsr/kernels # where links were not copied
export PYTHONPATH=$PWD:$site CUBLAS_WORKSPACE_CONFIG=:4096:8 TORCHINDUCTOR_COMPILE_THREADS=6
commit=$(cat "$packed/{COMMIT_FILE}")
ARASFSR_COMMIT=$(git describe --always --dirty --abbrev=12 2>/dev/null || echo "$commit")
export ARASFSR_COMMIT
if [[ $ARASFSR_COMMIT == "$commit" ]]; then
    cp "$packed"/{build.MODULE}.*.so arasfsr/
    export ARASFSR_WATCHDOG_EXTENSION=$watchdog
else
    echo "packed at commit $commit, this checkout is at $ARASFSR_COMMIT: a run builds its extension here" >&2
fi
"""


def pack(folder: Path, python: str, architecture: str) -> str:
    """Pack everything into a folder, for an interpreter such as python3.12; returns one line with its size.

    An earlier pack in the folder is replaced once everything is there. Raises BuildError, or OSError.
    """
    if not re.fullmatch(r"\d{2,3}[af]?-(real|virtual)", architecture):
        raise BuildError(f"--architecture must be such as 90a-real or 100-real, got {architecture}")
    _check_folder(folder)
    (target, version), (own, own_version) = _interpreter(python), _interpreter(sys.executable)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        made = Path(temporary)
        describe = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
        commit = subprocess.run(describe, cwd=ROOT, capture_output=True, text=True, check=False)
        (made / COMMIT_FILE).write_text(commit.stdout)
        for program in {own_version: own, version: target}.values():
            shutil.copy(build.build(program, architecture), made)
        watchdog = build.build(target, architecture, watchdog=True)
        shutil.copy(watchdog, made / watchdog.name.replace(build.MODULE, WATCHDOG, 1))
        _download_wheels(version, made)
        (made / START_FILE).write_text(START)
        size = sum(path.stat().st_size for path in made.iterdir())
        if size > MOST_BYTES:
            raise BuildError(f"the pack must be at most {MOST_BYTES / 1e6:.0f} MB, got {size / 1e6:.1f} MB")
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for new in made.iterdir():
            shutil.move(new, folder / new.name)
    return f"{folder}: {size / 1e6:.1f} MB, use it with: source {folder}/{START_FILE}"


def _check_folder(folder: Path) -> None:
    """It must be new, empty, or an earlier pack, since its files are deleted."""
    if folder.exists() and not folder.is_dir():
        raise BuildError(f"{folder} must be a folder, got a file")
    files = sorted(folder.iterdir()) if folder.exists() else []
    foreign = [path for path in files if not any(map(path.match, PACKED)) or path.is_dir()]
    if files and not (folder / START_FILE).exists():
        foreign = files
    if foreign:
        raise BuildError(f"{folder} must be empty or an earlier pack, got {foreign[0].name} in it")


def _interpreter(program: str) -> tuple[str, str]:
    """The path of an interpreter, and its version such as 3.12."""
    command = [program, "-c", "import sys; print(sys.executable, '%d.%d' % sys.version_info[:2], sep='\\n')"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"--python must be an interpreter that runs: {error}") from error
    if done.returncode:
        told = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[0]
        raise BuildError(f"--python must be an interpreter that runs, {program} does not: {told}")
    answer = done.stdout.splitlines()
    if len(answer) != 2:
        raise BuildError(f"--python must be an interpreter, {program} does not answer as one")
    return answer[0], answer[1]


def _download_wheels(version: str, to: Path) -> None:
    """The wheels for that version of Python."""
    platforms = [part for platform in PLATFORMS for part in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
    command += ["--python-version", version, "--implementation", "cp", *platforms, "--dest", str(to)]
    # in one call: pydantic needs one version of its core, which pip has to choose with it
    done = subprocess.run([*command, *WHEELS], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"pip does not download {', '.join(WHEELS)}: {done.stderr.strip()}")
