"""The measurement of training samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import data
from benchmarks.__main__ import app


def test_every_case_is_measured_and_samples_have_their_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "IMAGES", 4)
    path = tmp_path / "data.json"
    arguments = ["data", "--count", "3", "--repetitions", "2", "--json", str(path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(path.read_text())
    assert list(found) == [*data.CASES, "decode-png", "decode-jpg"]
    assert all(len(row["rates"]) == 2 and row["per_second"] > 0 and "machine" in row for row in found.values())
    assert [name for name, row in found.items() if row.get("bar") == 300] == list(data.CASES)
