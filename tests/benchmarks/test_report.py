"""The README's figures are those of the committed result files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import report
from tools.report import DOCS, README, SECTIONS, refreshed


def test_the_readme_matches_the_results() -> None:
    text = README.read_text()
    assert refreshed(text) == text


def test_machine_pages_match_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "DOCS", tmp_path)
    pages = report.write_machines()
    assert len(pages) >= 2
    for page in pages:
        text = page.read_text()
        assert text == (DOCS / page.name).read_text()
        links = re.findall(r"\]\(([^)]+)\)", text)
        assert [link for link in links if not (DOCS / link).is_file()] == []


def test_no_section_is_empty() -> None:
    assert all("| ---" in SECTIONS[name]() for name in ("bars", "quality"))
    assert SECTIONS["suites"]()
