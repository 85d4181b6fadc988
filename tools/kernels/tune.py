"""Chooses the cuts of the Triton kernels by measurement on this GPU, and writes them into the kernels' table."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from arasfsr.kernels.configs import MEASURED, Config, Table, key, table
from arasfsr.query.call import Grid, Queries, QueryCall
from arasfsr.query.fused.triton_launch import TritonLauncher, precision_of
from arasfsr.query.operator import problem_of
from benchmarks.cases import Case
from benchmarks.ceilings import TORCH_DTYPES, precision
from benchmarks.contestants import Contestant
from benchmarks.results import load, write_text
from benchmarks.session import LocalSession, one_line
from benchmarks.timing import quartiles, timed
from benchmarks.workload import Workload

GAIN = 0.98  # a cut takes another's place where it needs at most this part of its time: less is noise
RUNS = 9
SIDE = 128  # of the LR picture; 8 times as large is decoded
CHUNK = (256, 256)  # queries of the backward's chunk

KERNELS = ("forward", "backward", "weights")  # whose own cut is a Config; of the rest the forward tells
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
STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    *((kernel, parts) for kernel in KERNELS for parts in (("columns", "depth"), ("rows", "warps"), ("stages",))),
    *((field, ()) for field in ("coordinate", "gather", "queries", "blocks")),
)
"""What is varied together, in this order: a field of the entry, or parts of a Config; all at once would be too many."""


def candidates(field: str, parts: tuple[str, ...], cut: Table, width: int) -> Iterator[Table]:
    """Entries that differ from `cut` in a field, or in parts of it, and fit the width and the tile."""
    own = getattr(cut, field)
    for values in itertools.product(*(CHOICES[part] for part in parts or (field,))):
        value = replace(own, **dict(zip(parts, values, strict=True))) if parts else values[0]
        other = replace(cut, **{field: value})
        forward, backward, weights = other.forward, other.backward, other.weights
        sides = [forward.columns, forward.depth, backward.columns, backward.depth, weights.rows, weights.columns]
        whole = max(*sides, other.gather, *other.coordinate) <= width
        if other != cut and whole and 4 * other.queries % max(forward.rows, backward.rows) == 0:
            yield other


def search(cut: Table, width: int, measure: Callable[[str, Table], float | None], say: Callable[[str], None]) -> Table:
    """The best entry by one pass over the fields, each with the best of those before it.

    `measure` gives the seconds of a kernel with an entry, None where it does not compile or is wrong.
    """
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
    """For the forward a picture of the paper's size to decode, for the rest a training step over a chunk of queries."""

    def __init__(self, dtype: str, device: torch.device, side: int = SIDE) -> None:
        picture = Case("query", "full", (side, side), (8 * side, 8 * side), 1, dtype)
        training = replace(picture, suite="train", output=CHUNK)
        self._cases = {"forward": picture, "backward": training, "weights": training}
        self._device = device
        own = self._launcher("forward")
        self.cut, self.width = own.table, own.padded

    @torch.no_grad()
    def _launcher(self, kernel: str) -> TritonLauncher:
        case = self._cases[kernel]
        work = Workload.of(case, self._device)
        inputs, dtype = work.sets[0], TORCH_DTYPES[case.dtype]
        grid = Grid(inputs.grid, case.region) if inputs.grid else None
        coord, cell = (None, None) if grid else (inputs.coord, inputs.cell)
        with precision(case.dtype):
            call = QueryCall(inputs.features, inputs.image, Queries(coord, grid), cell, work.weights, dtype)
            return TritonLauncher(problem_of(call))

    def judge(self, kernel: str, cut: Table) -> str | None:
        """What is wrong with an entry of the table, or None: what it computes is compared with float64 `reference`."""
        from triton.errors import TritonError

        case = self._cases[kernel]
        try:
            with mock.patch("arasfsr.query.fused.triton_launch.table", return_value=cut):
                verdicts = LocalSession(case, Contestant("triton", case.dtype, "triton"), self._device).judge()
        except TritonError as error:  # too many registers or too much shared memory: this GPU cannot run that cut
            return one_line(error)
        for verdict in verdicts:
            if not verdict["error"] <= verdict["limit"]:  # nor is a NaN right
                return f"{verdict['quantity']} errs by {verdict['error']:.2e}, limit {verdict['limit']:.2e}"
        return None

    def _run(self, kernel: str, cut: Table) -> Callable[[], object]:
        launcher = self._launcher(kernel)
        launcher.table = cut
        if kernel == "forward":
            out = launcher.new_output()
            return lambda: launcher.render(out)
        kept = launcher.new_kept(0, launcher.problem.count)
        launcher.keep(kept)
        grad = torch.randn(1, launcher.problem.count, 3, device=self._device)
        gradients = launcher.new_gradients(kept, need_share=False)
        if kernel == "backward":
            return lambda: launcher.content_gradients(kept, grad, gradients)
        launcher.content_gradients(kept, grad, gradients)
        weights, biases = launcher.weight_sums()
        return lambda: launcher.add_weight_gradients(weights, biases, kept, gradients)

    def time(self, kernel: str, cut: Table) -> float:
        """Seconds of a kernel, the median of RUNS."""
        with torch.no_grad(), precision(self._cases[kernel].dtype):
            run = self._run(kernel, cut)
            run()
            return quartiles([timed(run, self._device) for _ in range(RUNS)]).median

    def measure(self, kernel: str, cut: Table) -> float | None:
        """Seconds of a kernel; None where it does not compile or is wrong."""
        return None if self.judge(kernel, cut) else self.time(kernel, cut)


