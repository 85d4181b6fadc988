"""The progress of the commands."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path

import pytest

from arasfsr.commands.progress import PictureBar, SlowPictures, progress_bar


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


@pytest.mark.parametrize(("pictures", "shown"), [(1, "30/100"), (2, "0/2")])
def test_the_bar_counts_the_rows_of_a_single_picture(
    monkeypatch: pytest.MonkeyPatch, pictures: int, shown: str
) -> None:
    terminal = terminal_as_stderr(monkeypatch)
    with progress_bar(pictures) as bar:
        assert bar is not None
        upscaling = PictureBar(bar, pictures)
        upscaling.begin(Path("a.png"), (10, 20), (100, 200))
        upscaling.advance(0.3)
        bar.progress.refresh()
        assert f" {shown} " in terminal.getvalue()


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


# Without a bar.


@pytest.mark.parametrize(
    ("seconds_per_band", "told"),
    [((5.0, 0.1), []), ((9.0, 2.0), ["a.png: about 16 s left"]), ((0.5, 3600.0), ["a.png: about 8 h 0 min left"])],
)
def test_a_picture_that_takes_long_is_announced_once_by_the_time_of_its_second_band(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seconds_per_band: tuple[float, float],
    told: list[str],
) -> None:
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    upscaling = SlowPictures()
    upscaling.begin(Path("a.png"), (1, 1), (10, 10))
    for seconds in (*seconds_per_band, *[seconds_per_band[1]] * 8):
        now += seconds
        upscaling.advance(0.1)
    assert capsys.readouterr().err.splitlines() == told


def test_a_picture_of_one_band_is_not_announced(capsys: pytest.CaptureFixture[str]) -> None:
    upscaling = SlowPictures()
    upscaling.begin(Path("a.png"), (1, 1), (10, 10))
    for part in (1.0, 0.0):
        upscaling.advance(part)
    assert capsys.readouterr().err == ""
