"""From `ncu --page source --csv` on standard input: the instructions that stall most, in program order."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator

LEAST = 0.004
"""Part of a kernel's samples below which an instruction is left out."""

SAMPLES = "Warp Stall Sampling (All Samples)"


def stalls(lines: Iterable[str]) -> Iterator[str]:
    """A line per instruction: its part of the samples, its number, the instruction and its two main stall reasons."""
    rows = list(csv.reader(lines))
    head = next((i for i, row in enumerate(rows) if SAMPLES in row), None)
    if head is None:
        yield f"no column {SAMPLES!r} in what ncu printed"
        return
    names = rows[head]
    source, samples = names.index("Source"), names.index(SAMPLES)
    reasons = [i for i, name in enumerate(names) if name.startswith("stall_") and "(" not in name]
    body = [row for row in rows[head + 1 :] if len(row) == len(names) and row[samples].isdecimal()]
    total = sum(int(row[samples]) for row in body) or 1
    yield f"{len(body)} instructions, {total} samples"
    for number, row in enumerate(body):
        part = int(row[samples]) / total
        if part >= LEAST:
            most = sorted(reasons, key=lambda i: -int(row[i] or 0))[:2]
            told = ", ".join(f"{names[i].removeprefix('stall_')} {row[i]}" for i in most)
            yield f"{part:6.2%} {number:6} {row[source].strip():60} {told}"


if __name__ == "__main__":
    print("\n".join(stalls(sys.stdin)))
