"""What changed between two files of results, beyond the spread of their samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pandas import DataFrame

from benchmarks.results import read_rows
from benchmarks.timing import LEAST

LEAST_CHANGE = 0.03  # the part by which a median must have moved to be called a change
WORSE = ("slower", "failed")


def compare(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> DataFrame:
    """Every row of either, in the order of `before`, then what is new: name, verdict and detail.

    Verdicts are slower, faster, unchanged, failed (only now), mended (only before), unjudged, gone and new.
    """
    first, second = _frame(before), _frame(after)
    both = first.merge(second, on="name", how="outer", suffixes=("_before", "_after"), indicator="found")
    both = both.set_index("name").loc[list(dict.fromkeys([*before, *after]))].reset_index()
    moved = both["median_after"] / both["median_before"] - 1
    apart = (both["low_after"] > both["high_before"]) | (both["high_after"] < both["low_before"])
    failed, mended = both["error_after"].notna(), both["error_before"].notna()
    verdicts = {
        "gone": both["found"] == "left_only",
        "new": both["found"] == "right_only",
        "failed": failed & ~mended,
        "mended": mended & ~failed,
        "unchanged": failed | ~apart | (moved.abs() <= LEAST_CHANGE),
        "unjudged": both[["runs_before", "runs_after"]].min(axis=1) < LEAST,
        "slower": moved > 0,
    }
    both["verdict"] = np.select(list(verdicts.values()), list(verdicts), "faster")
    both["detail"] = [_detail(row) for row in both.assign(moved=moved).to_dict("records")]
    return both[["name", "verdict", "detail"]]


def _frame(rows: Mapping[str, Mapping[str, Any]]) -> DataFrame:
    def each() -> Iterable[list[Any]]:
        for name, row in rows.items():
            error = row.get("error") or None
            timed = [np.nan] * 4 if error else [*row["quartiles_s"], len(row["samples_s"])]
            yield [name, error, *timed]

    return DataFrame(list(each()), columns=["name", "error", "low", "median", "high", "runs"])


def _detail(row: Mapping[str, Any]) -> str:
    if row["verdict"] in ("gone", "new"):
        return ""
    errors = [row[key] for key in ("error_before", "error_after") if isinstance(row[key], str)]
    if errors:
        return str(errors[0])
    times = f"{row['median_before']:.4g} s to {row['median_after']:.4g} s ({row['moved']:+.1%})"
    return times if row["verdict"] != "unjudged" else f"{times}: fewer than {LEAST} runs show no spread"


def compare_files(before: Path, after: Path) -> DataFrame:
    """As `compare`; raises ValueError where a file holds no results, or both hold no row in common."""
    first, second = read_rows(before), read_rows(after)
    if not first.keys() & second.keys():
        raise ValueError(f"{before} and {after} have no row in common")
    return compare(first, second)
