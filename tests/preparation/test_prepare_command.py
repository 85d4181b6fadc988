"""`arasfsr prepare`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from PIL import Image
from test_preparation import face_in_a_canvas
from typer.testing import CliRunner, Result

from arasfsr.cli import app

pytest.importorskip("cv2")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["prepare", *map(str, arguments)])


def plain(text: str) -> str:
    """Without colours, frames and line breaks."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|│", " ", text).split())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A face, and a picture without one."""
    path = tmp_path / "in"
    path.mkdir()
    face_in_a_canvas(166)[0].save(path / "a.png")
    Image.new("RGB", (200, 200), "teal").save(path / "none.png")
    return path


def test_it_reports_what_was_kept_and_what_was_left_out(folder: Path, tmp_path: Path) -> None:
    result = invoke(folder, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"faces kept: 1, of 2 photographs, in {tmp_path / 'out'}",
        "left out: 1 no face",
    ]
    lines = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert lines[0] == {"settings": {"min_side": 128, "max_side": 1024, "min_sharpness": 0.36}}
    assert [(line["source"], line["status"], line["reason"]) for line in lines[1:]] == [
        ("a.png", "kept", None),
        ("none.png", "left out", "no face"),
    ]


def test_options_reach_the_preparer(folder: Path, tmp_path: Path) -> None:
    options = ["--min-side", "200", "--max-side", "300", "--min-sharpness", "0.1", "--workers", "2"]
    result = invoke(folder, "-o", tmp_path / "out", *options)
    assert "left out: 1 too small" in result.stdout
    first = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()[0]
    assert json.loads(first) == {"settings": {"min_side": 200, "max_side": 300, "min_sharpness": 0.1}}


def test_a_file_that_cannot_be_read_is_reported_and_the_others_are_done(folder: Path, tmp_path: Path) -> None:
    (folder / "0-broken.png").write_bytes(b"no picture")
    result = invoke(folder, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stdout.startswith("faces kept: 1, of 3 photographs")
    assert f"arasfsr: {folder / '0-broken.png'}: no picture of a known format" in result.stderr
    assert (tmp_path / "out" / "a.png").is_file()


def test_a_second_run_prints_the_same(folder: Path, tmp_path: Path) -> None:
    first, second = (invoke(folder, "-o", tmp_path / "out").stdout for _ in range(2))
    assert first == second


def test_without_opencv_nothing_is_written_and_the_extra_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    result = invoke(folder, "-o", tmp_path / "out")
    assert 'pip install "arasfsr[prepare]"' in str(result.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--max-side", "100", "at least --min-side, 128"),
        ("--min-side", "7", "at least 8 pixels"),
        ("--min-sharpness", "-1.0", "a number from 0"),
        ("--min-sharpness", "nan", "a number from 0"),
        ("--workers", "0", "at least 1"),
        ("--workers", "two", "must be a whole number of at least 1, got 'two'"),
    ],
)
def test_a_wrong_option_is_a_usage_error_that_names_the_value_and_the_rule(
    folder: Path, tmp_path: Path, option: str, value: str, message: str
) -> None:
    result = invoke(folder, "-o", tmp_path / "out", option, value)
    words = plain(result.stderr)
    assert result.exit_code == 2
    assert option in words
    assert value in words
    assert message in words
    assert not (tmp_path / "out").exists()
