"""The committed runs on a GPU: what was right, and what the kernels took beside what was predicted, for its page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu.folders import by_kernel, latest, runs, shares
from benchmarks.gpu.plan import HEADLINE, TRAIN_LARGE
from benchmarks.gpu.summary import sanitized, tested
from benchmarks.gpu.worker import case_of
from benchmarks.tables import table_row

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


def times(folder: Path) -> Iterator[str]:
    """Lines: a row a part, a column a run; the largest kernels of each case are counted, `profiling.ROWS` of them."""
    measured = [run for run in runs(folder) if any(name.startswith("kernels of ") for name in run.rows)]
    yield table_row(["1024 x 1024 queries, bfloat16", "predicted", *(run.commit for run in measured)])
    yield table_row(["---", "---:", *["---:"] * len(measured)])
    for part in PARTS:
        yield table_row([part.title, part.predicted, *(milliseconds(part, run.rows) for run in measured)])


def verdicts(folder: Path) -> Iterator[str]:
    """Lines: a row a kernel, by each probe's last verdict; what was begun and did not end has none."""
    found = latest({name: {**row, "commit": run.commit} for name, row in run.probes.items()} for run in runs(folder))
    yield table_row(["backend, width, arithmetic", "right", "worst error of its limit", "not right", "commits"])
    yield table_row(["---", "---:", "---:", "---", "---"])
    for kernel, probes in sorted(by_kernel(found).items()):
        wrong = [probe for probe, row in probes.items() if not row["ok"]]
        right = f"{len(probes) - len(wrong)} of {len(probes)}"
        commits = ", ".join(dict.fromkeys(row["commit"] for row in probes.values()))
        yield table_row([f"`{kernel}`", right, f"{max(shares(probes), default=0):.2f}", "; ".join(wrong), commits])


def tools(folder: Path) -> Iterator[str]:
    """Lines: what sanitizers and the GPU tests said in each run, where they ran."""
    for run in runs(folder):
        yield from (f"- {run.commit}, {line.strip()}" for line in (*sanitized(run.folder), *tested(run.folder)))


def page(folder: Path) -> str:
    """A device's part of its page that goes through its runs."""
    parts = [
        [
            "Probes (`benchmarks/gpu/probes.py`), forward and backward, against float64, on memory full of NaN;",
            "each by the last run that finished it:",
            "",
            *verdicts(folder),
        ],
        [*tools(folder)],
        ["Kernels' own times, a column a run; predicted in docs/kernels.md before there was one:", "", *times(folder)],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)
