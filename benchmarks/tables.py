"""Tables of the suites, from their result files alone."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from pandas import DataFrame, Series

from benchmarks.results import read_rows
from benchmarks.timing import LEAST

AUTHORS = "authors' implementation"
NAMES = {
    "public": AUTHORS,
    "public-compile": f"{AUTHORS}, torch.compile",
    "public-autocast": f"{AUTHORS}, autocast",
    "public-autocast-compile": f"{AUTHORS}, autocast, torch.compile",
}
"""Contestants as tables and plots call them; ours are called by their backend."""

PUBLIC = ("public", "public-autocast")  # who the other contestants of a case are compared with
COMPILED = ("public-compile", "public-autocast-compile")  # and those of an excerpt

SUITE_TITLES = {
    "query": "Query path (from the feature map to the output, without the encoder)",
    "train": "Training step (forward and backward of the decoder)",
    "end-to-end": "PNG file to PNG file, with the model loaded",
}

FIELDS = ["suite", "model", "lr", "output", "batch", "dtype", "scattered", "excerpt", "case", "contestant", "error"]
FIELDS += ["samples_s", "quartiles_s", "peak_bytes", "macs", "ceiling_dtype", "ceiling_flops", "share", "machine"]
FIELDS += ["median", "pixels", "height", "lr_height", "title"]


def markdown(rows: DataFrame | list[dict[str, Any]], right: Collection[str] = ()) -> str:
    """A Markdown table, the columns of `right` aligned there; narrower than to_markdown's, and so are its diffs."""
    table = DataFrame(rows).astype(object).fillna("").astype(str)
    rule = ["---:" if name in right else "---" for name in table.columns]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (table.columns, rule, *table.to_numpy()))


def frame(rows: Iterable[Mapping[str, Any]] | Path) -> DataFrame:
    """The rows of a result file, and what follows from each."""
    rows = read_rows(rows).values() if isinstance(rows, Path) else rows
    found = DataFrame([{"excerpt": 0, **row, **_derived(row)} for row in rows], columns=FIELDS)
    return found.astype({"median": float, "peak_bytes": float})


def _derived(row: Mapping[str, Any]) -> dict[str, Any]:
    lr, output = (" x ".join(map(str, row[name])) for name in ("lr", "output"))
    pixels, model = math.prod(row["output"]), "" if row["model"] == "full" else f", `{row['model']}`"
    images = "" if row["batch"] == 1 else f", {row['batch']} images"
    found = {"lr": lr, "output": output, "pixels": pixels, "error": row.get("error") or ""}
    found |= {"lr_height": row["lr"][0], "height": row["output"][0]}
    found["title"] = f"{lr} to {f'{pixels:,} random queries' if row['scattered'] else output}{images}{model}"
    return found | ({"median": row["quartiles_s"][1]} if row.get("quartiles_s") else {})


def title(name: str) -> str:
    return NAMES.get(name, f"`{name}`")


def seconds(value: float) -> str:
    factor, unit = (1.0, "s") if value >= 1 else (1e3, "ms") if value >= 1e-3 else (1e6, "us")
    return f"{value * factor:.3g} {unit}"


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    cells = {"case": row["title"], "dtype": row["dtype"], "contestant": title(row["contestant"])}
    if row["error"]:
        message = "out of memory" if row["error"].startswith("out of memory (") else row["error"].replace("|", "/")
        return cells | {"median (quartiles)": message}
    (low, median, high), runs = row["quartiles_s"], len(row["samples_s"])
    spread = f"{seconds(low)} to {seconds(high)}" if runs >= LEAST else f"{runs} run{'s' * (runs > 1)}"
    return cells | {
        "median (quartiles)": f"**{seconds(median)}** ({spread})",
        "speedup": "" if math.isnan(row["ratio"]) else f"{row['ratio']:.2f} x",
        "peak memory": "unknown" if math.isnan(row["peak_bytes"]) else f"{row['peak_bytes'] / 1e6:,.0f} MB",
        "of the ceiling": f"{row['share']:.0%} of {row['ceiling_dtype']}",
    }


def ratio(rows: DataFrame, peers: Collection[str]) -> Series:
    """How many times faster than its case's peer each row is; NaN where either has no time."""
    return rows["case"].map(rows[rows["contestant"].isin(peers)].set_index("case")["median"]) / rows["median"]


def _suite_table(rows: DataFrame) -> str:
    mine = rows.sort_values(["model", "batch", "scattered", "lr_height", "height", "dtype"], kind="stable")
    return markdown([_cells(row) for row in mine.assign(ratio=ratio(mine, PUBLIC)).to_dict("records")])


