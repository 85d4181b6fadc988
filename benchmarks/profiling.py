"""Where a backend's time goes: operators by their own time, and the matrix products' rate against the ceiling."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch.profiler import ProfilerActivity

from benchmarks import ceilings
from benchmarks.cases import Case
from benchmarks.contestants import Contestant, decoder
from benchmarks.workload import Workload

PRODUCTS = ("mm", "linear", "conv", "gemm")
"""Operators whose name holds one of these are matrix products."""

RUNS = 3
ROWS = 15


class Entry(NamedTuple):
    """An operator's or kernel's own part of a run."""

    name: str
    seconds: float
    calls: int


dtypes = ceilings.dtypes


def is_product(name: str) -> bool:
    """Whether an operator of that name multiplies matrices."""
    return any(part in name.lower() for part in PRODUCTS)


def kernels(run: Callable[[int], object], device: torch.device, host: bool = False) -> list[Entry]:
    """Own time of every operator (CPU, or with `host` what calls them for a GPU) or kernel (GPU) in one run, largest
    first, the mean of a few.

    `run` gets the number of the turn, so that it can rotate among inputs.
    """
    on_device = device.type == "cuda" and not host
    activities = [ProfilerActivity.CUDA if on_device else ProfilerActivity.CPU]
    run(0)
    with torch.profiler.profile(activities=activities) as profiler:
        for turn in range(RUNS):
            run(turn)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    own = "self_device_time_total" if on_device else "self_cpu_time_total"
    entries = [
        Entry(event.key, getattr(event, own) / 1e6 / RUNS, event.count // RUNS) for event in profiler.key_averages()
    ]
    return sorted(entries, key=lambda entry: -entry.seconds)


def measure(backend: str, case: Case, device: torch.device) -> tuple[Workload, list[Entry]]:
    """The operators or kernels of one run of a case by a backend of ours."""
    work = Workload.of(case, device)
    decode = decoder(Contestant(backend, case.dtype, backend), device, training=False)
    with torch.no_grad(), ceilings.precision(case.dtype):
        return work, kernels(lambda turn: decode(work.sets[turn % len(work.sets)], work.weights), device)


def table(entries: Iterable[Entry], macs: float, flops: float) -> list[str]:
    """Lines: each operator's part of the time, then what the products' part and their rate make together."""
    entries = list(entries)
    total = sum(entry.seconds for entry in entries)
    products = sum(entry.seconds for entry in entries if is_product(entry.name))
    lines = [f"{'seconds':>10} {'part':>6} {'calls':>7}  operator"]
    lines += [f"{e.seconds:10.4f} {e.seconds / total:6.1%} {e.calls:7}  {e.name[:80]}" for e in entries[:ROWS]]
    rest = sum(entry.seconds for entry in entries[ROWS:])
    lines.append(f"{rest:10.4f} {rest / total:6.1%} {'':7}  all others")
    if products:
        rate = ceilings.share(macs, products, flops)
        lines.append(
            f"matrix products: {products / total:.1%} of the time at {rate:.1%} of the ceiling, "
            f"together {ceilings.share(macs, total, flops):.1%} of the ceiling"
        )
    return lines


def report(backend: str, dtype: str, device: torch.device, size: tuple[int, int]) -> list[str]:
    """Profile the full model from 64 x 64 to `size` = (height, width)."""
    case = Case("query", "full", (64, 64), size, 1, dtype)
    rates = ceilings.measure(device, only={dtype, "float32"})["flops"]
    against, flops = ceilings.ceiling(rates, dtype, device.type)
    work, entries = measure(backend, case, device)
    head = f"{case.name} {backend}, against {against} at {flops / 1e9:,.0f} GFLOP/s"
    return [head, *table(entries, case.macs(work.config), flops)]
