"""Timing: interleaved samples, quartiles, repetitions that adapt to how long a run takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

LEAST = 3
"""Repetitions of whatever takes under LEAST_SECONDS for all of them; slower runs get at least one."""

LEAST_SECONDS = 60.0
MOST = 15
"""More repetitions tell nothing new of one process."""


class Quartiles(NamedTuple):
    """First quartile, median and third quartile, in the samples' unit."""

    low: float
    median: float
    high: float


def quartiles(samples: list[float]) -> Quartiles:
    """Quartiles by linear interpolation between order statistics, the extremes included; of one sample, that one.

    Raises ValueError of no samples.
    """
    if not samples:
        raise ValueError("samples is empty; quartiles take at least one")
    if len(samples) == 1:
        return Quartiles(samples[0], samples[0], samples[0])
    return Quartiles(*statistics.quantiles(samples, n=4, method="inclusive"))


def repetitions(seconds: float, share: float) -> int:
    """How many runs of `seconds` each to take where `share` seconds are theirs."""
    least = LEAST if LEAST * seconds < LEAST_SECONDS else 1
    return max(least, min(MOST, int(share / max(seconds, 1e-9))))


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one run: between two events on a GPU's current stream, by the clock on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize(device)
        return float(start.elapsed_time(end)) / 1000
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def interleave(
    contestants: Mapping[str, Callable[[], object]], rounds: int, device: torch.device | None = None
) -> dict[str, list[float]]:
    """Seconds of each contestant's runs, taken in turn (A B A B) after one warm-up each."""
    device = device or torch.device("cpu")
    for run in contestants.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            seconds[name].append(timed(run, device))
    return seconds
