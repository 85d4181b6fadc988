"""The README is for the first minutes: it stays short."""

from __future__ import annotations

from documented import ROOT


def test_the_readme_has_at_most_150_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
