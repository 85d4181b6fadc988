"""Committed pages and plots show the committed results."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest

from benchmarks.plots import THEMES
from benchmarks.tables import seconds
from tools import machines, report

PAGES = report.pages()
GENERATED = re.compile("<!-- begin .*?<!-- end", re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(report.ROOT)) for page in PAGES])
def test_a_page_is_what_the_results_make(page: Path) -> None:
    assert page.read_text() == PAGES[page]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(report.ROOT)) for page in PAGES])
def test_links_of_a_page_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", PAGES[page])
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_every_machine_s_page_is_listed() -> None:
    text = PAGES[machines.RESULTS / "README.md"]
    folders = {path.parent.name for path in machines.RESULTS.glob("*/README.md")}
    assert folders
    assert [name for name in folders if f"({name}/README.md)" not in text] == []


def test_the_readme_s_sections_are_short() -> None:
    sections = GENERATED.findall(PAGES[report.ROOT / "README.md"])
    assert len(sections) == 3
    assert [len(text.splitlines()) for text in sections if len(text.splitlines()) > 12] == []


@pytest.mark.parametrize("theme", THEMES)
def test_the_plot_of_the_readme_has_every_contestant_s_time(theme: str) -> None:
    plot = (report.DOCS / "images" / f"speed-{theme}.svg").read_text()
    found = machines.headlines()
    assert {"NVIDIA H200", "AMD EPYC"} == {re.split(r" \(|:", title)[0] for title in found}
    times = [seconds(row.median) for rows in found.values() for row in rows.itertuples()]
    assert [time for time in times if f">{time}<" not in plot and f">{time} (" not in plot] == []


def test_a_missing_section_is_named_with_its_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- begin here -->\nold\n<!-- end here -->\n<!-- begin half -->\n")
    assert report.refreshed(page, {"here": partial(str, "new")}) == page.read_text().replace("old", "new")
    for name in ("half", "none"):
        with pytest.raises(ValueError, match=rf"page\.md must have a section <!-- begin {name} -->"):
            report.refreshed(page, {name: str})
