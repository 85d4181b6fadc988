"""docs/cli.md: every option of every command, with its default."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from arasfsr.cli import app

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
EVERYWHERE = {"-v", "--verbose", "--help"}


def documented(page: str) -> dict[tuple[str, ...], str]:
    """The options in a page's tables, by their names, and their defaults."""
    rows = re.findall(r"^\| (`-.*?) \| (.*?) ?\| .*\|$", page, re.MULTILINE)
    return {tuple(re.findall(r"`(--?[\w-]+)", names)): default.strip("`") for names, default in rows}


def existing(command: Any) -> dict[tuple[str, ...], str]:
    """The options of a command by their names, short ones first, and their defaults."""
    options = [each for each in command.params if each.param_type_name == "option" and not {*each.opts} & EVERYWHERE]
    return {
        tuple(sorted(each.opts, key=len)): "" if each.default in (None, False) else str(each.default)
        for each in options
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_has_every_option_with_its_default(name: str) -> None:
    section = PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]
    assert documented(section) == existing(COMMANDS[name])


def test_the_page_has_every_command() -> None:
    assert re.findall(r"^\| \[(\w+)\]", PAGE, re.MULTILINE) == list(COMMANDS)
