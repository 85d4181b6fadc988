"""The GPU run's supervisor, plan and probes without a GPU: stand-in workers hang, die and raise."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu_stand_in import HANGING

from tools.gpu import plan
from tools.gpu.files import Results
from tools.gpu.plan import Request, Step
from tools.gpu.supervisor import RESERVE, Supervisor
from tools.kernels import probes, tune

STAND_IN = """
import os, signal, subprocess, sys, time
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[2]))
while True:
    what, _ = connection.recv()
    if what == "hang":
        subprocess.Popen(["sleep", os.environ["ARASFSR_TEST_SLEEP"]])
        time.sleep(1000)
    if what == "slow":
        time.sleep(1)
    if what == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "leave":
        print("some line\\nerror of leave\\nthe error's rest", file=sys.stderr)
        sys.exit(3)
    connection.send(("rows.json", f"{sys.argv[1]} {what}", {"pid": os.getpid()}))
    connection.send(None)
"""
"""A worker that does what it is asked."""


def stand_in(name: str) -> list[str]:
    return [sys.executable, "-c", STAND_IN, name]


def step(name: str, limit: float, *requests: Request, **options: Any) -> Step:
    return Step(name, ("right",), limit, requests, **options)


def program(name: str, limit: float, code: str, **options: Any) -> Step:
    return Step(name, ("right",), limit, command=(sys.executable, "-c", code), **options)


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    return Supervisor(Results(tmp_path), 30 + RESERVE, start=stand_in)


def rows(supervisor: Supervisor) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = json.loads((supervisor.results.folder / "rows.json").read_text())
    return found


def sleeping() -> bool:
    """Whether a process that hangs is running."""
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return f"sleep {HANGING}" in lines


def test_what_hangs_or_dies_is_named_and_the_others_go_on(supervisor: Supervisor) -> None:
    asked = ("fine", "hang", "die", "leave", "again")
    supervisor.run([step("step", 0.8, *(Request("one", what) for what in asked))])
    told = "its process ended with status 3: error of leave"  # a name keeps its last failure
    assert supervisor.noted("failed") == {"step one": told}
    assert list(rows(supervisor)) == ["one fine", "one again"]
    pids = [row["pid"] for row in rows(supervisor).values()]
    assert pids[0] != pids[1]  # the worker was started again


@pytest.mark.parametrize(
    ("what", "told"),
    [("hang", "not done after 1 s"), ("die", "ended by signal SIGSEGV"), ("leave", "ended with status 3")],
)
def test_a_failure_says_how_it_failed(supervisor: Supervisor, what: str, told: str) -> None:
    supervisor.run([step("step", 1, Request("one", what))])
    assert told in str(supervisor.noted("failed")["step one"])


def test_no_process_is_left_over(supervisor: Supervisor) -> None:
    hanging = program("program", 0.5, "import subprocess; subprocess.run(['sleep', '" + HANGING + "'])")
    supervisor.run([step("worker", 0.5, Request("one", "hang")), hanging])
    assert set(supervisor.noted("failed")) == {"worker one", "program"}
    assert not sleeping()


def test_the_time_is_kept_whatever_hangs(tmp_path: Path) -> None:
    began = time.monotonic()
    supervisor = Supervisor(Results(tmp_path), 2 + RESERVE, start=stand_in)
    requests = [Request(f"one#{i}", "hang") for i in range(3)]
    supervisor.run([step("step", 100, *requests, background=True), step("next", 100, *requests)])
    assert time.monotonic() - began < 2 + RESERVE
    assert supervisor.noted("left out") == {"next": "no time was left"}


def test_a_kernel_whose_probe_hangs_is_not_timed(supervisor: Supervisor) -> None:
    def timed(worker: str, dtype: str) -> Request:
        return Request(worker, "fine", {"case": replace(plan.HEADLINE, dtype=dtype)})

    supervisor._start = lambda name: [sys.executable, "-c", STAND_IN.replace('"hang"', '"probe"'), name]
    probe = Request("cuda#256-bfloat16", "probe", {"width": plan.WIDTH, "dtype": "bfloat16"})
    kernels = (("cuda", "bfloat16"), ("cuda", "float16"), ("triton", "bfloat16"))
    supervisor.run([step("right", 0.5, probe), step("time", 5, *(timed(*kernel) for kernel in kernels))])
    assert supervisor.noted("left out") == {"time cuda": "a probe of that kernel is not right: cuda 256 bfloat16: "}
    assert list(rows(supervisor)) == ["cuda fine", "triton fine"]


def test_a_kernel_that_is_not_right_is_inquired_once_in_place_of_being_timed(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, float]] = []

    def inquiry(probe: str, limit: float) -> list[Step]:
        asked.append((probe, limit))
        return [program("why", limit, "print('because')", log="memcheck.log")]

    monkeypatch.setattr("tools.gpu.supervisor.inquiry", inquiry)
    supervisor.results("probes.json", "cuda 256 bfloat16: grid", {"ok": False})
    supervisor.results("probes.json", "cuda 64 float16: grid", {"ok": False})  # not the width that is timed
    timed = (Request("cuda", "fine", {"dtype": dtype}) for dtype in ("bfloat16", "float16", "bfloat16"))
    supervisor.run([step("time", 7, *timed)])
    assert asked == [("cuda 256 bfloat16: grid", 7)]
    assert (supervisor.results.folder / "memcheck.log").read_text() == "\n=== why\nbecause\n"
    assert list(rows(supervisor)) == ["cuda fine"]


def test_an_inquiry_uses_the_watchdog_and_memcheck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARASFSR_WATCHDOG_EXTENSION", "/packed/watchdog.so")
    watchdog, memcheck = plan.inquiry("cuda 256 bfloat16: grid", 30)
    assert watchdog.environment == {"ARASFSR_EXTENSION": "/packed/watchdog.so"}
    assert memcheck.command[:3] == ("compute-sanitizer", "--tool", "memcheck")
    assert {watchdog.command[-1], memcheck.command[-1]} == {"cuda 256 bfloat16: grid"}
    assert len(list(plan.inquiry("triton 256 bfloat16: grid", 30))) == 1


def test_a_request_waits_for_its_worker_in_the_background(supervisor: Supervisor) -> None:
    first = step("prepare", 5, Request("one", "prepare"), background=True)
    supervisor.run([first, step("measure", 5, Request("one", "measure"))])
    assert list(rows(supervisor)) == ["one prepare", "one measure"]
    assert len({row["pid"] for row in rows(supervisor).values()}) == 1


@pytest.mark.parametrize(("sent", "background"), [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_a_signal_ends_the_run_with_all_that_it_started(sent: signal.Signals, background: bool, tmp_path: Path) -> None:
    code = f"""
import sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1] / "support")!r}]
from tools.gpu import plan
from tools.gpu.__main__ import main
from tools.gpu.plan import Request
from test_bench_gpu import HANGING, stand_in, step
behind = [
    step("program", 100, command=("sleep", HANGING), background=True),
    step("worker", 100, Request("one", "hang"), background=True),
    step("first", 100, Request("two", "fine"), background=True),
]
alone = step("alone", 100, Request("two", "fine"), Request("two", "hang"))
plan.steps = lambda: behind if {background} else [alone]
sys.exit(main(["--minutes", "2", "--out", {str(tmp_path)!r}], start=stand_in))
"""
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text("#!/bin/sh\necho 9.0\n")
    smi.chmod(0o755)
    path = {"PATH": f"{smi.parent}:{os.environ['PATH']}", "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **path}, stdout=subprocess.DEVNULL)
    while not (tmp_path / "rows.json").exists():
        assert process.poll() is None
        time.sleep(0.1)
    while not sleeping():
        time.sleep(0.1)
    process.send_signal(sent)
    assert process.wait(10) == 1
    assert "the run: interrupted" in (tmp_path / "summary.txt").read_text()
    assert not sleeping()


def test_a_request_that_needs_a_dead_worker_s_state_is_left_out(supervisor: Supervisor) -> None:
    asked = (Request("one", "die"), Request("one", "on", goes_on=True), Request("one", "fine"), Request("one", "then"))
    supervisor.run([step("step", 5, *asked)])
    assert supervisor.noted("left out") == {"step one": "its worker has died"}
    assert list(rows(supervisor)) == ["one fine", "one then"]


def test_a_program_with_a_grace_is_interrupted_in_time_to_write_what_it_has(supervisor: Supervisor) -> None:
    code = """
import time
try:
    time.sleep(1000)
except KeyboardInterrupt:
    print("what it has")
    raise SystemExit(2)
