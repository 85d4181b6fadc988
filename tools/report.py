"""Pages, tables and plots from committed result files and from the code; no figure is typed by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.plots import draw, draw_headlines
from benchmarks.results import RESULTS, ROOT, SUITES_FILE, load, write_text
from benchmarks.tables import frame
from tools import entries, machines, methods, quality, versions
from tools.gpu import history

DOCS = ROOT / "docs"
BENCHMARKS = DOCS / "benchmarks.md"

SECTIONS: dict[Path, dict[str, Callable[[], str]]] = {
    ROOT / "README.md": {
        "models": partial(quality.models_section, ROOT),
        "methods": partial(methods.headline_section, ROOT),
        "speed": partial(machines.speed_section, ROOT, BENCHMARKS),
    },
    DOCS / "models.md": {"quality": quality.quality_section},
    DOCS / "training.md": {"entries": entries.entries_section},
    DOCS / "evaluation.md": {"methods": methods.methods_section},
    DOCS / "learning.md": {"trials": methods.trials_section},
    DOCS / "kernels.md": {"status": partial(history.status, RESULTS)},
    BENCHMARKS: {
        "bars": partial(machines.bars_section, DOCS),
        "gpu": partial(machines.suites_section, True, DOCS),
        "suites": partial(machines.suites_section, False, DOCS),
        "data": machines.data_section,
    },
    RESULTS / "README.md": {"machines": partial(machines.machines_section, RESULTS)},
}
"""By page and name, the content of `<!-- begin NAME -->` ... `<!-- end NAME -->`."""


def refreshed(page: Path, sections: dict[str, Callable[[], str]]) -> str:
    """The page's text with new sections. Raises ValueError if one is missing."""
    text = page.read_text()
    for name, make in sections.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        head, _, rest = text.partition(begin)
        _, found, tail = rest.partition(end)
        if not found:
            raise ValueError(f"{page} must have a section {begin} ... {end}")
        text = f"{head}{begin}\n{make()}\n{end}{tail}"
    return text


def pages() -> dict[Path, str]:
    """Every page that is made from results, or has sections that are, with its text."""
    found = {page: refreshed(page, sections) for page, sections in SECTIONS.items()}
    return found | machines.pages() | {DOCS / "versions.md": versions.page(load(versions.VERSIONS_FILE))}


def draw_plots() -> list[Path]:
    """The plots beside each machine's results, and those of the README."""
    plots = [plot for path in machines.files(SUITES_FILE) for plot in draw(frame(path), path.parent)]
    return [*plots, *draw_headlines(machines.headlines(), DOCS / "images")]


def write_all() -> list[Path]:
    """Write every plot and page; returns their paths."""
    return [*draw_plots(), *(write_text(page, text) for page, text in pages().items())]
