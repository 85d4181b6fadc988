"""docs/environment.md names the environment variables that the repository reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("arasfsr", "benchmarks", "csrc", "kernels", "tests", "tools")
FILES = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".cpp", ".h")]
FILES += [ROOT / name for name in ("setup.py", "noxfile.py", "try.sh", "test.sh", "tools/setup_env.sh", ".ci/run")]
SYSTEM = {"PATH", "PYTHONPATH"}
"""Variables of every program, which the page leaves out."""

READ = re.compile(
    r"""environ(?:ment)?(?:\.get\(|\.setdefault\(|\[)(?:"(?P<text>[A-Z_]+)"|(?P<name>[A-Z]\w*))"""  # Python
    r"""|"(?P<tested>[A-Z_]+)"\ in\ os\.environ"""
    r"""|(?:getenv|setting)\("(?P<cpp>[A-Z_]+)\""""
    r"""|\$\{(?P<shell>[A-Z_]+):-""",
    re.VERBOSE,
)


def variables_read(text: str, constants: dict[str, set[str]]) -> Iterator[str]:
    """The variables that a file reads; `constants` has the values of constants by which it may name them."""
    for match in READ.finditer(text):
        if match["name"]:
            yield from constants.get(match["name"], {match["name"]})
        else:
            yield match["text"] or match["tested"] or match["cpp"] or match["shell"]


@pytest.fixture(scope="module")
def read() -> set[str]:
    texts = {path: path.read_text() for path in FILES if path != Path(__file__)}
    constants: dict[str, set[str]] = {}
    for text in texts.values():
        for name, value in re.findall(r'^([A-Z]\w*) = "([A-Z_]+)"$', text, re.MULTILINE):
            constants.setdefault(name, set()).add(value)
    return {name for text in texts.values() for name in variables_read(text, constants)} - SYSTEM


@pytest.fixture(scope="module")
def documented() -> set[str]:
    rows = re.findall(r"^\| (`.*?`) \|", (ROOT / "docs" / "environment.md").read_text(), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_every_variable_that_is_read_is_documented(read: set[str], documented: set[str]) -> None:
    assert read - documented == set()


def test_every_variable_of_the_project_that_is_documented_is_read(read: set[str], documented: set[str]) -> None:
    assert {name for name in documented if name.startswith("ARASFSR_")} - read == set()


@pytest.mark.parametrize(
    "code",
    [
        'os.environ.get("NAME", "1")',
        'os.environ["NAME"]',
        "os.environ[CONSTANT]",
        'if "NAME" in os.environ:',
        'environment.get("NAME")',
        'std::getenv("NAME")',
        "${NAME:-python3}",
    ],
)
def test_a_read_is_found(code: str) -> None:
    assert [*variables_read(code, {"CONSTANT": {"NAME"}})] == ["NAME"]
