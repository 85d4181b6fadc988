"""Seconds of a run, quartiles of several, and how many runs a time allows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

LEAST, LEAST_SECONDS = 3, 60.0  # runs of whatever takes under a minute for all of them; slower ones get at least one
MOST = 15  # more runs tell nothing new of one process


class Quartiles(NamedTuple):
    low: float
    median: float
    high: float


def quartiles(samples: list[float]) -> Quartiles:
    """By linear interpolation between order statistics, the extremes included. Raises ValueError without samples."""
    return Quartiles(*statistics.quantiles(samples * 2 if len(samples) == 1 else samples, n=4, method="inclusive"))


def repetitions(seconds: float, share: float) -> int:
    """How many runs of `seconds` each to take where `share` seconds are theirs."""
    least = LEAST if LEAST * seconds < LEAST_SECONDS else 1
    return max(least, min(MOST, int(share / max(seconds, 1e-9))))


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one run: between two events on a GPU's current stream, by the clock on a CPU.

    torch.utils.benchmark.Timer runs a statement twice before it measures, too long for runs of minutes, and returns
    means of blocks, where a ceiling is the best of single runs.
    """
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
