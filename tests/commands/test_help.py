"""The command line's help, its speed, completion by the shell, and --verbose."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner
from upscale_command import Command, draw

import arasfsr
from arasfsr.cli import EXAMPLES, app

ROOT = Path(__file__).parents[2]
COMMANDS = ("upscale", "prepare", "train", "eval", "convert", "doctor")


def run(*arguments: str, flags: tuple[str, ...] = (), **variables: str) -> subprocess.CompletedProcess[str]:
    """`arasfsr ARGUMENTS` in a process of its own."""
    program = [sys.executable, *flags, "-m", "arasfsr", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(program, env=environment, capture_output=True, text=True)


def complete(*words: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """What bash asks for when Tab is pressed after `arasfsr WORDS`."""
    typed = " ".join(("arasfsr", *words))
    return run(flags=flags, _ARASFSR_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=str(len(words)))


def imported(done: subprocess.CompletedProcess[str]) -> set[str]:
    """The modules that a process run with `-X importtime` has imported."""
    modules = set(re.findall(r"^import time:.*\|\s*(\S+)$", done.stderr, re.MULTILINE))
    assert "arasfsr.cli" in modules
    return modules


# Help.


@pytest.mark.parametrize(("arguments", "status"), [((), 2), (("--help",), 0)])
def test_the_help_ends_with_three_examples(arguments: tuple[str, ...], status: int) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == status
    examples = [line.strip() for line in EXAMPLES.splitlines()[1:]]
    assert [line.strip() for line in result.output.rstrip().splitlines()[-len(examples) :]] == examples
    assert sum(line.startswith("arasfsr ") for line in examples) == 3


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_h_is_help(command: tuple[str, ...]) -> None:
    short, long = (CliRunner().invoke(app, (*command, option)) for option in ("-h", "--help"))
    assert (short.exit_code, short.output) == (0, long.output)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("--version",), *((name, "--help") for name in COMMANDS)])
def test_the_help_is_quick_as_it_imports_no_large_package(arguments: tuple[str, ...]) -> None:
    done = run(*arguments, flags=("-X", "importtime"))
    assert imported(done).isdisjoint({"torch", "numpy", "PIL"})


def test_python_m_arasfsr_is_called_arasfsr() -> None:
    assert run("upscale", "--help").stdout.startswith("Usage: arasfsr upscale ")


# Completion.


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        (("tr",), ["train"]),
        (("upscale", "--wi"), ["--width"]),
        (("upscale", "--model", ""), arasfsr.bundled_models()),
        (("upscale", "-n", "ti"), ["tiny"]),
        (("upscale", "--dtype", ""), ["float32", "bfloat16", "float16"]),
        (("upscale", "--format", "w"), ["webp"]),
        (("eval", "ed"), ["edsr"]),
        (("eval", "tiny", "--dtype", "b"), ["bfloat16"]),
        (("train", "--init", "t"), ["tiny"]),
    ],
)
def test_the_shell_completes_commands_options_and_names(words: tuple[str, ...], completions: list[str]) -> None:
    assert complete(*words).stdout.split() == completions


@pytest.mark.parametrize("words", [("upscale", "fa"), ("upscale", "-n", "mine.s")])
def test_files_are_left_to_the_shell(words: tuple[str, ...]) -> None:
    assert complete(*words).stdout.strip() == ""


@pytest.mark.parametrize("option", ["--model", "--dtype", "--format"])
def test_completion_imports_no_torch(option: str) -> None:
    assert "torch" not in imported(complete("upscale", option, "", flags=("-X", "importtime")))


def test_completion_is_shown_and_installed_for_a_shell(tmp_path: Path) -> None:
    own = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = run("--show-completion", "bash", **own).stdout
    assert "complete -o default -F _arasfsr_completion arasfsr" in shown
    assert list(tmp_path.iterdir()) == []
    assert run("--install-completion", "bash", **own).returncode == 0
    assert (tmp_path / ".bash_completions" / "arasfsr.sh").read_text().strip() == shown.strip()
    assert "arasfsr.sh" in (tmp_path / ".bashrc").read_text()


# --verbose.


@pytest.fixture
def levels() -> Iterator[dict[str, logging.Logger]]:
    """The loggers of this package and of another, whose levels are restored."""
    loggers = {name: logging.getLogger(name) for name in ("", "arasfsr", "PIL")}
    before = {name: logger.level for name, logger in loggers.items()}
    yield loggers
    for name, level in before.items():
        loggers[name].setLevel(level)


@pytest.mark.parametrize("arguments", [("-v", "convert", "none"), ("convert", "none", "-v"), ("doctor", "-v", "none")])
def test_verbose_before_or_after_the_command_concerns_this_package_alone(
    levels: dict[str, logging.Logger], arguments: tuple[str, ...]
) -> None:
    CliRunner().invoke(app, arguments)
    assert levels["arasfsr"].isEnabledFor(logging.DEBUG)
    assert not levels["PIL"].isEnabledFor(logging.DEBUG)


def test_the_next_command_is_not_verbose(levels: dict[str, logging.Logger]) -> None:
    CliRunner().invoke(app, ("-v", "convert", "none"))
    CliRunner().invoke(app, ("convert", "none"))
    assert not levels["arasfsr"].isEnabledFor(logging.DEBUG)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_verbose(name: str) -> None:
    assert "-v, --verbose" in CliRunner().invoke(app, (name, "--help")).output


def test_verbose_says_which_backends_were_passed_over_and_nothing_of_pillow(
    levels: dict[str, logging.Logger], upscale: Command
) -> None:
    draw("a.png")
    said = upscale("a.png", "-v").stderr.splitlines()
    assert said
    assert all(re.match(r"backend \w+ passed over: ", line) for line in said)
