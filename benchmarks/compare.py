"""What changed between two files of results, beyond the spread of their samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.results import read_rows
from benchmarks.timing import LEAST

LEAST_CHANGE = 0.03  # the part by which a median must have moved to be called a change

Row = Mapping[str, Any]


class Change(NamedTuple):
    name: str
    verdict: str  # slower, faster, unchanged, failed (only now), mended (only before), unjudged, gone or new
    detail: str = ""

    @property
    def worse(self) -> bool:
        return self.verdict in ("slower", "failed")


def _change(name: str, before: Row | None, after: Row | None) -> Change:
    if before is None or after is None:
        return Change(name, "new" if before is None else "gone")
    failed, failing = before.get("error"), after.get("error")
    if failed or failing:
        verdict = "unchanged" if failed and failing else "mended" if failed else "failed"
        return Change(name, verdict, str(failed or failing))
    (low0, median0, high0), (low1, median1, high1) = before["quartiles_s"], after["quartiles_s"]
    moved = median1 / median0 - 1
    detail = f"{median0:.4g} s to {median1:.4g} s ({moved:+.1%})"
    if (low0 <= high1 and low1 <= high0) or abs(moved) <= LEAST_CHANGE:
        return Change(name, "unchanged", detail)
    if min(len(row["samples_s"]) for row in (before, after)) < LEAST:
        return Change(name, "unjudged", f"{detail}: fewer than {LEAST} runs show no spread")
    return Change(name, "slower" if moved > 0 else "faster", detail)


def compare_files(before: Path, after: Path) -> list[Change]:
    """As `compare`; raises ValueError where a file holds no results, or both hold no row in common."""
    first, second = read_rows(before), read_rows(after)
    if not first.keys() & second.keys():
        raise ValueError(f"{before} and {after} have no row in common")
    return compare(first, second)


def compare(before: Mapping[str, Row], after: Mapping[str, Row]) -> list[Change]:
    """Every row of either, in the order of `before`, then what is new."""
    return [_change(name, before.get(name), after.get(name)) for name in {**before, **after}]
