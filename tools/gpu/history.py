"""Tables of the committed runs on a GPU: what is correct, and the kernels' times next to the predictions."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from arasfsr.query import proven
from benchmarks.tables import markdown
from tools.gpu.files import Rows, Run, by_kernel, latest, runs, worst_error
from tools.gpu.plan import HEADLINE, PROBES, TRAIN_LARGE
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
    Part("1024 x 1024 output, `cuda`: forward", f"{HEADLINE.name} cuda", r"forward90", "5.5 to 7 ms"),
    Part("1024 x 1024 output, `triton`: forward", f"{HEADLINE.name} triton", r"^forward$", "13 to 16 ms"),
    Part("training, `cuda`: forward, and forward that keeps activations", CUDA, r"forward90", "6 + 8 ms"),
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
        {"kernels, bfloat16": part.title, "predicted": part.predicted}
        | {run.commit: _time(part, run) for run in measured}
        for part in PARTS
    ]
    return markdown(rows, list(rows[0])[1:])


def _verdicts(found: list[Run]) -> str:
    """A row for each kernel, with the last verdict of each probe."""
    probes = latest({name: {**row, "commit": run.commit} for name, row in run.probes.items()} for run in found)
    rows = []
    for kernel, mine in sorted(by_kernel(probes).items()):
        wrong = [probe for probe, row in mine.items() if not row["ok"]]
        right, worst = f"{len(mine) - len(wrong)} of {len(mine)}", f"{worst_error(mine) or 0:.2f}"
        commits = ", ".join(dict.fromkeys(row["commit"] for row in mine.values()))
        cells = {"backend, width, dtype": f"`{kernel}`", "correct": right, "largest error / limit": worst}
        rows.append(cells | {"incorrect": "; ".join(wrong), "commits": commits})
    return markdown(rows, ["correct", "largest error / limit"])


def page(device: Path) -> str:
    """The part of a device's page that is about its runs."""
    found = runs(device)
    probes = (
        "Probes (`tools/kernels/probes.py`) compare output and gradients with float64, on memory that was filled with\n"
        "NaN. Each row has the verdicts of the last run that finished the probe:\n"
    )
    parts = [
        [probes, _verdicts(found)],
        [f"- {run.commit}, {line.strip()}" for run in found for line in tools(run.folder)],
        [
            "Times of the kernels in each run, for 1024 x 1024 queries; the predictions were made before the first:\n",
            _times(found),
        ],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def status(results: Path) -> str:
    """A table for each GPU with runs: what is correct on it, how fast, and what `auto` takes."""
    devices = sorted({path.parents[1] for path in results.glob("*/*/probes.json")})
    return "\n\n".join(map(_status, devices)) or "No GPU run is committed yet."


def _status(device: Path) -> str:
    found = runs(device)
    machine = found[-1].rows["machine"]
    probes, suites = latest(run.probes for run in found), latest(run.rows for run in found)
    chosen = proven.of_architecture("sm" + machine["compute_capability"].replace(".", ""))
    rows = []
    for backend, dtype in dict.fromkeys((backend, dtype) for backend, _, dtype in PROBES):
        mine = [row["ok"] for name, row in probes.items() if re.match(rf"{backend} \d+ {dtype}: ", name)]
        cells = {"backend": f"`{backend}`", "dtype": dtype, "probes correct": f"{sum(mine)} of {len(mine)}"}
        cells["speedup over `tiled`"] = _speedup(suites, replace(HEADLINE, dtype=dtype).name, backend)
        first, *others = chosen.get(dtype) or [""]
        taken = "yes" if backend == first else f"without `{first}`" if backend in others else "no"
        rows.append(cells | {"`auto` takes it": taken})
    head = f"{machine['gpu']} (compute capability {machine['compute_capability']}), torch {machine['torch']}"
    return f"{head}, Triton {machine['triton']}:\n\n{markdown(rows, ['probes correct', 'speedup over `tiled`'])}"


def median(row: Mapping[str, Any]) -> float:
    """A row's median; infinite if it failed or is not there."""
    samples = row.get("samples_s")
    return statistics.median(samples) if samples and not row.get("error") else math.inf


def _speedup(suites: Rows, case: str, backend: str) -> str:
    ours, tiled = (median(suites.get(f"{case} {name}", {})) for name in (backend, "tiled"))
    return "not timed" if math.inf in (ours, tiled) else f"{tiled / ours:.1f} x"
