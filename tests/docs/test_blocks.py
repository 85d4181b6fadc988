"""Every command and every Python block of README and docs works as it stands there.

Commands that need a network, a GPU, minutes or a built checkout are not run; of these, the options and files that they
name must exist.
"""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from documented import ROOT, Block, blocks, commands, created, fill, run, shortened

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")]

NOT_RUN = {
    "sets up an environment": r"(\./(try|test)\.sh|source \S+|python3? -m venv|(\S+ -m )?pip install|git clone)\b",
    "needs docker": r"docker\b",
    "takes minutes, or writes results into the checkout": r"python -m (benchmarks|tools\S*)\b|nox\b",
    "is what runs this test, or CI": r"(python -m )?pytest\b|(ruff|mypy|mkdocs|\.ci/run)\b",
    "compiles for a minute; CI does": r"(cmake|ctest|python setup\.py|python tools/build_emulated\.py)\b",
    "serves until interrupted": r"(tensorboard|jupyter)\b",
    "is run by tests/examples": r"python examples/",
    "changes the shell's configuration; tests/commands has it": r"arasfsr --install-completion\b",
}
"""Why a command is not run here, and how it begins."""

WITH_HELP = r"python -m (benchmarks \w+|benchmarks|tools\S*|pytest)|nox|pytest|mkdocs \w+"
"""Programs whose --help lists the options that a command may have."""


def why_not_run(command: str) -> str | None:
    words = re.sub(r"^(\w+=(\$\(.*?\)|\S*)\s+)+", "", command.strip())  # without the variables that it sets
    return next((reason for reason, begin in NOT_RUN.items() if re.match(begin, words)), None)


@cache
def help_of(program: str) -> str:
    return run([*shlex.split(program), "--help"], ROOT)


def unknown(command: str) -> list[str]:
    """Options that the program does not have, and files and folders of the checkout that do not exist."""
    words = [word.strip("()") for word in shlex.split(command, comments=True)]
    paths = [word for word in words if re.match(r"(\./|tests/|configs/|tools/|docs/|csrc/|examples/)", word)]
    found = [path for path in paths if not (ROOT / path.split("::")[0]).exists()]
    extras = re.findall(r"\.\[(.*?)\]", command)
    known = (ROOT / "pyproject.toml").read_text()
    found += [extra for group in extras for extra in group.split(",") if f"\n{extra} = [" not in known]
    program = re.search(WITH_HELP, command)
    if program is None:
        return found
    said = help_of(program[0])
    options = [word.split("=")[0] for word in words if word.startswith("--")]
    return found + [option for option in options if not re.search(rf"{option}\b", said)]


def pages_with(language: str) -> pytest.MarkDecorator:
    pages = [page for page in PAGES if blocks(page, language)]
    return pytest.mark.parametrize("page", pages, ids=[str(page.relative_to(ROOT)) for page in pages])


def runnable(block: Block) -> list[str]:
    return [command for command in commands(block) if why_not_run(command) is None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path)
    return tmp_path


@pytest.mark.slow
@pages_with("bash")
def test_commands_run(page: Path, folder: Path) -> None:
    for block in blocks(page, "bash"):
        for command in runnable(block):
            run(["bash", "-euo", "pipefail", "-c", shortened(command)], folder)
            missing = [name for name in created(command) if not (folder / name).exists()]
            assert not missing, f"{page.name}:{block.line}: {command}"


@pytest.mark.slow
@pages_with("python")
def test_python_runs(page: Path, folder: Path) -> None:
    script = folder / page.with_suffix(".py").name
    script.write_text("\n".join(block.text for block in blocks(page, "python")))
    run(["python", str(script)], folder)


@pytest.mark.slow
@pages_with("bash")
def test_what_is_not_run_names_options_and_files_that_exist(page: Path) -> None:
    left = [command for block in blocks(page, "bash") for command in commands(block) if why_not_run(command)]
    assert {command: found for command in left if (found := unknown(command))} == {}


def test_a_page_that_is_wrong_is_noticed(folder: Path) -> None:
    (folder / "page.md").write_text("```bash\narasfsr upscale face.png --scael 2\n```\n```python\n1 / 0\n```\n")
    with pytest.raises(AssertionError, match="--scael"):
        test_commands_run(folder / "page.md", folder)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        test_python_runs(folder / "page.md", folder)
    assert unknown("python -m pytest tests/none.py --nothing") == ["tests/none.py", "--nothing"]
    assert unknown('pip install ".[dev,none]"') == ["none"]
