"""A run: rows as they come, failures as rows, what the budget leaves out, the session's process."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from arasfsr import ModelConfig
from benchmarks import run as running
from benchmarks.cases import Case
from benchmarks.contestants import Contestant
from benchmarks.memory import Peak
from benchmarks.results import read_rows
from benchmarks.session import ContestantFailed, LocalSession, ProcessSession, Sample, one_line, open_session
from benchmarks.workload import Workload

CPU = torch.device("cpu")
CASE = Case("query", "tiny", (8, 8), (20, 24), 1, "float32")
CEILINGS: dict[str, Any] = {
    "flops": {"float32": 1e11, "bfloat16": 1e10, "float16": 1e10},
    "bytes_per_second": 1e10,
}
GREEN = {"quantity": "output", "error": 1e-7, "limit": 1e-5, "cosine": None, "ok": True}


class Fake:
    """A session of known behaviour that notes its turns."""

    def __init__(self, seconds: float = 10.0, gate: dict[str, Any] = GREEN, fails_at: int | None = None) -> None:
        self.seconds, self.gate, self.fails_at = seconds, gate, fails_at
        self.turns: list[int] = []
        self.closed = False

    def judge(self) -> list[dict[str, Any]]:
        return [self.gate]

    def time(self, turn: int) -> Sample:
        self.turns.append(turn)
        if turn == self.fails_at:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return Sample(self.seconds, 100 * (turn + 1))

    def close(self) -> None:
        self.closed = True


def measured(**fakes: Fake) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Rows of these sessions, and the names of every row stored, in order."""
    stored: list[str] = []
    sessions = {name: (lambda fake=fake: fake) for name, fake in fakes.items()}
    rows = running.measure_case(sessions, lambda name, row: stored.append(name), seconds=60)
    assert all(fake.closed for fake in fakes.values())
    return rows, stored


def test_contestants_take_turns_and_every_sample_is_stored_at_once() -> None:
    rows, stored = measured(a=Fake(10), b=Fake(10))
    assert stored == ["a", "b"] * 3
    assert rows["a"]["samples_s"] == [10, 10, 10]


def test_a_slow_contestant_has_fewer_runs_than_a_fast_one() -> None:
    rows, _ = measured(slow=Fake(50), fast=Fake(2))
    assert len(rows["slow"]["samples_s"]) == 1
    assert len(rows["fast"]["samples_s"]) == 15


def test_a_red_gate_has_its_error_and_no_speed() -> None:
    red = {**GREEN, "error": 0.5, "ok": False}
    rows, _ = measured(good=Fake(), bad=Fake(gate=red))
    assert rows["bad"]["error"] == "red gate: output errs by 5.00e-01, limit 1.00e-05"
    assert "samples_s" not in rows["bad"]
    assert rows["good"]["samples_s"]


def test_running_out_of_memory_is_a_row_that_says_so() -> None:
    rows, _ = measured(big=Fake(fails_at=0), small=Fake())
    assert rows["big"]["error"].startswith("out of memory (")
    assert "samples_s" not in rows["big"]
    assert len(rows["small"]["samples_s"]) == 6  # the time that the other would have had is its own


def test_no_round_begins_after_the_deadline() -> None:
    fake = Fake(1)
    running.measure_case({"a": lambda: fake}, lambda name, row: None, deadline=time.monotonic())
    assert fake.turns == [0]


def test_a_row_says_what_follows_from_its_samples() -> None:
    row = {"gate": [GREEN], "error": None, "samples_s": [1.0, 2.0, 3.0], "peaks_bytes": [10, 30, None]}
    case = Case("query", "full", (64, 64), (256, 256), 1, "bfloat16")
    full = running.complete(row, case, "tiled", ModelConfig(), CEILINGS["flops"], "cpu")
    assert full["quartiles_s"] == [1.5, 2.0, 2.5]
    assert full["peak_bytes"] == 30
    assert full["ceiling_dtype"] == "float32"
    assert full["share"] == pytest.approx(2 * full["macs"] / 2.0 / 1e11)
    assert full["case"] == case.name


def test_estimates_follow_the_counts() -> None:
    small, large = (Case("query", "full", (64, 64), (side, side), 1, "float32") for side in (256, 1024))
    few, many = (running.estimate(case, CEILINGS["flops"], CPU, ("tiled",)) for case in (small, large))
    assert many > 4 * few


