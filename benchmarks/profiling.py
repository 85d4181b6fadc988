"""Where a backend's time goes: operators by their own time, and the matrix products' rate against the ceiling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity

from benchmarks import ceilings
from benchmarks.cases import Case
from benchmarks.contestants import Contestant, decoder
from benchmarks.counts import macs
from benchmarks.workload import Workload

PRODUCTS = ("mm", "linear", "conv", "gemm")  # operators whose name holds one of these are matrix products
RUNS = 3
ROWS = 15


class Entry(NamedTuple):
    """An operator's or kernel's own part of a run."""

    name: str
    seconds: float
    calls: int


def averages(run: Callable[[int], object], device: torch.device, host: bool = False) -> tuple[Any, str]:
    """torch's averages by operator (CPU, or with `host` what calls them for a GPU) or kernel (GPU) over RUNS runs, and
    the name of the own time among them. `run` gets the number of the turn, so that it can rotate among inputs."""
    on_device = device.type == "cuda" and not host
    run(0)
    with torch.profiler.profile(activities=[ProfilerActivity.CUDA if on_device else ProfilerActivity.CPU]) as profiler:
        for turn in range(RUNS):
            run(turn)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return profiler.key_averages(), "self_device_time_total" if on_device else "self_cpu_time_total"


def entries(found: Any, own: str) -> list[Entry]:
    """Own times in one run, the largest first."""
    each = [Entry(event.key, getattr(event, own) / 1e6 / RUNS, event.count // RUNS) for event in found]
    return sorted(each, key=lambda entry: -entry.seconds)


def kernels(run: Callable[[int], object], device: torch.device, host: bool = False) -> list[Entry]:
    """`entries` of `averages`."""
    return entries(*averages(run, device, host))


def products(found: list[Entry], macs: float, flops: float) -> str:
    """What the matrix products' part of the time and their rate make together."""
    total = sum(entry.seconds for entry in found)
    seconds = sum(entry.seconds for entry in found if any(part in entry.name.lower() for part in PRODUCTS))
    if not seconds:
        return "no matrix products of torch's"
    return (
        f"matrix products: {seconds / total:.1%} of the time at {ceilings.share(macs, seconds, flops):.1%} of the "
        f"ceiling, together {ceilings.share(macs, total, flops):.1%} of the ceiling"
    )


def report(backend: str, dtype: str, device: torch.device, size: tuple[int, int]) -> list[str]:
    """Profile the full model from 64 x 64 to `size` = (height, width)."""
    case = Case("query", "full", (64, 64), size, 1, dtype)
    against, flops = ceilings.ceiling(ceilings.measure(device, only={dtype, "float32"})["flops"], dtype, device.type)
    work, decode = Workload.of(case, device), decoder(Contestant(backend, dtype, backend), device, training=False)
    with torch.no_grad(), ceilings.precision(dtype):
        found, own = averages(lambda turn: decode(work.sets[turn % len(work.sets)], work.weights), device)
    head = f"{case.name} {backend}, {RUNS} runs, against {against} at {flops / 1e9:,.0f} GFLOP/s"
    table = found.table(sort_by=own, row_limit=ROWS, max_name_column_width=60)
    return [head, table, products(entries(found, own), macs(case, work.config), flops)]
