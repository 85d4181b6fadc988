"""Tables of the suites, from their result files alone."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from pandas import DataFrame, Series

from benchmarks.results import read_rows
from benchmarks.timing import LEAST

NAMES = {
    "public": "public way",
    "public-compile": "public way, torch.compile",
    "public-autocast": "public way, autocast",
    "public-autocast-compile": "public way, autocast and torch.compile",
}
"""Contestants as the tables call them; ours are called by their backend."""

PUBLIC = ("public", "public-autocast")  # who the other contestants of a case are compared with
COMPILED = ("public-compile", "public-autocast-compile")  # and those of an excerpt

SUITE_TITLES = {
    "query": "Query path (LR to output, the encoder left out)",
    "train": "Training step: forward and backward of the decoder",
    "end-to-end": "From PNG file to PNG file, model loaded",
}

FIELDS = [
    "suite",
    "model",
    "lr",
    "output",
    "batch",
    "dtype",
    "scattered",
    "excerpt",
    "case",
    "contestant",
    "macs",
    "error",
]
FIELDS += ["samples_s", "quartiles_s", "peak_bytes", "ceiling_dtype", "ceiling_flops", "share", "machine"]


def table_row(cells: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def markdown(rows: DataFrame | list[dict[str, Any]], right: Collection[str] = ()) -> str:
    """A Markdown table, the columns of `right` aligned there; narrower than to_markdown's, and so are its diffs."""
    table = DataFrame(rows).astype(object).fillna("").astype(str)
    rule = ["---:" if name in right else "---" for name in table.columns]
    return "\n".join(map(table_row, [table.columns, rule, *table.to_numpy()]))


def frame(rows: Iterable[Mapping[str, Any]] | Path) -> DataFrame:
    """The rows of a result file with a column a field, and what follows from these."""
    rows = read_rows(rows).values() if isinstance(rows, Path) else rows
    found = DataFrame(list(rows)).reindex(columns=FIELDS)
    found["error"] = found["error"].fillna("").astype(str)
    found["excerpt"] = found["excerpt"].fillna(0)
    found["pixels"] = found["output"].map(math.prod)
    found["median"] = found["quartiles_s"].astype(object).str[1].astype(float)
    for name in ("lr", "output"):
        found[f"{name}_height"] = found[name].str[0]
        found[name] = found[name].map(lambda sides: " x ".join(map(str, sides)))
    found["title"] = [_title(row) for row in found.to_dict("records")]
    return found


def _title(row: Mapping[str, Any]) -> str:
    model = "" if row["model"] == "full" else f", `{row['model']}`"
    images = "" if row["batch"] == 1 else f", {row['batch']} images"
    target = f"{row['pixels']:,} random queries" if row["scattered"] else row["output"]
    return f"{row['lr']} to {target}{images}{model}"


def whole(rows: DataFrame) -> DataFrame:
    """The rows of whole cases: no excerpts, whose time and memory are others."""
    return rows[rows["excerpt"] == 0]


def title(name: str) -> str:
    """A contestant's name for people."""
    return NAMES.get(name, f"`{name}`")


def seconds(value: float) -> str:
    """Seconds in the unit that reads best."""
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e6:.3g} us"


def _measured(row: Mapping[str, Any]) -> dict[str, str]:
    """The cells of a row that tell what was measured."""
    if row["error"]:
        told = "out of memory" if row["error"].startswith("out of memory (") else row["error"].replace("|", "/")
        return {"median (quartiles)": told}
    low, median, high = row["quartiles_s"]
    runs = len(row["samples_s"])
    spread = f"{seconds(low)} to {seconds(high)}" if runs >= LEAST else f"{runs} run{'s' * (runs > 1)}"
    return {
        "median (quartiles)": f"**{seconds(median)}** ({spread})",
        "faster than public": "" if math.isnan(row["ratio"]) else f"{row['ratio']:.2f} x",
        "peak memory": "not told" if math.isnan(row["peak_bytes"]) else f"{row['peak_bytes'] / 1e6:,.0f} MB",
        "of the ceiling": f"{row['share']:.0%} of {row['ceiling_dtype']}",
    }


def ratio(rows: DataFrame, peers: Collection[str]) -> Series:
    """How many times faster than its case's peer each row is; NaN where either has no time."""
    of = rows[rows["contestant"].isin(peers)].set_index("case")["median"]
    return rows["case"].map(of) / rows["median"]


def suite_table(rows: DataFrame, suite: str) -> str:
    """One suite's table."""
    order = ["model", "batch", "scattered", "lr_height", "output_height", "dtype"]
    mine = rows[rows["suite"] == suite].sort_values(order, kind="stable")
    cells = mine.assign(ratio=ratio(mine, PUBLIC)).to_dict("records")
    return markdown(
        [
            {"case": row["title"], "dtype": row["dtype"], "contestant": title(row["contestant"]), **_measured(row)}
            for row in cells
        ]
    )


