"""Quartiles, repetitions, and the GPU's timer as far as a CPU can exercise it."""

from __future__ import annotations

import pytest
import torch

from benchmarks import timing


def test_quartiles_of_known_samples() -> None:
    assert timing.quartiles([5.0, 1.0, 3.0, 2.0, 4.0]) == (2.0, 3.0, 4.0)
    assert timing.quartiles([1.0, 2.0]) == (1.25, 1.5, 1.75)
    assert timing.quartiles([7.0]) == (7.0, 7.0, 7.0)


def test_no_samples_have_no_quartiles() -> None:
    with pytest.raises(ValueError, match="data point"):
        timing.quartiles([])


@pytest.mark.parametrize(
    ("seconds", "share", "expected"), [(40, 12, 1), (40, 100, 2), (10, 1, 3), (1, 8, 8), (0.001, 60, timing.MOST)]
)
def test_repetitions_adapt_and_are_three_where_that_is_under_a_minute(
    seconds: float, share: float, expected: int
) -> None:
    assert timing.repetitions(seconds, share) == expected


def test_a_gpu_is_timed_by_events(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            calls.append("record")

        def elapsed_time(self, end: Event) -> float:
            return 1500.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: calls.append("synchronize"))
    assert timing.timed(lambda: calls.append("run"), torch.device("cuda")) == 1.5
    assert calls == ["synchronize", "record", "run", "record", "synchronize"]
