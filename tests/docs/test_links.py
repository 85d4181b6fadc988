"""The documentation's links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import arasfsr

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("csrc/*.md"), *ROOT.glob("examples/*.md")]


def dead_links(page: Path) -> list[str]:
    """Relative links to files that do not exist; links in code blocks are no links."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s#]+)", text)
    return [target for target in targets if "://" not in target and not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_to_files(page: Path) -> None:
    assert dead_links(page) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("[a](page.md#top) [b](none.md) [c](https://x.y/z.md)\n```\n[d](x.md)\n```\n")
    assert dead_links(tmp_path / "page.md") == ["none.md"]


def test_the_api_page_has_every_public_name() -> None:
    words = re.findall(r"\w+", (ROOT / "docs" / "api.md").read_text())
    assert {*arasfsr.__all__} - {*words} == set()
