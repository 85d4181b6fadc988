"""The page of versions: counts, failures by name, a line for each session in order of the versions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import __version__ as torch_version

from tools import versions
from tools.junit import outcome
from tools.versions import key, page

PASS = """import pytest
def test_good(): pass
def test_bad(): assert False
@pytest.fixture
def broken(): raise ValueError
def test_error(broken): pass
@pytest.mark.skip
def test_left(): pass
"""


def result(torch: str, **groups: dict[str, Any]) -> dict[str, Any]:
    good = {"passed": 3, "skipped": 0, "failed": []}
    return {
        "installed": {"python": "3.12.1", "torch": torch, "triton": "3.6.0", "numpy": "2.3.0"},
        "groups": dict.fromkeys(("operator", "training", "audit"), good) | groups,
        "machine": {"date": "2026-11-25T10:00:00"},
    }


def test_outcomes_are_counted_and_failures_named(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(PASS)
    report = tmp_path / "report.xml"
    done = subprocess.run([sys.executable, "-m", "pytest", f"--junit-xml={report}"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 1  # some tests failed
    found = {"passed": 1, "skipped": 1, "failed": ["test_mine.test_bad", "test_mine.test_error"]}
    assert outcome(report) == found


def test_the_page_has_a_line_each_in_order_and_names_what_failed() -> None:
    audit = {"passed": 2, "skipped": 1, "failed": ["tests.test_audit.test_it"]}
    old, new = result("2.9.1", audit=audit), result("2.10.0+cpu")
    text = page({key(each["installed"]): each for each in (new, old)})
    lines = [line for line in text.splitlines() if line.startswith("| 3")]
    assert [line.split(" | ")[1] for line in lines] == ["2.9.1", "2.10.0+cpu"]
    assert lines[0].endswith("| 3 passed | 2 passed, 1 skipped, 1 failed | 2026-11-25 |")
    assert text.count("Failed with") == 1
    assert "Failed with torch 2.9.1 and Triton 3.6.0:\n\n- `tests.test_audit.test_it`" in text


def test_a_session_writes_the_row_of_what_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "VERSIONS_FILE", tmp_path / "versions.json")
    (tmp_path / "audit.xml").write_text('<testsuite><testcase classname="a" name="b"/></testsuite>')
    versions.record(tmp_path, ["operator", "audit"])
    ((name, row),) = json.loads((tmp_path / "versions.json").read_text()).items()
    assert name == key(row["installed"])
    assert f"torch {torch_version} triton" in name
    assert {group: (of["passed"], of["failed"]) for group, of in row["groups"].items()} == {
        "operator": (0, ["pytest itself"]),
        "audit": (1, []),
    }
    assert "| 1 failed | 1 passed |" in page({name: row})


def test_the_sessions_name_tests_that_are_there() -> None:
    noxfile = pytest.importorskip("noxfile")
    paths = [path for group in noxfile.GROUPS.values() for path in group]
    assert [path for path in paths if not (Path(__file__).parents[1] / path).exists()] == []
