"""Where a backend's time goes: operators by their own time, and the matrix products' rate against the ceiling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity

from benchmarks import ceilings
from benchmarks.cases import Case
from benchmarks.contestants import Contestant
from benchmarks.counts import macs
from benchmarks.run import config_of
from benchmarks.session import LocalSession

PRODUCTS = ("mm", "linear", "conv", "gemm")  # operators whose name holds one of these are matrix products
RUNS = 3
ROWS = 15


class Entry(NamedTuple):
    name: str  # of an operator or kernel
    seconds: float  # its own, in one run
    calls: int


def profiled(run: Callable[[int], object], device: torch.device, host: bool = False) -> tuple[Any, list[Entry]]:
    """What torch's profiler averages over RUNS runs, and the entries, the largest first.

    Of operators on a CPU, or with `host` those that call kernels for a GPU; else of a GPU's kernels. `run` takes the
    number of the turn.
    """
    on_device = device.type == "cuda" and not host
    run(0)
    with torch.profiler.profile(activities=[ProfilerActivity.CUDA if on_device else ProfilerActivity.CPU]) as profiler:
        for turn in range(RUNS):
            run(turn)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    found, own = profiler.key_averages(), "self_device_time_total" if on_device else "self_cpu_time_total"
    entries = [Entry(event.key, getattr(event, own) / 1e6 / RUNS, event.count // RUNS) for event in found]
    return found, sorted(entries, key=lambda entry: -entry.seconds)


def products(entries: list[Entry], macs: float, flops: float) -> str:
    """What the matrix products' part of the time and their rate make together."""
    total = sum(entry.seconds for entry in entries)
    seconds = sum(entry.seconds for entry in entries if any(part in entry.name.lower() for part in PRODUCTS))
    part, rate = seconds / total, ceilings.share(macs, seconds, flops) if seconds else 0.0
    return f"matrix products: {part:.1%} of the time at {rate:.1%} of the ceiling, together {part * rate:.1%} of it"


def report(backend: str, dtype: str, device: torch.device, size: tuple[int, int]) -> list[str]:
    """Profile the full model from 64 x 64 to `size` = (height, width)."""
    case = Case("query", "full", (64, 64), size, 1, dtype)
    against, flops = ceilings.ceiling(ceilings.measure(device, only={dtype, "float32"})["flops"], dtype, device.type)
    found, entries = profiled(LocalSession(case, Contestant(backend, dtype, backend), device).time, device)
    head = f"{case.name} {backend}, {RUNS} runs, against {against} at {flops / 1e9:,.0f} GFLOP/s"
    table = found.table(sort_by=f"self_{device.type}_time_total", row_limit=ROWS, max_name_column_width=60)
    return [head, table, products(entries, macs(case, config_of(case.model)), flops)]
