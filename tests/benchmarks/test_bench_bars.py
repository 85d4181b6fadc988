"""Bars: what the harness measures of them, and the figures made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from arasfsr.training.config import DataConfig
from benchmarks import bars
from benchmarks.__main__ import app
from benchmarks.bars import BARS, Bar, Plain
from benchmarks.session import ContestantFailed, ProcessSession


def rows(**seconds: float) -> dict[str, dict[str, Any]]:
    """Rows of contestants as the harness gives them."""
    return {
        name: {"gate": [], "error": None, "samples_s": [each, each + 1, each], "peaks_bytes": [7, 9, None]}
        for name, each in seconds.items()
    }


@pytest.mark.parametrize(
    ("unit", "given", "key", "value"),
    [
        ("ratio", rows(reference=6.0, tiled=2.0), "ratio", 3.0),
        ("seconds", rows(tiled=2.0), "seconds", 2.0),
        ("bytes", rows(tiled=2.0), "bytes", 9),
        ("per_second", rows(worker=2.0), "per_second", bars.COUNT / 2),
    ],
)
def test_a_bar_s_figure_is_of_the_medians_or_the_peak(unit: str, given: Any, key: str, value: float) -> None:
    found = Bar("", unit, 5.0, {}).figures(given)
    assert (found[key], found["bar"]) == (value, 5.0)


def test_what_fails_has_no_figure() -> None:
    red = rows(reference=6.0) | {"tiled": {"gate": [], "error": "red gate"}}
    with pytest.raises(ContestantFailed, match=r"^tiled: red gate$"):
        Bar("", "ratio", 5.0, {}).figures(red)


@pytest.mark.parametrize(
    "session",
    [Plain(bars.samples, DataConfig(), 3, 4), Plain(bars.decoding, ".png", 3, 4), Plain(bars.decoding, ".jpg", 3, 4)],
)
def test_samples_and_decoded_files_are_timed(session: Plain) -> None:
    assert session.judge() == []
    assert session.time(0).seconds > 0
    assert session.time(1).seconds > 0


def test_every_turn_makes_others() -> None:
    made: list[int] = []
    run = bars.each(made.append, 2)
    made.clear()
    run(0)
    run(1)
    assert made == [0, 1, 2, 3]


def test_a_command_that_fails_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="ended with status 2"):
        bars.upscale("wide")(0)


def test_bars_run_in_a_process_of_their_own_and_are_written_with_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"alone": (Plain, bars.decoding, ".png", 3, 4)}
    monkeypatch.setitem(BARS, "decode-png", Bar("", "per_second", None, few))
    opened: list[Any] = []
    monkeypatch.setattr(bars, "ProcessSession", lambda *given: opened.append(given) or ProcessSession(*given))
    monkeypatch.setattr("benchmarks.__main__.RESULTS", tmp_path)
    done = CliRunner().invoke(app, ["bars", "--only", "decode-png", "--seconds", "0"])
    assert done.exit_code == 0, done.output
    (path,) = tmp_path.glob("*/data.json")
    row = json.loads(path.read_text())["decode-png"]
    assert len(row["rates"]) == 3
    assert row["per_second"] > 0
    assert row["machine"]["commit"]
    assert opened == [few["alone"]]


def test_a_bar_that_cannot_be_measured_is_told_and_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        BARS, "decode-png", Bar("", "per_second", None, {"alone": (Plain, bars.decoding, ".none", 3, 4)})
    )
    done = CliRunner().invoke(app, ["bars", "--only", "decode-png", "--json", str(tmp_path / "bars.json")])
    assert done.exit_code == 1
    assert "alone: ValueError: unknown file extension: .none" in done.output
    assert not (tmp_path / "bars.json").exists()
