"""The cases under pytest-benchmark, for its statistics and storage: `pytest benchmarks --benchmark-only`."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from benchmarks.cases import Case
from benchmarks.contestants import Contestant
from benchmarks.memory import highest
from benchmarks.session import LocalSession
from benchmarks.timing import repetitions

SHARE_SECONDS = 5.0  # for the repetitions of one case and contestant


def test_speed(case: Case, contestant: Contestant, benchmark: Any, request: pytest.FixtureRequest) -> None:
    session = LocalSession(case, contestant, request.config.getoption("--device"))
    request.addfinalizer(session.close)
    verdicts = benchmark.extra_info["gate"] = session.judge()
    assert all(verdict["ok"] for verdict in verdicts), verdicts
    benchmark.group, turns = case.name, itertools.count()
    samples = [session.time(next(turns))]
    rounds = repetitions(samples[0].seconds, SHARE_SECONDS)
    benchmark.pedantic(lambda: samples.append(session.time(next(turns))), rounds=rounds)
    benchmark.extra_info["peak_bytes"] = highest(sample.peak_bytes for sample in samples)
