"""What changed between two runs, judged by known samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import compare, compare_files
from benchmarks.timing import quartiles


def row(*samples: float, error: str | None = None) -> dict[str, Any]:
    """A row of results with these seconds."""
    if error:
        return {"case": "c", "error": error}
    return {"case": "c", "error": None, "samples_s": list(samples), "quartiles_s": list(quartiles(list(samples)))}


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (row(1.0, 1.01, 1.02), row(1.2, 1.21, 1.22), "slower"),
        (row(1.2, 1.21, 1.22), row(1.0, 1.01, 1.02), "faster"),
        (row(1.0, 1.1, 1.3), row(1.15, 1.2, 1.25), "unchanged"),  # quartiles overlap
        (row(1.0, 1.0, 1.0), row(1.02, 1.02, 1.02), "unchanged"),  # 2 %
        (row(1.0), row(2.0), "unjudged"),  # one run has no spread
        (row(1.0, 1.0, 1.0), row(error="red gate"), "failed"),
        (row(error="red gate"), row(1.0), "mended"),
        (row(error="out of memory"), row(error="out of memory"), "unchanged"),
    ],
)
def test_verdicts(before: dict[str, Any], after: dict[str, Any], verdict: str) -> None:
    (change,) = compare({"x": before}, {"x": after})
    assert change.verdict == verdict
    assert change.worse == (verdict in ("slower", "failed"))


def test_a_change_says_the_medians_or_what_failed() -> None:
    before = {"a": row(1.0, 1.0, 1.0), "b": row(1.0), "c": row(error="red gate")}
    found = compare(before, {"a": row(2.0, 2.0, 2.0), "b": row(2.0), "c": row(1.0)})
    assert [change.detail for change in found] == [
        "1 s to 2 s (+100.0%)",
        "1 s to 2 s (+100.0%): fewer than 3 runs show no spread",
        "red gate",
    ]


def test_rows_of_one_file_alone_are_named() -> None:
    found = compare({"z": row(1.0), "a": row(1.0)}, {"z": row(1.0), "b": row(1.0)})
    assert [(change.name, change.verdict) for change in found] == [("z", "unchanged"), ("a", "gone"), ("b", "new")]


def test_files_that_are_no_results_are_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text('{"a": 1}')
    with pytest.raises(ValueError, match=r"bad\.json: no results"):
        compare_files(bad, bad)
    with pytest.raises(ValueError, match=r"none\.json: no file of results"):
        compare_files(tmp_path / "none.json", bad)


def test_files_without_a_common_row_are_refused(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.json", "b.json")]
    for path in paths:
        path.write_text(json.dumps({"ceilings": {}, path.stem: row(1.0)}))
    with pytest.raises(ValueError, match="no row in common"):
        compare_files(*paths)
