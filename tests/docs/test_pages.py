"""What single pages promise."""

from __future__ import annotations

from documented import ROOT

from tools.entries import entries_section


def test_the_readme_has_at_most_150_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_every_entry_of_a_configuration_says_what_it_means() -> None:
    rows = [row.strip("| ").split(" | ") for row in entries_section().splitlines()[2:]]
    assert {"`steps`", "`data.workers`", "`optimizer.lr`"} <= {row[0] for row in rows}
    assert [row[0] for row in rows if len(row) != 3 or len(row[2]) < 10] == []
