"""The committed runs on a GPU, for its page in docs: verdicts, and the kernels' times beside what was predicted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from benchmarks.tables import markdown
from tools.gpu.files import Run, by_kernel, latest, runs, worst_error
from tools.gpu.plan import HEADLINE, TRAIN_LARGE
from tools.gpu.summary import tools


class Part(NamedTuple):
    """Kernels whose times are added up."""

    title: str
    profile: str
    """Case and contestant."""
    pattern: str
    """Of their names; REST are those that no other part of the profile has, ALL all of them."""
    predicted: str
    """In docs/kernels.md, before it was measured."""


ALL, REST = "", "rest"

CUDA, TRITON = f"{TRAIN_LARGE.name} cuda", f"{TRAIN_LARGE.name} triton"

PARTS = (
    Part("picture, `cuda`: forward", f"{HEADLINE.name} cuda", r"forward90", "5.5 to 7 ms"),
    Part("picture, `triton`: forward", f"{HEADLINE.name} triton", r"^forward$", "13 to 16 ms"),
    Part("training, `cuda`: forward, and again to keep", CUDA, r"forward90", "6 + 8 ms"),
    Part("training, `cuda`: content branch backward", CUDA, r"backward90", "10 ms"),
    Part("training, `cuda`: weights' gradients", CUDA, r"weights90", "6 ms"),
    Part("training, `cuda`: coordinate branch backward", CUDA, r"coordinate90", "5 ms"),
    Part("training, `cuda`: LR map's gradient", CUDA, r"scatter", "1 ms"),
    Part("training, `cuda`: torch's kernels", CUDA, REST, "1.5 ms"),
    Part("training, `cuda`: all", CUDA, ALL, ""),
    Part("training, `triton`: all", TRITON, ALL, ""),
)


def _time(part: Part, run: Run) -> str:
    """What a part took; empty if it was not measured, or there was no such kernel."""
    pattern = part.pattern
    if pattern == REST:
        others = (other.pattern for other in PARTS if other.profile == part.profile)
        pattern = f"^(?!.*({'|'.join(other for other in others if other not in (ALL, REST))}))"
    entries = run.rows.get(f"kernels of {part.profile}", {}).get("kernels", ())
    chosen = [1e3 * entry["seconds"] for entry in entries if re.search(pattern, entry["name"])]
    return f"{sum(chosen):.1f} ms" if chosen else ""


def _times(found: list[Run]) -> str:
    """A row per part, a column per run. A profile has its `profiling.ROWS` longest kernels."""
    measured = [run for run in found if any(name.startswith("kernels of ") for name in run.rows)]
    rows = [
        {"1024 x 1024 queries, bfloat16": part.title, "predicted": part.predicted}
        | {run.commit: _time(part, run) for run in measured}
        for part in PARTS
    ]
    return markdown(rows, list(rows[0])[1:])


def _verdicts(found: list[Run]) -> str:
    """A row per kernel, by each probe's last verdict."""
    probes = latest({name: {**row, "commit": run.commit} for name, row in run.probes.items()} for run in found)
    rows = []
    for kernel, mine in sorted(by_kernel(probes).items()):
        wrong = [probe for probe, row in mine.items() if not row["ok"]]
        right, worst = f"{len(mine) - len(wrong)} of {len(mine)}", f"{worst_error(mine) or 0:.2f}"
        commits = ", ".join(dict.fromkeys(row["commit"] for row in mine.values()))
        cells = {"backend, width, arithmetic": f"`{kernel}`", "right": right, "worst error of its limit": worst}
        rows.append(cells | {"not right": "; ".join(wrong), "commits": commits})
    return markdown(rows, ["right", "worst error of its limit"])


def page(device: Path) -> str:
    """The part of a device's page that is about its runs."""
    found = runs(device)
    probes = (
        "Probes (`tools/kernels/probes.py`), forward and backward, against float64, on memory full of NaN;\n"
        "each by the last run that finished it:\n"
    )
    parts = [
        [probes, _verdicts(found)],
        [f"- {run.commit}, {line.strip()}" for run in found for line in tools(run.folder)],
        ["Kernels' own times, a column a run; predicted in docs/kernels.md before there was one:\n", _times(found)],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)
