"""Speed and memory on each machine, as tables: the sections of several pages, and a page beside each machine's results.

Folders that are called `start` are those that relative links start from.
"""

from __future__ import annotations

import os
from pathlib import Path

from pandas import DataFrame

from benchmarks.bars import BARS, SQUARE
from benchmarks.cases import registry
from benchmarks.plots import KINDS, plotted
from benchmarks.results import RESULTS, SUITES_FILE, load
from benchmarks.tables import (
    AUTHORS,
    COMPILED,
    PUBLIC,
    compared,
    cpu,
    evidence,
    excerpt_table,
    frame,
    machine_line,
    markdown,
    seconds,
    summary,
    tables,
    title,
)
from tools.gpu import history
from tools.gpu.plan import HEADLINE, TRAIN_LARGE, TRAIN_MIDDLE

NONE = "No results are committed yet."
PAGE, EXCERPTS = "README.md", "excerpts.md"

BARS_IN_FLOAT32 = {"render-bfloat16": "render-float32", "train-bfloat16": "train-float32"}
"""Cases in bfloat16 that are also compared with the reference in float32, with the case that timed it."""


def link(text: str, target: Path, start: Path) -> str:
    return f"[{text}]({Path(os.path.relpath(target, start)).as_posix()})"


def files(name: str) -> list[Path]:
    """Every machine's file of that name, the one that was last written to at the end."""

    def age(path: Path) -> tuple[str, Path]:
        return max(str(row.get("machine", {}).get("date", "")) for row in load(path).values()), path

    return sorted(RESULTS.glob(f"*/{name}"), key=age)


def newest(gpu: bool) -> Path | None:
    """The suites of the GPU, or of the CPU, that was measured last."""
    found = [path for path in files(SUITES_FILE) if ("gpu" in load(path)["ceilings"]["machine"]) == gpu]
    return found[-1] if found else None


def device(path: Path) -> str:
    """The device of a file of results."""
    machine = next(iter(load(path).values()))["machine"]
    return str(machine.get("gpu") or f"{machine['processor']}, {machine['threads']} threads")


def bars_section(start: Path) -> str:
    """The table of the machine that was measured last, and links to the others."""
    found = files("bars.json")
    if not found:
        return NONE
    others = ", ".join(link(device(path), path.parent / PAGE, start) for path in found[:-1])
    return f"{_bars(found[-1])}\n\nOther machines: {others}." if others else _bars(found[-1])


def _bars(path: Path) -> str:
    """A machine's table; a bar that is missed says so."""
    content, rows = load(path), []
    machine = next(iter(content.values()))["machine"]
    for name in [name for name in BARS if BARS[name].suite == "bars" and name in content]:
        bar, found, limit = BARS[name], content[name], content[name]["bar"]
        figures: list[tuple[str, str, str, bool]] = []  # quantity, measured, bar, missed
        if bar.unit == "ratio":
            peers = {"speedup over `reference`": name, "over `reference` in float32": BARS_IN_FLOAT32.get(name)}
            for quantity, peer in peers.items():
                if peer in content:
                    slow, fast = content[peer]["median_s"]["reference"], found["median_s"]["tiled"]
                    ratio = f"**{slow / fast:.1f} x** ({slow:.2f} s to {fast:.2f} s)"
                    figures.append((quantity, ratio, f"at least {limit:g} x", slow / fast < limit))
        elif bar.unit == "bytes":
            most, peak = f"at most {limit / 1e6:.0f} MB", found["bytes"]
            figures.append(("peak memory", f"**{peak / 1e6:.0f} MB**", most, peak > limit))
        else:
            time = found["seconds"]
            figures.append(("time", f"**{time:.2f} s**", f"at most {limit:g} s", time > limit))
        for quantity, measured, least, missed in figures:
            told = least + ": missed" * missed
            rows.append({"measurement": bar.title, "quantity": quantity, "measured": measured, "bar": told})
    return f"On {cpu(machine)}, torch {machine['torch']}, {machine['date'][:10]}:\n\n{markdown(rows)}"


def data_section() -> str:
    """One table for each machine: training samples per second."""
    parts, what, rate = [], "images of 128 x 128 pixels", "per second and worker"
    for path in sorted(RESULTS.glob("*/data.json")):
        content, rows = load(path), []
        for name, row in content.items():
            bar = f"at least {row['bar']:.0f}" if "bar" in row else ""
            rows.append({what: BARS[name].title, rate: f"**{row['per_second']:,.0f}**", "bar": bar})
        head = "On {processor}, torch {torch}, {date:.10}:".format_map(next(iter(content.values()))["machine"])
        parts.append(f"{head}\n\n{markdown(rows, [rate, 'bar'])}")
    return "\n\n".join(parts) or NONE


def suites_section(gpu: bool, start: Path) -> str:
    """The most important cases of the GPU, or of the CPU, that was measured last."""
    path = newest(gpu)
    if path is None:
        return NONE
    rows = frame(path)
    picked = (HEADLINE, TRAIN_MIDDLE, TRAIN_LARGE) if gpu else [case for case in registry() if case.rank == 0]
    shown, where = rows[rows["case"].isin([case.name for case in picked])], path.parent
    parts = [*_head(path, shown), tables(shown), *_excerpts(rows, where, start)]
    return "\n\n".join([*parts, f"Other sizes and dtypes, and plots: {link(device(path), where / PAGE, start)}."])


