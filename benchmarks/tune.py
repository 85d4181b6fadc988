"""Chooses the cuts of the Triton kernels by measurement on this GPU, and writes them into the kernels' table."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from arasfsr.kernels.configs import MEASURED, Config, Table, key, table

from arasfsr.atomic import replacing
from arasfsr.coords import make_cell
from arasfsr.query.call import Grid, QueryCall
from arasfsr.query.fused import ContentGradients, Kept
from arasfsr.query.operator import arguments_of
from arasfsr.query.triton_launch import TritonLauncher, precision_of
from arasfsr.selfcheck import relative_error
from benchmarks.timing import quartiles, timed
from benchmarks.workload import model_of

GAIN = 0.98
"""A cut takes another's place where it needs at most this part of its time: less is noise."""

RUNS = 9
AGREEMENT = {torch.float32: 2e-3, torch.bfloat16: 3e-2, torch.float16: 4e-3}
"""Relative RMS error beyond which a cut computes something else than the table's own: tf32 and half round anew."""

Measure = Callable[[str, Table], float | None]
"""Seconds of a kernel (forward, backward, weights) with a table's entry; None where it does not compile or is wrong."""

CHOICES: dict[str, tuple[Any, ...]] = {
    "rows": (64, 128),
    "columns": (32, 64, 128, 256),
    "depth": (16, 32, 64, 128),
    "warps": (4, 8),
    "stages": (2, 3, 4),
    "coordinate": tuple(itertools.product((32, 64, 128, 256), (16, 32, 64))),
    "gather": (16, 32, 64),
    "queries": (32, 64, 128),
    "blocks": (1, 2),
}
"""What the parts of an entry may be."""

KERNELS = ("forward", "backward", "weights")
"""Whose own cut is a Config; of the rest the forward tells."""

STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    *((kernel, parts) for kernel in KERNELS for parts in (("columns", "depth"), ("rows", "warps"), ("stages",))),
    *((field, ()) for field in ("coordinate", "gather", "queries", "blocks")),
)
"""What is varied together, in this order: a field of the entry, and of a Config the parts. All at once are many."""

CHUNK = 1 << 15
"""Queries of the backward's chunk."""


def candidates(field: str, parts: tuple[str, ...], cut: Table, width: int) -> Iterator[Table]:
    """Entries that differ from `cut` in a field, or in parts of it, and fit the width and the tile."""
    for values in itertools.product(*(CHOICES[part] for part in parts or (field,))):
        own = getattr(cut, field)
        value = replace(own, **dict(zip(parts, values, strict=True))) if parts else values[0]
        other = replace(cut, **{field: value})
        if other != cut and _fits(other, width):
            yield other


def _fits(cut: Table, width: int) -> bool:
    whole = (cut.gather, *cut.coordinate, cut.forward.columns, cut.forward.depth, cut.backward.columns)
    whole += (cut.backward.depth, cut.weights.rows, cut.weights.columns)
    tiles = (cut.forward.rows, cut.backward.rows)
    return max(whole) <= width and not any(4 * cut.queries % rows for rows in tiles)


def search(cut: Table, width: int, measure: Measure, say: Callable[[str], None]) -> Table:
    """The best entry by one pass over the fields, each with the best of those before it."""
    for field, parts in STEPS:
        kernel = field if field in KERNELS else "forward"
        best = measure(kernel, cut)
        if best is None:
            raise RuntimeError(f"the table's own entry does not run: {kernel}, {cut}")
        for other in list(candidates(field, parts, cut, width)):
            seconds = measure(kernel, other)
            if seconds is not None and seconds < GAIN * best:
                best, cut = seconds, other
        say(f"{kernel}, {' and '.join(parts) or field}: {best * 1e3:.3f} ms with {getattr(cut, field)}")
    return cut


class Problem:
    """One picture of the paper's size to decode, and a chunk of its backward."""

    def __init__(self, dtype: torch.dtype, side: int, device: torch.device) -> None:
        model = model_of("full").to(device)
        features = torch.randn(1, model.config.feature_channels, side, side, device=device)
        size = (8 * side, 8 * side)
        grid, cell = Grid(size, (0, 0, *size)), make_cell(size, device).view(1, 1, 2)
        call = QueryCall(features, None, None, cell, grid, model.decoder.weights(), dtype)
        with torch.no_grad():
            self._given = arguments_of(call)
            self._grad = torch.randn(1, call.queries, 3, device=device)
            own = TritonLauncher(self._given)
        self.cut, self.width, self.device = own.table, own.width, device
        self._expected: dict[str, torch.Tensor] = {}
        self._agreement = AGREEMENT[dtype]

    def _of_own_entry(self, kernel: str) -> torch.Tensor:
        if kernel not in self._expected:
            self._expected[kernel] = self._run(kernel, self.cut)()
        return self._expected[kernel]

    def _run(self, kernel: str, cut: Table) -> Callable[[], torch.Tensor]:
        launcher = TritonLauncher(self._given)
        launcher.table = cut
        if kernel == "forward":
            return launcher.render
        kept: Kept = launcher.keep(0, CHUNK)
        if kernel == "backward":
            return lambda: launcher.content_gradients(kept, self._grad, need_share=False).z
        found: ContentGradients = launcher.content_gradients(kept, self._grad, need_share=False)
        weights, biases = launcher.weight_sums()

        def run() -> torch.Tensor:
            launcher.add_weight_gradients(weights.zero_(), biases, kept, found)
            return weights.sum(0)

        return run

    def measure(self, kernel: str, cut: Table) -> float | None:
        """Seconds of a kernel, the median of RUNS; None where it does not compile or computes something else."""
        from triton.errors import TritonError

        try:
            with torch.no_grad():
                run = self._run(kernel, cut)
                if not relative_error(run(), self._of_own_entry(kernel)) <= self._agreement:  # nor is a NaN right
                    return None
                return quartiles([timed(run, self.device) for _ in range(RUNS)]).median
        except TritonError:  # too many registers or too much shared memory: that cut is none for this GPU
            return None


