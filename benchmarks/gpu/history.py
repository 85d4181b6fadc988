"""What the kernels took in each committed run on a GPU, beside what was predicted: a table of its page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu.folders import SUITES, read
from benchmarks.gpu.plan import HEADLINE, TRAIN_LARGE
from benchmarks.gpu.worker import case_of
from benchmarks.suite_tables import table_row

PICTURE, TRAINING = case_of(HEADLINE).name, case_of(TRAIN_LARGE).name


class Part(NamedTuple):
    """Kernels whose times are added up."""

    title: str
    case: str
    """With the contestant."""
    pattern: str
    """Of their names; "" is what no other part of the case has taken, "total" all of them."""
    predicted: str
    """In docs/kernels.md, before it was measured."""


PARTS = (
    Part("picture, `cuda`: forward", f"{PICTURE} cuda", r"forward90", "5.5 to 7 ms"),
    Part("picture, `triton`: forward", f"{PICTURE} triton", r"^forward$", "13 to 16 ms"),
    Part("training, `cuda`: forward, and again to keep", f"{TRAINING} cuda", r"forward90", "6 + 8 ms"),
    Part("training, `cuda`: content branch backward", f"{TRAINING} cuda", r"backward90", "10 ms"),
    Part("training, `cuda`: weights' gradients", f"{TRAINING} cuda", r"weights90", "6 ms"),
    Part("training, `cuda`: coordinate branch backward", f"{TRAINING} cuda", r"coordinate90", "5 ms"),
    Part("training, `cuda`: LR map's gradient", f"{TRAINING} cuda", r"scatter", "1 ms"),
    Part("training, `cuda`: torch's kernels", f"{TRAINING} cuda", "", "1.5 ms"),
    Part("training, `cuda`: all", f"{TRAINING} cuda", "total", ""),
    Part("training, `triton`: all", f"{TRAINING} triton", "total", ""),
)


def runs(folder: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """Commit and rows of every run of a device in which kernels were timed, the first one first."""
    found = [read(path.parent) for path in folder.glob(f"*/{SUITES}")]
    found = [rows for rows in found if any(name.startswith("kernels of ") for name in rows)]
    return [(rows["machine"]["commit"], rows) for rows in sorted(found, key=lambda rows: str(rows["machine"]["date"]))]


def milliseconds(part: Part, rows: Mapping[str, Any]) -> str:
    """What a part took in a run; empty where it was not measured, or had no such kernel."""
    found = rows.get(f"kernels of {part.case}")
    if found is None:
        return ""
    entries = [(entry["name"], 1e3 * entry["seconds"]) for entry in found["kernels"]]
    if part.pattern:
        chosen = [time for name, time in entries if part.pattern == "total" or re.search(part.pattern, name)]
    else:
        others = [other.pattern for other in PARTS if other.case == part.case and other.pattern not in ("", "total")]
        chosen = [time for name, time in entries if not any(re.search(pattern, name) for pattern in others)]
    return f"{sum(chosen):.1f} ms" if chosen else ""


def table(folder: Path) -> Iterator[str]:
    """Lines: a row a part, a column a run; the largest kernels of each case are counted, `profiling.ROWS` of them."""
    measured = runs(folder)
    yield table_row(["1024 x 1024 queries, bfloat16", "predicted", *(commit for commit, _ in measured)])
    yield table_row(["---", "---:", *["---:"] * len(measured)])
    for part in PARTS:
        yield table_row([part.title, part.predicted, *(milliseconds(part, rows) for _, rows in measured)])
