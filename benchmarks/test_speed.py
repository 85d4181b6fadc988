"""The cases under pytest-benchmark, for its statistics and storage: `pytest benchmarks --benchmark-only`."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from benchmarks.cases import Case
from benchmarks.contestants import Contestant
from benchmarks.session import LocalSession
from benchmarks.timing import repetitions

SHARE_SECONDS = 5.0
"""For the repetitions of one case and contestant."""


def test_speed(case: Case, contestant: Contestant, benchmark: Any, request: pytest.FixtureRequest) -> None:
    session = LocalSession(case, contestant, torch.device(request.config.getoption("--device")))
    try:
        verdicts = session.judge()
        benchmark.extra_info["gate"] = verdicts
        assert all(verdict["ok"] for verdict in verdicts), verdicts
        first = session.time(0)
        turns = itertools.count(1)
        peaks: list[int | None] = [first.peak_bytes]

        def run() -> None:
            peaks.append(session.time(next(turns)).peak_bytes)

        benchmark.group = case.name
        benchmark.pedantic(run, rounds=repetitions(first.seconds, SHARE_SECONDS))
        benchmark.extra_info["peak_bytes"] = max((peak for peak in peaks if peak is not None), default=None)
    finally:
        session.close()