def _head(path: Path, rows: DataFrame) -> list[str]:
    """The machine, the rows that were measured at another commit than its ceilings, and what a speedup is over."""
    ceilings = load(path)["ceilings"]
    parts = [machine_line(ceilings)]
    if "gpu" in ceilings["machine"]:
        commits, names = rows["machine"].str["commit"], rows["case"] + " " + rows["contestant"]
        older = names[commits != ceilings["machine"]["commit"]].groupby(commits, sort=False)
        parts += [f"At commit {commit}: {', '.join(f'`{name}`' for name in each)}." for commit, each in older]
    if rows["contestant"].isin(PUBLIC).any():
        parts.append(f"Speedups are over the {AUTHORS}; where it was not run, or did not finish, the cell is empty.")
    return parts


def _excerpts(rows: DataFrame, folder: Path, start: Path) -> list[str]:
    found = compared(rows)
    return [summary(found, link("all of them", folder / EXCERPTS, start))] if len(found) else []


def headlines() -> dict[str, DataFrame]:
    """The most important case of the newest GPU and of the newest CPU, by a title that names device and case."""
    found = {}
    for gpu, case in ((True, HEADLINE), (False, SQUARE)):
        path = newest(gpu)
        rows = frame([]) if path is None else frame(path).query(f"case == '{case.name}' and error == ''")
        if path is not None and len(rows):
            found[f"{device(path)}: {rows['title'].iloc[0]}, {case.dtype}"] = rows
    return found


def speed_section(start: Path, more: Path) -> str:
    """A row for each backend on the headline cases, and what was measured on; `more` has all tables."""
    rows: list[dict[str, str]] = []
    measured: dict[str, None] = {}
    for name, found in headlines().items():
        ours = found[~found["contestant"].str.startswith("public")]
        for row in ours.sort_values("median").to_dict("records"):
            measured[evidence(row["machine"])] = None
            cells = {"query path": name, "backend": title(row["contestant"]), "time": f"**{seconds(row['median'])}**"}
            for head, peers in ((AUTHORS, PUBLIC), ("with torch.compile", COMPILED)):
                times = found[found["contestant"].isin(peers)]["median"]
                cells[head] = f"{seconds(times.iloc[0])} ({times.iloc[0] / row['median']:.1f} x)" if len(times) else ""
            rows.append(cells)
    if not rows:
        return NONE
    return (
        f"{markdown(rows)}\n\nMedian times of the paper's decoder, from the feature map to the output; in parentheses, "
        f"the speedup of ours. In bfloat16 the {AUTHORS} runs under autocast. Measured on "
        f"{'; '.join(measured)}. All tables: {link('benchmarks', more, start)}."
    )


def _page(path: Path) -> list[str]:
    """The suites of a machine, with plots."""
    rows, folder = frame(path), path.parent
    parts = [*_head(path, rows), tables(rows), *_excerpts(rows, folder, folder)]
    if len(plotted(rows)):
        parts.append("\n".join(f"![{kind} against output size]({kind}.svg)" for kind in KINDS))
    return parts


EXCERPTS_HEAD = """# Excerpts of every case

The speedup over the authors' implementation under torch.compile (in half precision also autocast), with our median \
time in brackets. Only some rows in the middle of each output were timed, or some of the random queries, as the result \
file says. We compute the LR map once for all queries of an image, so it weighs more in an excerpt than in the whole. \
On {processor}, {threads} threads, torch {torch}, {date:.10}. Made by `python -m benchmarks report`."""


def pages() -> dict[Path, str]:
    """By file: a page for each machine, and one for the excerpts that it timed."""
    parts: dict[Path, list[str]] = {}
    found: dict[Path, str] = {}
    for path in files("bars.json"):
        parts.setdefault(path.parent, [f"# {device(path)}"]).append(_bars(path))
    for path in files(SUITES_FILE):
        parts.setdefault(path.parent, [f"# {device(path)}"]).extend(_page(path))
        rows = compared(frame(path))
        if len(rows):
            head = EXCERPTS_HEAD.format_map(rows["machine"].iloc[0])
            found[path.parent / EXCERPTS] = f"{head}\n\n{excerpt_table(rows)}\n"
    for folder in sorted({path.parents[1] for path in RESULTS.glob(f"*/*/{SUITES_FILE}")}):
        parts.setdefault(folder, [f"# {folder.name}"]).append(history.page(folder))
    return found | {folder / PAGE: "\n\n".join(texts) + "\n" for folder, texts in parts.items()}


def machines_section(start: Path) -> str:
    """A link to each machine's page."""
    paths = [*files("bars.json"), *files(SUITES_FILE)]
    return "\n".join(sorted({f"- {link(device(path), path.parent / PAGE, start)}" for path in paths})) or NONE