_DEEP = Config(rows=128, columns=256, depth=64, warps=8, stages=2)
_PAIRS = Config(rows=64, columns=256, depth=32, warps=4, stages=2)

LISTED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("forward", {}),
    ("forward", {"queries": 128}),
    ("forward", {"queries": 128, "coordinate": (128, 64)}),
    ("forward", {"forward": _DEEP}),
    ("forward", {"forward": _DEEP, "gather": 32}),
    ("forward", {"forward": _DEEP, "coordinate": (128, 64)}),
    ("forward", {"forward": _DEEP, "queries": 128}),
    ("forward", {"forward": _DEEP, "queries": 128, "gather": 32}),
    ("forward", {"forward": _DEEP, "queries": 128, "coordinate": (128, 64)}),
    ("forward", {"forward": _PAIRS, "blocks": 2}),
    ("forward", {"forward": _PAIRS, "blocks": 2, "gather": 32}),
    ("forward", {"forward": _PAIRS, "blocks": 2, "coordinate": (64, 64)}),
    ("forward", {"forward": replace(_PAIRS, depth=64)}),
    ("backward", {}),
    ("backward", {"backward": Config(rows=64, columns=64, depth=64, warps=4, stages=3)}),
    ("weights", {}),
    ("weights", {"weights": Config(rows=128, columns=128, depth=128, warps=8, stages=2)}),
)
"""Kernels and what is other than in their own entry: what compiles for compute capability 9.0 in 16 bits at width 256
without a spill, few enough for minutes. The first of each kernel is its own entry."""


def best_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """An entry of the table, of rows of `try_candidate`: each kernel's own cut, or one that takes GAIN of its time."""
    chosen: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        before = chosen.get(row["kernel"])
        if row["seconds"] is not None and (before is None or row["seconds"] < GAIN * before["seconds"]):
            chosen[row["kernel"]] = row
    entry = dict(chosen["forward"]["cut"])
    return entry | {kernel: chosen[kernel]["cut"][kernel] for kernel in KERNELS if kernel in chosen}


def try_candidate(problem: Problem, number: int) -> tuple[str, dict[str, Any]]:
    """Time the candidate of that number in LISTED: its name, and its cut with its seconds or why there are none."""
    kernel, changes = LISTED[number]
    cut = replace(problem.cut, **changes)
    seconds = problem.measure(kernel, cut)
    told = None if seconds is not None else "it does not compile, or computes something else"
    name = ", ".join([kernel, *(f"{field} {_brief(value)}" for field, value in changes.items())])
    return name, {"kernel": kernel, "cut": asdict(cut), "seconds": seconds, "error": told}


def _brief(value: Any) -> str:
    if isinstance(value, Config):
        return f"{value.rows} x {value.columns} x {value.depth} of {value.warps} warps in {value.stages} stages"
    return " x ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def tune(
    dtypes: tuple[torch.dtype, ...] = (torch.bfloat16, torch.float16, torch.float32),
    side: int = 128,
    path: Path = MEASURED,
    say: Callable[[str], None] = print,
) -> None:
    """Search for each dtype on the current CUDA device and write each entry as soon as it is found."""
    device = torch.device("cuda", torch.cuda.current_device())
    capability = torch.cuda.get_device_capability(device)
    for dtype in dtypes:
        problem = Problem(dtype, side, device)
        precision = precision_of(dtype)
        name = key(capability, problem.width, dtype, precision)
        start = table(capability, problem.width, dtype, precision)
        say(f"{name}: from {start}")
        write(path, name, search(start, problem.width, problem.measure, say))


def write(path: Path, name: str, cut: Table) -> None:
    """Put an entry into the table's file, beside those that are there."""
    write_entry(path, name, asdict(cut))


def write_entry(path: Path, name: str, entry: dict[str, Any]) -> None:
    """Likewise an entry as the file has it."""
    entries = {**json.loads(path.read_text()), name: entry}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n")
