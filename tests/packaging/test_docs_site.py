"""The documentation as a site: links out of docs/ work there as they do in the checkout."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path
from re import sub

import pytest

pytest.importorskip("mkdocs", reason="the site is built with the extra docs")

ROOT = Path(__file__).parents[2]
CONFIG = f"""
site_name: test
theme: mkdocs
plugins: []
use_directory_urls: false
strict: true
hooks: ["{ROOT / "tools" / "docs_site.py"}"]
validation: {{anchors: warn, unrecognized_links: warn}}
"""

Site = Callable[[dict[str, str]], Path]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Builds the site of a repository that has the given files; a warning is an error, as for the project's own."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    def build_site(files: dict[str, str]) -> Path:
        subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
        for name, text in {
            "mkdocs.yml": CONFIG,
            "README.md": "# Home",
            ".gitignore": "/site\n/local.txt\n",
            **files,
        }.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        build(load_config(str(tmp_path / "mkdocs.yml")))
        return tmp_path / "site"

    return build_site


def words(page: Path) -> str:
    """A page's text without its tags."""
    return " ".join(unescape(sub(r"<[^>]+>", "", page.read_text())).split())


def test_the_readme_is_the_home_page(site: Site) -> None:
    out = site({"README.md": "# Home\n\n[the page](docs/page.md)", "docs/page.md": "# Page"})
    assert '<a href="page.html">the page</a>' in (out / "index.html").read_text()


def test_a_linked_source_file_is_a_page_that_shows_it(site: Site) -> None:
    code = '"""Adds.\n\n```\nadd(1, 2)\n```\n"""\n\ndef add(a, b):\n    return a + b\n'
    out = site({"docs/page.md": "[add](../package/add.py)", "package/add.py": code})
    assert '<a href="source/package/add.py.html">add</a>' in (out / "page.html").read_text()
    shown = words(out / "source/package/add.py.html")
    assert '"""Adds. ``` add(1, 2) ``` """ def add(a, b): return a + b' in shown


def test_source_files_that_no_page_links_to_are_not_on_the_site(site: Site) -> None:
    out = site({"docs/page.md": "[one](../one.py)", "one.py": "", "two.py": ""})
    assert [page.name for page in (out / "source").iterdir()] == ["one.py.html"]


def test_a_linked_folder_lists_its_files_and_what_they_are(site: Site) -> None:
    out = site(
        {
            "docs/page.md": "[code](../code/) [linked](../code/linked.py)",
            "code/linked.py": '"""Is linked.\n\nMore."""',
            "code/kernel.cu": "// Multiplies a | b\n// in tiles. Then adds.\n#include <x>\n",
            "code/run.sh": "#!/bin/sh\n# Runs.\n",
            "code/inner/__init__.py": '"""The inside."""',
            "code/data.bin": "",
        }
    )
    listing = out / "source/code/index.html"
    assert '<a href="source/code/index.html">code</a>' in (out / "page.html").read_text()
    assert '<a href="linked.py.html"><code>linked.py</code></a>' in listing.read_text()
    rows = ["data.bin", "inner/ The inside.", "kernel.cu Multiplies a | b in tiles.", "linked.py Is linked."]
    assert " ".join([*rows, "run.sh Runs."]) in words(listing)


def test_linked_markdown_outside_docs_is_a_page_and_so_is_what_it_links_to(site: Site) -> None:
    out = site(
        {
            "docs/page.md": "[core](../core/README.md#build)",
            "core/README.md": "# Core\n\n## Build\n\n[results](results/one.md), [docs](../docs/page.md)",
            "core/results/one.md": "![plot](plot.svg)",
            "core/results/plot.svg": "<svg/>",
        }
    )
    assert '<a href="source/core/README.html#build">core</a>' in (out / "page.html").read_text()
    assert '<a href="../../page.html">docs</a>' in (out / "source/core/README.html").read_text()
    assert 'src="plot.svg"' in (out / "source/core/results/one.html").read_text()
    assert (out / "source/core/results/plot.svg").read_text() == "<svg/>"


def test_images_in_raw_html_are_found(site: Site) -> None:
    picture = '<picture><source srcset="docs/images/dark.svg"><img alt="" src="docs/images/light.svg"></picture>'
    images = {f"docs/images/{name}.svg": "<svg/>" for name in ("dark", "light")}
    out = site({"README.md": f'<p align="center">{picture}</p>', "docs/page.md": "", **images})
    assert '<source srcset="images/dark.svg"><img alt="" src="images/light.svg">' in (out / "index.html").read_text()
    assert (out / "images/dark.svg").exists()


def test_links_in_code_blocks_and_to_other_hosts_are_left_alone(site: Site) -> None:
    text = '```html\n<img src="none.svg">\n```\n\n`src="none.svg"` <img src="https://example.org/a.svg">'
    out = site({"README.md": text, "docs/page.md": ""})
    assert '<img src="none.svg"> src="none.svg"' in words(out / "index.html")
    assert 'src="https://example.org/a.svg"' in (out / "index.html").read_text()


@pytest.mark.parametrize(
    "link",
    [
        "[gone](none.md)",
        "[gone](../package/none.py)",
        "[gone](../package/none)",
        "[ignored](../local.txt)",
        "[no such heading](../README.md#none)",
        "![gone](none.svg)",
        '<img src="none.svg">',
        '<source srcset="../none.svg">',
    ],
)
def test_a_broken_link_fails_the_build(site: Site, link: str) -> None:
    with pytest.raises(SystemExit, match="Aborted with 1 warning"):
        site({"docs/page.md": link, "package/one.py": "", "local.txt": ""})
