"""The README's tables, and the pages and plots in docs, made of committed result files; no figure is typed by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pandas import DataFrame

from benchmarks.bars import BARS
from benchmarks.plots import KINDS, draw, plotted
from benchmarks.results import RESULTS, ROOT, SUITES_FILE, load, write_text
from benchmarks.tables import compared, cpu, excerpt_table, frame, machine_line, markdown, summary, tables
from tools import versions
from tools.gpu import history
from tools.quality import methods_table, quality_tables

README = ROOT / "README.md"
DOCS = ROOT / "docs"
NONE = "No machine's results are committed yet."

BARS_IN_FLOAT32 = {"render-bfloat16": "render-float32", "train-bfloat16": "train-float32"}
"""Cases in bfloat16 whose bars also stand against the literal method in float32, with the case that timed it."""


def _files(name: str) -> list[Path]:
    """Every machine's file of that name, the one that was written to last at the end."""

    def age(path: Path) -> tuple[str, Path]:
        return max(str(row.get("machine", {}).get("date", "")) for row in load(path).values()), path

    return sorted(RESULTS.glob(f"*/{name}"), key=age)


def _machine(path: Path) -> Any:
    """Of a file's first row."""
    return next(iter(load(path).values()))["machine"]


def _page(path: Path, part: str = "") -> Path:
    """The page of the machine that a result file is of."""
    return DOCS / f"{path.parent.name}{part}.md"


def _bars(path: Path) -> str:
    """A machine's table; a bar that is missed says so."""
    content, machine, rows = load(path), _machine(path), []
    for name in [name for name in BARS if BARS[name].suite == "bars" and name in content]:
        bar, found, limit = BARS[name], content[name], content[name]["bar"]
        figures: list[tuple[str, str, str, bool]] = []  # meaning, measured, bar, missed
        if bar.unit == "ratio":
            peers = {"faster than the literal method": name, "faster than it in float32": BARS_IN_FLOAT32.get(name)}
            for meaning, peer in peers.items():
                if peer in content:
                    slow, fast = content[peer]["median_s"]["reference"], found["median_s"]["tiled"]
                    ratio = f"**{slow / fast:.1f} x** ({slow:.2f} s to {fast:.2f} s)"
                    figures.append((meaning, ratio, f"at least {limit:g} x", slow / fast < limit))
        elif bar.unit == "bytes":
            most, peak = f"at most {limit / 1e6:.0f} MB", found["bytes"]
            figures.append(("peak memory", f"**{peak / 1e6:.0f} MB**", most, peak > limit))
        else:
            seconds = found["seconds"]
            figures.append(("time", f"**{seconds:.2f} s**", f"at most {limit:g} s", seconds > limit))
        for meaning, measured, least, missed in figures:
            rows.append({"what": bar.title, "": meaning, "measured": measured, "bar": least + ": missed" * missed})
    return f"On {cpu(machine)}, torch {machine['torch']}, {machine['date'][:10]}:\n\n{markdown(rows)}"


def bars_tables() -> str:
    """The table of the machine that was measured last, and where the others' are."""
    *others, newest = _files("bars.json")
    pages = ", ".join(f"[{_machine(path)['processor']}](docs/{_page(path).name})" for path in others)
    return f"{_bars(newest)}\n\nOther machines: {pages}." if others else _bars(newest)


def data_tables() -> str:
    """One table a machine: what one worker makes of images of 128 x 128 pixels."""
    parts, what, rate = [], "images of 128 x 128 pixels", "a second and worker"
    for path in sorted(RESULTS.glob("*/data.json")):
        head = "On {processor}, torch {torch}, {date:.10}:".format_map(_machine(path))
        rows = []
        for name, row in load(path).items():
            bar = f"at least {row['bar']:.0f}" if "bar" in row else ""
            rows.append({what: BARS[name].title, rate: f"**{row['per_second']:.0f}**", "bar": bar})
        parts.append(f"{head}\n\n{markdown(rows, [rate, 'bar'])}")
    return "\n\n".join(parts) or NONE


def _suites(path: Path) -> str:
    rows = frame(path)
    found, parts = compared(rows), [*_head(path, rows), tables(rows)]
    if len(found):
        parts.append(summary(found, f"[each of them](docs/{_page(path, '-excerpts').name})"))
    if len(plotted(rows)):
        parts.append("\n".join(f"![{kind} against output size](docs/{path.parent.name}-{kind}.svg)" for kind in KINDS))
    return "\n\n".join(parts)