_DEEP = {"forward": Config(rows=128, columns=256, depth=64, warps=8, stages=2)}
_PAIRS = {"forward": Config(rows=64, columns=256, depth=32, warps=4, stages=2), "blocks": 2}
_OUTER: dict[str, Any] = {"queries": 128, "coordinate": (128, 64)}

LISTED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("forward", {}),
    ("forward", {"queries": 128}),
    ("forward", _OUTER),
    ("forward", _DEEP),
    ("forward", {**_DEEP, "gather": 32}),
    ("forward", {**_DEEP, "coordinate": (128, 64)}),
    ("forward", {**_DEEP, "queries": 128}),
    ("forward", {**_DEEP, "queries": 128, "gather": 32}),
    ("forward", {**_DEEP, **_OUTER}),
    ("forward", _PAIRS),
    ("forward", {**_PAIRS, "gather": 32}),
    ("forward", {**_PAIRS, "coordinate": (64, 64)}),
    ("forward", {"forward": Config(rows=64, columns=256, depth=64, warps=4, stages=2)}),
    ("backward", {}),
    ("backward", {"backward": Config(rows=64, columns=64, depth=64, warps=4, stages=3)}),
    ("weights", {}),
    ("weights", {"weights": Config(rows=128, columns=128, depth=128, warps=8, stages=2)}),
)
"""Kernels and how each candidate differs from the table's entry: what compiles for compute capability 9.0 in 16 bits
at width 256 without a spill, few enough for minutes. The first of each kernel is the entry itself."""


def best_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A table's entry, of rows of `timed_candidate`: each kernel's own cut, or one that takes GAIN of its time."""
    chosen: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        before = chosen.get(row["kernel"])
        if row["seconds"] is not None and (before is None or row["seconds"] < GAIN * before["seconds"]):
            chosen[row["kernel"]] = row
    if "forward" not in chosen:
        raise ValueError("no cut of the forward was right and timed")
    return {**chosen["forward"]["cut"], **{kernel: row["cut"][kernel] for kernel, row in chosen.items()}}


def judged(problem: Problem, number: int) -> tuple[str, dict[str, Any]]:
    """Judge the candidate of that number in LISTED: its name, and its row."""
    kernel, changes = LISTED[number]
    cut = replace(problem.cut, **changes)
    name = ", ".join([kernel, *(f"{field} {_brief(value)}" for field, value in changes.items())])
    return name, {"kernel": kernel, "cut": asdict(cut), "seconds": None, "error": problem.judge(kernel, cut)}


def timed_candidate(problem: Problem, number: int, row: dict[str, Any]) -> dict[str, Any]:
    """The row of a candidate that was judged, with its seconds where it is right."""
    kernel, changes = LISTED[number]
    return row if row["error"] else {**row, "seconds": problem.time(kernel, replace(problem.cut, **changes))}


def _brief(value: Any) -> str:
    if isinstance(value, Config):
        return f"{value.rows} x {value.columns} x {value.depth} of {value.warps} warps in {value.stages} stages"
    return " x ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def tune(
    dtypes: tuple[str, ...] = ("bfloat16", "float16", "float32"),
    side: int = SIDE,
    path: Path = MEASURED,
    say: Callable[[str], None] = print,
) -> None:
    """Search for each dtype on the current CUDA device and write each entry as soon as it is found."""
    device = torch.device("cuda", torch.cuda.current_device())
    for dtype in dtypes:
        problem = Problem(dtype, device, side)
        which = torch.cuda.get_device_capability(device), problem.width, TORCH_DTYPES[dtype]
        how = precision_of(TORCH_DTYPES[dtype])
        say(f"{key(*which, how)}: from {table(*which, how)}")
        write_entry(path, key(*which, how), asdict(search(table(*which, how), problem.width, problem.measure, say)))


def write_entry(path: Path, name: str, entry: dict[str, Any]) -> None:
    """Put an entry into the table's file, which is made where it is missing."""
    entries = {**(load(path) if path.is_file() else {}), name: entry}
    write_text(path, json.dumps(entries, indent=1, sort_keys=True) + "\n")
