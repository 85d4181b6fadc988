"""The progress bar of the commands."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from arasfsr.commands.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal_as_stderr(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Replace standard error; in a fixture, pytest's capture would undo it before the test."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    return stream


def test_without_a_terminal_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(3) as bar:
        assert bar is None
    assert stream.getvalue() == ""


def test_the_bar_counts_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_as_stderr(monkeypatch)
    with progress_bar(4, "upscaling") as bar:
        assert bar is not None
        bar.advance(0.5)
        bar.advance(2.5)
        bar.progress.refresh()
        assert "upscaling" in terminal.getvalue()
        assert "3/4" in terminal.getvalue()


def test_the_total_may_become_known_later(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_as_stderr(monkeypatch)
    with progress_bar() as bar:
        assert bar is not None
        bar.update(2, 5)
        bar.progress.refresh()
        assert "2/5" in terminal.getvalue()


def test_log_lines_go_through_the_bar_while_it_is_on_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_as_stderr(monkeypatch)
    handler = logging.StreamHandler(terminal)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    with progress_bar(2):
        assert handler.stream is not terminal
        logging.getLogger().warning("a broken image")
    assert handler.stream is terminal
    assert "a broken image\n" in terminal.getvalue()