def test_estimates_are_corrected_by_what_cases_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "write_results", lambda *given: None)
    monkeypatch.setattr(running, "estimate", lambda *given: 0.001)
    monkeypatch.setattr(running, "measure_case", lambda *given: time.sleep(0.2) or {})
    cases = [CASE, replace(CASE, batch=2)]
    found = running.run_cases(cases, CPU, tmp_path / "run.json", 0.3 / 60, ("tiled",), lambda line: None, CEILINGS)
    assert list(found) == [cases[1].name]


def test_a_budget_measures_what_fits_and_names_the_rest(tmp_path: Path) -> None:
    large = Case("query", "full", (64, 64), (2048, 2048), 1, "float32")
    tf32 = Case("query", "full", (64, 64), (256, 256), 1, "tf32")
    said: list[str] = []
    path = tmp_path / "run.json"
    found = running.run_cases([large, CASE, tf32], CPU, path, 1.0, ("tiled",), said.append, CEILINGS)
    assert set(found) == {large.name, tf32.name}
    assert any(line.startswith(f"left out: {large.name} (about") for line in said)
    assert f"left out: {tf32.name} (no tf32 on cpu)" in said
    content = json.loads(path.read_text())
    assert set(content["left out"]["cases"]) == {large.name, tf32.name}
    ((name, row),) = read_rows(path).items()
    assert name == f"{CASE.name} tiled"
    assert row["samples_s"]
    assert row["machine"]["commit"]
    said.clear()
    again = running.run_cases([CASE], CPU, path, 1.0, ("tiled",), said.append, CEILINGS, missing=True)
    assert again == {}
    assert not any(line.startswith(CASE.name) for line in said)
    assert read_rows(path)[f"{CASE.name} tiled"] == row


def test_a_run_that_is_cut_off_leaves_readable_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = {"tiled": Fake(10)}

    class Killed(BaseException):
        """As kill -9 would, past every handler of errors."""

    def second(turn: int) -> Sample:
        if turn == 1:
            raise Killed
        return Sample(10.0, 5)

    monkeypatch.setattr(fakes["tiled"], "time", second)
    monkeypatch.setattr(running, "open_session", lambda case, contestant, device, shared: fakes[contestant.name])
    path = tmp_path / "run.json"
    with pytest.raises(Killed):
        running.run_cases([CASE], CPU, path, None, ("tiled",), lambda line: None, CEILINGS)
    assert read_rows(path)[f"{CASE.name} tiled"]["samples_s"] == [10.0]


def test_a_process_judges_times_and_tells_its_peak() -> None:
    session = ProcessSession(LocalSession, CASE, Contestant("tiled", "float32", "tiled"), CPU)
    try:
        assert session.judge()[0]["ok"]
        sample = session.time(0)
    finally:
        session.close()
    assert sample.seconds > 0
    assert sample.peak_bytes is None or sample.peak_bytes < 1 << 30


def test_what_fails_in_a_process_is_one_line() -> None:
    with pytest.raises(ContestantFailed, match="nowhere"):
        ProcessSession(LocalSession, CASE, Contestant("nowhere", "float32", "nowhere"), CPU).judge()


def test_a_process_that_dies_is_a_failure() -> None:
    session = ProcessSession(LocalSession, CASE, Contestant("tiled", "float32", "tiled"), CPU)
    with pytest.raises(BrokenProcessPool):
        session._process.submit(os._exit, 1).result()
    with pytest.raises(ContestantFailed, match="killed, most likely out of memory"):
        session.judge()
    session.close()


def test_on_a_gpu_sessions_share_this_process_and_the_allocator_tells_the_peak(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 350)
    assert Peak(torch.device("cuda")).above() == 250
    opened: list[tuple[Any, ...]] = []
    monkeypatch.setattr("benchmarks.session.LocalSession", lambda *given: opened.append(given))
    open_session(CASE, Contestant("tiled", "float32", "tiled"), torch.device("cuda"), lambda: None)
    assert len(opened) == 1


def test_the_peak_of_a_cpu_is_what_was_held_at_most() -> None:
    peak = Peak(CPU)
    torch.ones(50 << 18)  # 50 MB, freed at once
    above = peak.above()
    assert above is None or 45e6 < above < 200e6


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a\nb"), "ValueError: a"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            "out of memory (RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried)",
        ),
        (MemoryError(), "out of memory (MemoryError: )"),
    ],
)
def test_errors_are_one_line(error: Exception, line: str) -> None:
    assert one_line(error) == line


def test_closing_one_session_leaves_shared_inputs_to_the_others() -> None:
    work = Workload.of(CASE, CPU)
    first, second = (LocalSession(CASE, Contestant("tiled", "float32", "tiled"), CPU, work) for _ in range(2))
    first.close()
    assert second.time(0).seconds > 0