def _head(path: Path, rows: DataFrame) -> list[str]:
    """The machine; of a GPU also which rows are of another run than its ceilings, and what an empty cell means."""
    ceilings = load(path)["ceilings"]
    if "gpu" not in ceilings["machine"]:
        return [machine_line(ceilings)]
    commits, names = rows["machine"].str["commit"], rows["case"] + " " + rows["contestant"]
    older = names[commits != ceilings["machine"]["commit"]].groupby(commits, sort=False)
    lines = [f"Of commit {commit}: {', '.join(each)}." for commit, each in older]
    empty = "Beside an empty cell the public way was not run, or did not end in time."
    return [machine_line(ceilings), "\n".join([*lines, empty])]


def _gpu(path: Path) -> str:
    """A GPU's largest picture and largest training step, and where the rest is."""
    rows, page = frame(path), _page(path).name
    shown = rows[(rows["output"] == "1024 x 1024") & (rows["batch"] == 1) & (rows["dtype"] == "bfloat16")]
    rest = f"Other sizes and dtypes are in [{page}](docs/{page})."
    return "\n\n".join([*_head(path, shown), tables(shown), rest])


def suites_tables(gpu: bool = False) -> str:
    """Of the CPU, or of the GPU, that ran the suites last."""
    found = [path for path in _files(SUITES_FILE) if ("gpu" in load(path)["ceilings"]["machine"]) == gpu]
    return (_gpu if gpu else _suites)(found[-1]) if found else NONE


def write_machines() -> list[Path]:
    """Write a page for every machine: its bars, its suites, and a GPU's runs."""
    parts: dict[Path, list[str]] = {}
    for name, make in (("bars.json", _bars), (SUITES_FILE, _suites)):
        for path in _files(name):
            parts.setdefault(_page(path), []).append(make(path).replace("](docs/", "]("))
    for folder in sorted({path.parents[1] for path in RESULTS.glob(f"*/*/{SUITES_FILE}")}):
        parts.setdefault(DOCS / f"{folder.name}.md", []).append(history.page(folder))
    return [write_text(page, "\n\n".join([f"# {page.stem}", *texts]) + "\n") for page, texts in parts.items()]


EXCERPTS_HEAD = """# Every case, an excerpt of each

How many times faster our backend is than the public way under torch.compile (in half precision with autocast), and \
its median time in brackets. Timed were only some rows in the middle of each output, or some of the random queries, as \
the result file says. The LR map, made once for all queries of an image by ours, weighs more in an excerpt than in the \
whole. On {processor}, {threads} threads, torch {torch}, {date:.10}. Made by `python -m benchmarks report`."""


def write_excerpts() -> list[Path]:
    """Write a page for every machine that has timed excerpts of the cases."""
    pages = []
    for path in _files(SUITES_FILE):
        rows = compared(frame(path))
        if len(rows):
            head = EXCERPTS_HEAD.format_map(rows["machine"].iloc[0])
            pages.append(write_text(_page(path, "-excerpts"), f"{head}\n\n{excerpt_table(rows)}\n"))
    return pages


def write_versions() -> Path:
    return write_text(DOCS / "versions.md", versions.page(load(versions.VERSIONS_FILE)))


def draw_plots(folder: Path = DOCS) -> list[Path]:
    return [plot for path in _files(SUITES_FILE) for plot in draw(frame(path), path.parent.name, folder)]


SECTIONS: dict[str, Callable[[], str]] = {
    "bars": bars_tables,
    "data": data_tables,
    "gpu": partial(suites_tables, gpu=True),
    "methods": methods_table,
    "quality": quality_tables,
    "suites": suites_tables,
}
"""What stands between `<!-- begin NAME -->` and `<!-- end NAME -->` in the README."""


def refreshed(text: str) -> str:
    for name, make in SECTIONS.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        head, _, rest = text.partition(begin)
        _, found, tail = rest.partition(end)
        if not found:
            raise ValueError(f"README.md has no section {begin} ... {end}")
        text = f"{head}{begin}\n{make()}\n{end}{tail}"
    return text


def write_all() -> list[Path]:
    made = [*draw_plots(), *write_excerpts(), *write_machines(), write_versions()]
    return [*made, write_text(README, refreshed(README.read_text()))]
