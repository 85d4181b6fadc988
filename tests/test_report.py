"""The README's figures are those of the committed result files."""

from __future__ import annotations

from benchmarks.report import README, SECTIONS, refreshed


def test_the_readme_is_what_the_results_say() -> None:
    text = README.read_text()
    assert refreshed(text) == text


def test_no_section_is_empty() -> None:
    assert all("| ---" in SECTIONS[name]() for name in ("bars", "quality"))
    assert SECTIONS["suites"]()