def growth(rows: DataFrame) -> DataFrame:
    """From, step and the factor of the time, where rows differ only in the batch, or by a factor of 4 in queries."""
    good = rows[rows["error"] == ""]
    found = good.merge(good, on=["suite", "model", "lr", "dtype", "scattered", "contestant"], suffixes=("", "_to"))
    batch = (found["output"] == found["output_to"]) & (found["batch_to"] > found["batch"])
    queries = (found["batch"] == found["batch_to"]) & (found["pixels_to"] == 4 * found["pixels"])
    by_batch, by_queries = "batch {batch} to {batch_to}", "queries x 4, to {output_to}"
    found = found.assign(step=batch.map({True: by_batch, False: by_queries}))[batch | queries]
    steps = [row["step"].format_map(row) for row in found.to_dict("records")]
    start = found["contestant"].map(title) + ", " + found["dtype"] + ", " + found["title"]
    return DataFrame({"from": start, "step": steps, "factor": found["median_to"] / found["median"]})


def tables(rows: DataFrame) -> str:
    """All tables of one machine's whole cases: no excerpts, whose time and memory are others."""
    rows = rows[rows["excerpt"] == 0]
    suites = {suite: rows[rows["suite"] == suite] for suite in SUITE_TITLES}
    parts = [f"{SUITE_TITLES[suite]}:\n\n{_suite_table(mine)}" for suite, mine in suites.items() if len(mine)]
    grown = growth(rows)
    if len(grown):
        times = grown.assign(time=grown["factor"].map("x {:.2f}".format)).drop(columns="factor")
        parts.append(f"How time grows:\n\n{markdown(times, right=['time'])}")
    return "\n\n".join(parts)


def compared(rows: DataFrame) -> DataFrame:
    """Excerpts of our backends, with `ratio`, the speedup over the authors' implementation under torch.compile."""
    good = rows[(rows["excerpt"] > 0) & (rows["error"] == "")]
    good = good.assign(ratio=ratio(good, COMPILED))
    return good[good["ratio"].notna() & ~good["contestant"].str.startswith("public")]


def summary(found: DataFrame, where: str) -> str:
    """The range of each backend's speedup in each dtype; `where` links to the page of all of them."""
    sentences = []
    for name, mine in found.groupby("contestant", sort=False):
        figures = mine.groupby("dtype")["ratio"].agg(["min", "max", "median"]).itertuples()
        ranges = ["{1:.2f} x to {2:.2f} x in {0} (median {3:.2f} x)".format(*each) for each in figures]
        sentences.append(
            f"On excerpts of {len(mine)} cases ({where}), the speedup of {title(str(name))} over the {AUTHORS} under "
            f"torch.compile (in half precision also autocast) is {', '.join(ranges)}. The LR map is computed once for "
            "all queries of an image, so it weighs more in an excerpt than in the whole."
        )
    return " ".join(sentences)


def excerpt_table(found: DataFrame) -> str:
    """How many times faster ours is, and its median time; outputs are columns, and random queries have one."""
    cells = [f"{row.ratio:.2f} x ({seconds(row.median)})" for row in found.itertuples()]
    column = found["output"].where(~found["scattered"].astype(bool), "random")
    found = found.assign(cell=cells, column=column, backend=found["contestant"].map(title))
    found = found.rename(columns={"lr": "LR", "batch": "images"})
    lines = ["suite", "model", "LR", "images", "scattered", "dtype", "backend"]
    wide = found.pivot_table(index=lines, columns="column", values="cell", aggfunc="first", sort=False)
    columns = sorted(wide.columns, key=lambda name: (len(name), name))
    return markdown(wide[columns].reset_index().drop(columns="scattered"))


def machine_line(ceilings: Mapping[str, Any]) -> str:
    scaled = {
        name: ("T", rate / 1e12) if rate >= 1e13 else ("G", rate / 1e9) for name, rate in ceilings["flops"].items()
    }
    rates = ", ".join(f"{name} {rate:,.0f} {unit}FLOP/s" for name, (unit, rate) in scaled.items())
    copy = f"{ceilings['bytes_per_second'] / 1e9:,.0f} GB/s"
    return f"On {evidence(ceilings['machine'])}. Ceilings: {rates}; copy {copy}."


def evidence(machine: Mapping[str, Any]) -> str:
    """What was measured on, with which torch, when and at which commit."""
    gpu = f"{machine['gpu']} (driver {machine['driver']}, CUDA {machine['cuda']})" if "gpu" in machine else None
    return f"{gpu or cpu(machine)}, torch {machine['torch']}, {machine['date'][:10]}, commit {machine['commit']}"


def cpu(machine: Mapping[str, Any]) -> str:
    units = "with" if machine["bfloat16_units"] else "without"
    return f"{machine['processor']}, {machine['threads']} threads, {units} bfloat16 units"