"""
    supervisor.run([program("tests", 4, code, grace=2.0)])
    assert supervisor.noted("failed") == {"tests": "ended with status 2, see all.log: what it has"}


def test_a_step_waits_for_those_that_it_comes_after(supervisor: Supervisor) -> None:
    def behind(name: str, worker: str, what: str, *after: str) -> Step:
        return step(name, 5, Request(worker, what), background=True, after=after)

    supervisor.run([behind("first", "one", "slow"), behind("late", "two", "late", "first"), behind("x", "three", "x")])
    assert list(rows(supervisor)) == ["three x", "one slow", "two late"]


def test_the_end_of_the_run_waits_for_the_background(supervisor: Supervisor) -> None:
    background = step("background", 5, Request("one", "slow"), background=True)
    supervisor.run([step("begin", 5, Request("one", "fine")), background])
    assert supervisor.noted("failed") == {}
    assert list(rows(supervisor)) == ["one fine", "one slow"]


def test_a_program_that_fails_or_is_missing_is_named(supervisor: Supervisor) -> None:
    wrong = program("wrong", 5, "print('why'); print('the error is here'); raise SystemExit(4)")
    supervisor.run([wrong, step("missing", 5, command=("no-such-program",))])
    assert supervisor.noted("failed")["wrong"] == "ended with status 4, see all.log: the error is here"
    assert "no-such-program" in str(supervisor.noted("failed")["missing"])
    assert "=== wrong\nwhy" in (supervisor.results.folder / "all.log").read_text()


def test_background_programs_overlap_and_what_is_timed_waits_for_them(supervisor: Supervisor) -> None:
    code = "import time; print(time.monotonic()); time.sleep(0.7); print(time.monotonic())"
    background = [program(f"program {i}", 5, code, background=True) for i in range(2)]
    supervisor.run([*background, program("alone", 5, code)])
    times = [float(time) for time in (supervisor.results.folder / "all.log").read_text().split() if "." in time]
    begin, end = times[::2], times[1::2]
    assert begin[1] < end[0]
    assert begin[2] > max(end[:2])


def test_rows_are_on_disk_at_once(tmp_path: Path) -> None:
    results = Results(tmp_path)
    for number in range(2):
        results("suites.json", f"case {number}", {"samples_s": [1.0]})
        assert len(json.loads((tmp_path / "suites.json").read_text())) == number + 1


def test_the_plan_is_in_order_and_prints_without_torch() -> None:
    names = [step.name for step in plan.steps()]
    ordered = ("cuda right", "ceilings", "headline", "float32", "training 512", "batch 8", "memcheck cuda", "tuning")
    assert sorted(ordered, key=names.index) == [*ordered]
    assert names[0] == plan.EXTENSION
    assert len(names) == len(set(names))
    assert len(plan.table()) == len(names) + 2  # a head and a total
    assert all({*step.groups} <= {*plan.GROUPS} for step in plan.steps())
    assert all({*step.after} <= {*names} for step in plan.steps())
    command = [sys.executable, "-X", "importtime", "-m", "tools.gpu", "--plan"]
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=path)
    assert "headline" in done.stdout
    assert "torch" not in done.stderr  # nothing of CUDA in the supervisor's process


def test_no_worker_of_the_plan_is_asked_twice_at_the_same_time() -> None:
    asked: list[str] = []
    for planned in plan.steps():
        asked = [*asked, *(request.worker for request in planned.requests)] if planned.background else []
        assert len(asked) == len(set(asked)), planned.name


def test_the_plan_has_every_candidate_of_the_tuning() -> None:
    assert len(tune.LISTED) == plan.CANDIDATES


def judged() -> dict[str, Any]:
    return probes.judge(probes.Probe(257), "tiled", 64, "bfloat16", torch.device("cpu"))


def test_a_probe_judges_what_is_right_as_right() -> None:
    found = judged()
    assert found["ok"]
    assert [verdict["quantity"] for verdict in found["verdicts"]] == ["output", "gradient"]


@pytest.mark.parametrize(
    ("error", "every", "bitwise"),
    [(3.0, 1, True), (float("nan"), 1, False), (float("nan"), 30, False), (1e-3, 5, False)],
)
def test_a_probe_sees_a_wrong_element_nan_and_what_does_not_repeat(
    monkeypatch: pytest.MonkeyPatch, error: float, every: int, bitwise: bool
) -> None:
    right, count = probes.decoder, 0

    def broken(*arguments: Any, **options: Any) -> object:
        decode = right(*arguments, **options)

        def wrong(*inputs: Any) -> torch.Tensor:
            nonlocal count
            out, count = decode(*inputs), count + 1
            return out if count % every else out + error * (torch.arange(out.shape[1]) == 7).view(1, -1, 1)

        return wrong

    monkeypatch.setattr(probes, "decoder", broken)
    found = judged()
    assert (found["ok"], found["bitwise"]) == (False, bitwise)