def growth(rows: DataFrame) -> DataFrame:
    """How time grows: from, step and the factor of the time, for queries x 4 and for the batch.

    Of rows that differ in nothing but the output's size (by a factor of 4 in queries), or in nothing but the batch.
    """
    good = rows[rows["error"] == ""]
    pairs = good.merge(good, on=["suite", "model", "lr", "dtype", "scattered", "contestant"], suffixes=("", "_to"))
    queries = (pairs["batch"] == pairs["batch_to"]) & (pairs["pixels_to"] == 4 * pairs["pixels"])
    batch = (pairs["output"] == pairs["output_to"]) & (pairs["batch_to"] > pairs["batch"])
    pairs = pairs.assign(queries=queries)[queries | batch]
    found = [
        {
            "from": f"{title(row['contestant'])}, {row['dtype']}, {row['title']}",
            "step": f"queries x 4, to {row['output_to']}"
            if row["queries"]
            else f"batch {row['batch']} to {row['batch_to']}",
            "factor": row["median_to"] / row["median"],
        }
        for row in pairs.to_dict("records")
    ]
    return DataFrame(found, columns=["from", "step", "factor"])


def tables(rows: DataFrame) -> str:
    """All tables of one machine's whole cases."""
    rows = whole(rows)
    parts = [
        f"{SUITE_TITLES[suite]}:\n\n{suite_table(rows, suite)}" for suite in SUITE_TITLES if suite in set(rows["suite"])
    ]
    grown = growth(rows)
    if len(grown):
        times = grown["factor"].map("x {:.2f}".format)
        parts.append("How time grows:\n\n" + markdown(grown.assign(time=times).drop(columns="factor"), right=["time"]))
    return "\n\n".join(parts)


def compared(rows: DataFrame) -> DataFrame:
    """Excerpts of our backends, with `ratio`: how many times faster each is than the compiled public way."""
    good = rows[(rows["excerpt"] > 0) & (rows["error"] == "")]
    good = good.assign(ratio=ratio(good, COMPILED))
    return good[good["ratio"].notna() & ~good["contestant"].str.startswith("public")]


def summary(found: DataFrame, where: str) -> str:
    """Of each of our backends: on how many cases it is how much faster in each dtype; `where` all of them stand."""
    sentences = []
    for name, mine in found.groupby("contestant", sort=False):
        figures = mine.groupby("dtype")["ratio"].agg(["min", "max", "median"])
        ranges = ", ".join(
            f"{low:.2f} to {high:.2f} times in {of} (median {mid:.2f})" for of, low, high, mid in figures.itertuples()
        )
        sentences.append(
            f"On excerpts of {len(mine)} cases ({where}) {title(str(name))} has the speed of the public way under "
            f"torch.compile (in half precision with autocast) {ranges}. The LR map, made once for all queries of an "
            "image, weighs more in an excerpt than in the whole."
        )
    return " ".join(sentences)


def excerpt_table(found: DataFrame) -> str:
    """How many times faster ours is, and its median time; outputs are columns, and random queries have one."""
    cells = [f"{row.ratio:.2f} x ({seconds(row.median)})" for row in found.itertuples()]
    column = found["output"].where(~found["scattered"].astype(bool), "random")
    named = {"lr": "LR", "batch": "images", "contestant": "backend"}
    wide = (
        found.assign(cell=cells, column=column, contestant=found["contestant"].map(title))
        .rename(columns=named)
        .pivot_table(
            index=["suite", "model", "LR", "images", "scattered", "dtype", "backend"],
            columns="column",
            values="cell",
            aggfunc="first",
            sort=False,
        )
    )
    columns = sorted(wide.columns, key=lambda name: (len(name), name))
    return markdown(wide[columns].reset_index().drop(columns="scattered"))


def machine_line(ceilings: Mapping[str, Any]) -> str:
    """One sentence: which machine, and what it can do."""
    machine = ceilings["machine"]
    gpu = f"{machine['gpu']} (driver {machine['driver']}, CUDA {machine['cuda']})" if "gpu" in machine else None
    rates = ", ".join(f"{name} {_rate(rate)}" for name, rate in ceilings["flops"].items())
    return (
        f"On {gpu or cpu(machine)}, torch {machine['torch']}, {machine['date'][:10]}, commit {machine['commit']}. "
        f"Ceilings: {rates}; copy {ceilings['bytes_per_second'] / 1e9:,.0f} GB/s."
    )


def cpu(machine: Mapping[str, Any]) -> str:
    """A CPU as machine lines name it."""
    units = "with" if machine["bfloat16_units"] else "without"
    return f"{machine['processor']}, {machine['threads']} threads, {units} bfloat16 units"


def _rate(flops: float) -> str:
    return f"{flops / 1e12:,.0f} TFLOP/s" if flops >= 1e13 else f"{flops / 1e9:,.0f} GFLOP/s"
