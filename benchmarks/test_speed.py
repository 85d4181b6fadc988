"""The cases under pytest-benchmark, for its statistics and storage: `pytest benchmarks --benchmark-only`."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from arasfsr.commands.options import choose_device
from benchmarks.cases import Case, registry
from benchmarks.ceilings import dtypes
from benchmarks.contestants import Contestant, contestants
from benchmarks.memory import highest
from benchmarks.session import LocalSession
from benchmarks.timing import repetitions

SHARE_SECONDS = 5.0  # for the repetitions of one case and contestant


QUERY, TRAIN = "query/tiny/64x64/256x256/b1/", "train/tiny/48x48/2304-random/b16/"
DEFAULT = (f"{QUERY}float32", f"{QUERY}bfloat16", f"{TRAIN}float32")  # a minute or two together on two CPU cores


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every wanted case with each of its contestants."""
    if "contestant" in metafunc.fixturenames:
        option = metafunc.config.getoption
        device, wanted = choose_device(option("--device")), option("--case")
        pairs = [
            pytest.param(case, each, id=f"{case.name} {each.name}")
            for case in registry()
            if case.dtype in dtypes(device)
            and (any(part in case.name for part in wanted) if wanted else case.name in DEFAULT)
            for each in contestants(case.dtype, device)
            if option("--with-compile") or not each.compiled
        ]
        metafunc.parametrize(("case", "contestant"), pairs)


def test_speed(case: Case, contestant: Contestant, benchmark: Any, request: pytest.FixtureRequest) -> None:
    session = LocalSession(case, contestant, choose_device(request.config.getoption("--device")))
    request.addfinalizer(session.close)
    verdicts = benchmark.extra_info["gate"] = session.judge()
    assert all(verdict["ok"] for verdict in verdicts), verdicts
    benchmark.group, turns = case.name, itertools.count()
    samples = [session.time(next(turns))]
    rounds = repetitions(samples[0].seconds, SHARE_SECONDS)
    benchmark.pedantic(lambda: samples.append(session.time(next(turns))), rounds=rounds)
    benchmark.extra_info["peak_bytes"] = highest(sample.peak_bytes for sample in samples)
