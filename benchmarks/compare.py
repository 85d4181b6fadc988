"""What changed between two files of results, beyond the spread of their samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.results import read_rows
from benchmarks.timing import LEAST

LEAST_CHANGE = 0.03
"""The part by which a median must have moved to be called a change."""


class Change(NamedTuple):
    """One row of both files."""

    name: str
    verdict: str
    """slower, faster, unchanged, failed (only now), mended (only before), unjudged, gone or new."""
    detail: str

    @property
    def worse(self) -> bool:
        return self.verdict in ("slower", "failed")


def compare(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> list[Change]:
    """Every row of either, in the order of `before`, then what is new."""
    names = [*before, *(name for name in after if name not in before)]
    return [_change(name, before.get(name), after.get(name)) for name in names]


def _change(name: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> Change:
    if before is None or after is None:
        return Change(name, "new" if before is None else "gone", "")
    if before.get("error") or after.get("error"):
        if not before.get("error"):
            return Change(name, "failed", after["error"])
        return Change(name, "unchanged" if after.get("error") else "mended", before["error"])
    (low0, median0, high0), (low1, median1, high1) = before["quartiles_s"], after["quartiles_s"]
    detail = f"{median0:.4g} s to {median1:.4g} s ({median1 / median0 - 1:+.1%})"
    apart = low1 > high0 or high1 < low0
    if not apart or abs(median1 / median0 - 1) <= LEAST_CHANGE:
        return Change(name, "unchanged", detail)
    if min(len(row["samples_s"]) for row in (before, after)) < LEAST:
        return Change(name, "unjudged", f"{detail}: fewer than {LEAST} runs show no spread")
    return Change(name, "slower" if median1 > median0 else "faster", detail)


def compare_files(before: Path, after: Path) -> list[Change]:
    """As `compare`; raises ValueError where a file holds no results, or both hold no row in common."""
    first, second = read_rows(before), read_rows(after)
    if not first.keys() & second.keys():
        raise ValueError(f"{before} and {after} have no row in common")
    return compare(first, second)
