"""The README's tables of the suites, from their result files alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.timing import LEAST

Row = Mapping[str, Any]

NAMES = {
    "public": "public way",
    "public-compile": "public way, torch.compile",
    "public-autocast": "public way, autocast",
    "public-autocast-compile": "public way, autocast and torch.compile",
}
"""Contestants as the tables call them; ours are called by their backend."""

PUBLIC = ("public", "public-autocast")
"""Who the other contestants of a case are compared with."""


def whole(rows: Iterable[Row]) -> list[Row]:
    """The rows of whole cases: no excerpts, whose time and memory are others."""
    return [row for row in rows if not row.get("excerpt")]


def table_row(cells: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def title(name: str) -> str:
    """A contestant's name for people."""
    return NAMES.get(name, f"`{name}`")


def seconds(value: float) -> str:
    """Seconds in the unit that reads best."""
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e6:.3g} us"


def size(value: int | None) -> str:
    """Bytes in MB, unknown ones as such."""
    return "not told" if value is None else f"{value / 1e6:,.0f} MB"


def _case_title(row: Row) -> str:
    lr, output = (" x ".join(map(str, row[key])) for key in ("lr", "output"))
    model = "" if row["model"] == "full" else f", `{row['model']}`"
    images = "" if row["batch"] == 1 else f", {row['batch']} images"
    target = f"{row['output'][0] * row['output'][1]:,} random queries" if row["scattered"] else output
    return f"{lr} to {target}{images}{model}"


def _line(row: Row, public: Row | None) -> list[str]:
    head = [_case_title(row), row["dtype"], title(row["contestant"])]
    if row.get("error"):
        told = "out of memory" if row["error"].startswith("out of memory (") else row["error"].replace("|", "/")
        return [*head, told, "", "", ""]
    low, median, high = row["quartiles_s"]
    runs = len(row["samples_s"])
    spread = f"{seconds(low)} to {seconds(high)}" if runs >= LEAST else f"{runs} run{'s' * (runs > 1)}"
    ratio = ""
    if public is not None and not public.get("error"):
        ratio = f"{public['quartiles_s'][1] / median:.2f} x"
    share = f"{row['share']:.0%} of {row['ceiling_dtype']}"
    return [*head, f"**{seconds(median)}** ({spread})", ratio, size(row["peak_bytes"]), share]


SUITE_TITLES = {
    "query": "Query path (LR to output, the encoder left out)",
    "train": "Training step: forward and backward of the decoder",
    "end-to-end": "From PNG file to PNG file, model loaded",
}


def suite_table(rows: Iterable[Row], suite: str) -> list[str]:
    """Lines of one suite's table; none where there are no rows."""
    mine = [row for row in rows if row["suite"] == suite]
    if not mine:
        return []
    mine.sort(key=lambda row: (row["model"], row["batch"], row["scattered"], row["lr"], row["output"], row["dtype"]))
    public = {row["case"]: row for row in mine if row["contestant"] in PUBLIC}
    head = ["case", "dtype", "contestant", "median (quartiles)", "faster than public", "peak memory", "of the ceiling"]
    lines = [f"{SUITE_TITLES[suite]}:", "", table_row(head), table_row(["---"] * len(head))]
    lines += [table_row(_line(row, public.get(row["case"]))) for row in mine]
    return [*lines, ""]


GROUP = ("suite", "model", "lr", "dtype", "scattered", "contestant")


def growth(rows: Iterable[Row]) -> list[tuple[str, str, float, float]]:
    """How time grows: (what, step, factor of the work, factor of the time) for queries x4 and for the batch.

    Of rows that differ in nothing but the output's size (by a factor of 4 in queries), or in nothing but the batch.
    """
    good = [row for row in rows if not row.get("error")]
    found = []
    for row in good:
        for other in good:
            if any(row[key] != other[key] for key in GROUP):
                continue
            more = _queries(other) / _queries(row)
            label = f"{title(row['contestant'])}, {row['dtype']}, {_case_title(row)}"
            times = other["quartiles_s"][1] / row["quartiles_s"][1]
            if row["batch"] == other["batch"] and more == 4:
                found.append((label, f"queries x 4, to {' x '.join(map(str, other['output']))}", 4.0, times))
            if row["output"] == other["output"] and other["batch"] > row["batch"]:
                step = other["batch"] / row["batch"]
                found.append((label, f"batch {row['batch']} to {other['batch']}", step, times))
    return found


def _queries(row: Row) -> int:
    return int(row["output"][0] * row["output"][1])


def growth_table(rows: Iterable[Row]) -> list[str]:
    """Lines of the growth report; none where no two rows belong together."""
    found = growth(rows)
    if not found:
        return []
    lines = ["How time grows:", "", table_row(["from", "step", "time"]), table_row(["---", "---", "---:"])]
    return [*lines, *(table_row([label, step, f"x {times:.2f}"]) for label, step, _, times in found), ""]


def machine_line(machine: Mapping[str, Any], ceilings: Mapping[str, Any]) -> str:
    """One sentence: which machine, and what it can do."""
    if "gpu" in machine:
        where = f"{machine['gpu']} (driver {machine['driver']}, CUDA {machine['cuda']})"
    else:
        units = "with" if machine["bfloat16_units"] else "without"
        where = f"{machine['processor']}, {machine['threads']} threads, {units} bfloat16 units"
    rates = ", ".join(f"{name} {_rate(rate)}" for name, rate in ceilings["flops"].items())
    copy = f"{ceilings['bytes_per_second'] / 1e9:,.0f} GB/s"
    return (
        f"On {where}, torch {machine['torch']}, {machine['date'][:10]}, commit {machine['commit']}. "
        f"Ceilings: {rates}; copy {copy}."
    )


def _rate(flops: float) -> str:
    return f"{flops / 1e12:,.0f} TFLOP/s" if flops >= 1e13 else f"{flops / 1e9:,.0f} GFLOP/s"


def tables(rows: Iterable[Row]) -> str:
    """All tables of one machine's whole cases."""
    rows = whole(rows)
    lines: list[str] = []
    for suite in SUITE_TITLES:
        lines += suite_table(rows, suite)
    return "\n".join([*lines, *growth_table(rows)]).strip()
