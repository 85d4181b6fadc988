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

SHARE_SECONDS = 5.0  # for the repetitions of one case and contestant


def test_speed(case: Case, contestant: Contestant, benchmark: Any, request: pytest.FixtureRequest) -> None:
    session = LocalSession(case, contestant, torch.device(request.config.getoption("--device")))
    try:
        verdicts = benchmark.extra_info["gate"] = session.judge()
        assert all(verdict["ok"] for verdict in verdicts), verdicts
        first = session.time(0)
        peaks, turns = [first.peak_bytes], itertools.count(1)
        benchmark.group = case.name
        benchmark.pedantic(
            lambda: peaks.append(session.time(next(turns)).peak_bytes), rounds=repetitions(first.seconds, SHARE_SECONDS)
        )
        benchmark.extra_info["peak_bytes"] = max((peak for peak in peaks if peak is not None), default=None)
    finally:
        session.close()
