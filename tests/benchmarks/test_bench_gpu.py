"""The GPU run without a GPU: stand-ins that hang, die and raise; each is named, the others' rows are there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import tune
from benchmarks.gpu import plan, probes
from benchmarks.gpu.plan import Program, Request, Step
from benchmarks.gpu.supervisor import RESERVE, Results, Supervisor
from benchmarks.gpu.worker import case_of

STAND_IN = """
import json, os, signal, subprocess, sys, time
for line in sys.stdin:
    what = json.loads(line)["what"]
    if what == "hang":
        subprocess.Popen(["sleep", "1000"])
        time.sleep(1000)
    if what == "slow":
        time.sleep(1)
    if what == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "leave":
        print("some line\\nerror of leave\\nthe error's rest", file=sys.stderr)
        sys.exit(3)
    print(json.dumps({"file": "rows.json", "key": f"{sys.argv[1]} {what}", "row": {"pid": os.getpid()}}), flush=True)
    print(json.dumps({"done": True}), flush=True)
"""
"""A worker that does what it is asked."""


def step(name: str, limit: float, requests: tuple[Request, ...] = (), **options: Any) -> Step:
    return Step(name, ("right",), limit, requests, **options)


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    return Supervisor(Results(tmp_path), 30 + RESERVE, start=lambda name: [sys.executable, "-c", STAND_IN, name])


def rows(supervisor: Supervisor) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = json.loads((supervisor.results.folder / "rows.json").read_text())
    return found


def test_what_hangs_or_dies_is_named_and_the_others_go_on(supervisor: Supervisor) -> None:
    asked = ("fine", "hang", "die", "leave", "again")
    supervisor.run([step("step", 0.8, tuple(Request("one", what) for what in asked))])
    assert supervisor.failed == {"step one": "its process ended with status 3: error of leave"}  # a name has its last
    assert list(rows(supervisor)) == ["one fine", "one again"]
    pids = [row["pid"] for row in rows(supervisor).values()]
    assert pids[0] != pids[1]  # it was begun anew


@pytest.mark.parametrize(
    ("what", "told"),
    [("hang", "not done after 1 s"), ("die", "ended by signal SIGSEGV"), ("leave", "ended with status 3")],
)
def test_a_failure_says_how_it_failed(supervisor: Supervisor, what: str, told: str) -> None:
    supervisor.run([step("step", 1, (Request("one", what),))])
    assert told in supervisor.failed["step one"]


def test_no_process_is_left_over(supervisor: Supervisor) -> None:
    hanging = Program((sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '1003'])"))
    steps = [step("worker", 0.5, (Request("one", "hang"),)), step("program", 0.5, program=hanging)]
    supervisor.run(steps)
    assert set(supervisor.failed) == {"worker one", "program"}
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "sleep 1003" not in running.splitlines()


def test_the_time_is_kept_whatever_hangs(tmp_path: Path) -> None:
    began = time.monotonic()
    supervisor = Supervisor(Results(tmp_path), 2 + RESERVE, start=lambda name: [sys.executable, "-c", STAND_IN, name])
    requests = tuple(Request(f"one#{i}", "hang") for i in range(3))
    supervisor.run([step("step", 100, requests, together=True), step("next", 100, requests)])
    assert time.monotonic() - began < 2 + RESERVE
    assert supervisor.left_out == {"next": "no time was left"}


def test_a_kernel_whose_probe_hangs_is_not_timed(supervisor: Supervisor) -> None:
    def request(worker: str, dtype: str) -> Request:
        return Request(worker, "fine", {"case": {**plan.HEADLINE, "dtype": dtype}})

    probe = Request("cuda#256-bfloat16", "probe", {"width": plan.WIDTH, "dtype": "bfloat16"})
    supervisor._start = lambda name: [sys.executable, "-c", STAND_IN.replace('"hang"', '"probe"'), name]
    timed = tuple(request(*which) for which in (("cuda", "bfloat16"), ("cuda", "float16"), ("triton", "bfloat16")))
    supervisor.run([step("right", 0.5, (probe,), together=True), step("time", 5, timed)])
    assert supervisor.left_out == {"time cuda": "a probe of that kernel is not right: cuda 256 bfloat16: "}
    assert list(rows(supervisor)) == ["cuda fine", "triton fine"]


def test_why_a_probe_is_not_right_is_asked_once_in_the_time_of_what_is_not_timed(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, float]] = []

    def inquiry(probe: str, limit: float) -> list[Step]:
        asked.append((probe, limit))
        return [step("why", limit, program=Program((sys.executable, "-c", "print('because')"), log="memcheck.log"))]

    monkeypatch.setattr("benchmarks.gpu.supervisor.inquiry", inquiry)
    supervisor.results("probes.json", "cuda 256 bfloat16: grid", {"ok": False})
    supervisor.results("probes.json", "cuda 64 float16: grid", {"ok": False})  # not of the width that is timed
    timed = [Request("cuda", "fine", {"dtype": dtype}) for dtype in ("bfloat16", "float16", "bfloat16")]
    supervisor.run([step("time", 7, tuple(timed))])
    assert asked == [("cuda 256 bfloat16: grid", 7)]
    assert (supervisor.results.folder / "memcheck.log").read_text() == "\n=== why\nbecause\n"
    assert list(rows(supervisor)) == ["cuda fine"]


def test_a_probe_that_is_not_right_is_asked_about_by_the_watching_build_and_by_memcheck(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ARASFSR_WATCHDOG_EXTENSION", "/packed/watching.so")
    first, second = plan.inquiry("cuda 256 bfloat16: grid", 30)
    assert first.program is not None
    assert first.program.environment == {"ARASFSR_EXTENSION": "/packed/watching.so"}
    assert second.program is not None
    assert second.program.command[:3] == ("compute-sanitizer", "--tool", "memcheck")
    assert all(each.program.command[-1] == "cuda 256 bfloat16: grid" for each in (first, second) if each.program)
    assert len(list(plan.inquiry("triton 256 bfloat16: grid", 30))) == 1


def test_a_request_waits_for_what_its_worker_does_in_the_background(supervisor: Supervisor) -> None:
    first = step("prepare", 5, (Request("one", "prepare"),), together=True, background=True)
    supervisor.run([first, step("measure", 5, (Request("one", "measure"),))])
    assert list(rows(supervisor)) == ["one prepare", "one measure"]
    assert len({row["pid"] for row in rows(supervisor).values()}) == 1


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_all_that_it_has_begun(sent: signal.Signals, tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from benchmarks.gpu import plan
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.plan import Program, Request, Step
from test_bench_gpu import STAND_IN
sleeping = Program(("sleep", "1011"))
plan.steps = lambda: [
    Step("background", ("right",), 100, program=sleeping, background=True),
    Step("worker", ("right",), 100, (Request("one", "hang"),), together=True, background=True),
    Step("alone", ("right",), 100, (Request("two", "fine"), Request("two", "hang"))),
]
arguments = ["--minutes", "2", "--out", {str(tmp_path)!r}]
sys.exit(main(arguments, start=lambda name: [sys.executable, "-c", STAND_IN, name]))
"""
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text("#!/bin/sh\necho 9.0\n")
    smi.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{smi.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.DEVNULL)
    while not (tmp_path / "rows.json").exists():  # of the step that is alone, when all have begun
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(sent)
    assert process.wait(10) == 1
    assert "the run: interrupted" in (tmp_path / "summary.txt").read_text()
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line for line in running if line in ("sleep 1011", "sleep 1000")] == []


def test_what_goes_on_with_a_worker_that_has_died_is_left_out(supervisor: Supervisor) -> None:
    asked = [Request("one", "die"), Request("one", "on", goes_on=True), Request("one", "fine"), Request("one", "then")]
    supervisor.run([step("step", 5, tuple(asked))])
    assert supervisor.left_out == {"step one": "its worker has died"}
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
    program = Program((sys.executable, "-c", code), grace=2.0)
    supervisor.run([step("tests", 4, program=program)])
    assert supervisor.failed == {"tests": "ended with status 2, see all.log: what it has"}


def test_a_step_waits_for_those_that_it_comes_after(supervisor: Supervisor) -> None:
    def behind(name: str, worker: str, what: str, *after: str) -> Step:
        return step(name, 5, (Request(worker, what),), together=True, background=True, after=after)

    supervisor.run([behind("first", "one", "slow"), behind("late", "two", "late", "first"), behind("x", "three", "x")])
    assert list(rows(supervisor)) == ["three x", "one slow", "two late"]


def test_the_run_s_end_waits_for_the_background(supervisor: Supervisor) -> None:
    background = step("background", 5, (Request("one", "slow"),), together=True, background=True)
    supervisor.run([step("begin", 5, (Request("one", "fine"),)), background])
    assert supervisor.failed == {}
    assert list(rows(supervisor)) == ["one fine", "one slow"]


def test_a_program_that_fails_or_is_not_there_is_named(supervisor: Supervisor) -> None:
    programs = {
        "wrong": (sys.executable, "-c", "print('why'); print('the error is here'); raise SystemExit(4)"),
        "missing": ("no-such-program",),
    }
    supervisor.run(step(name, 5, program=Program(command)) for name, command in programs.items())
    assert supervisor.failed["wrong"] == "ended with status 4, see all.log: the error is here"
    assert "no-such-program" in supervisor.failed["missing"]
    assert "=== wrong\nwhy" in (supervisor.results.folder / "all.log").read_text()


def test_programs_run_side_by_side_and_what_is_timed_waits_for_them(supervisor: Supervisor) -> None:
    wait = "import time; print(time.monotonic()); time.sleep(0.7); print(time.monotonic())"
    command = Program((sys.executable, "-c", wait))
    together = [step(f"program {i}", 5, program=command, background=True) for i in range(2)]
    supervisor.run([*together, step("alone", 5, program=command)])
    begin, end = (
        [float(time) for time in (supervisor.results.folder / "all.log").read_text().split() if "." in time][i::2]
        for i in (0, 1)
    )
    assert begin[1] < end[0]
    assert begin[2] > max(end[:2])


def test_rows_are_on_disk_as_soon_as_they_come(tmp_path: Path) -> None:
    results = Results(tmp_path)
    for number in range(2):
        results("suites.json", f"case {number}", {"samples_s": [1.0]})
        assert len(json.loads((tmp_path / "suites.json").read_text())) == number + 1


def test_the_plan_is_in_order_and_prints(capfd: pytest.CaptureFixture[str]) -> None:
    names = [step.name for step in plan.steps()]
    ordered = ("cuda right", "ceilings", "headline", "float32", "training 512", "batch 8", "memcheck cuda", "tuning")
    assert sorted(ordered, key=names.index) == [*ordered]
    assert names[0] == plan.EXTENSION
    assert len(names) == len(set(names))
    assert len(plan.table()) == len(names) + 2  # a head and a total
    assert all({*step.groups} <= {*plan.GROUPS} for step in plan.steps())
    assert all({*step.after} <= {*names} for step in plan.steps())
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "benchmarks.gpu", "--plan"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert "headline" in done.stdout
    assert "torch" not in done.stderr  # the supervisor's process has nothing of CUDA's


def test_the_plans_cases_are_cases_and_its_candidates_are_there() -> None:
    requests = [request for step in plan.steps() for request in step.requests]
    cases = {case_of(json.loads(json.dumps(r.arguments["case"]))).name for r in requests if "case" in r.arguments}
    assert "query/full/128x128/1024x1024/b1/bfloat16" in cases
    assert len(tune.LISTED) == plan.CANDIDATES


def test_a_probe_judges_what_is_right_as_right() -> None:
    found = probes.judge(probes.Probe(257), "tiled", 64, "bfloat16", torch.device("cpu"))
    assert found["ok"]
    assert [verdict["quantity"] for verdict in found["verdicts"]] == ["output", "gradient"]


def test_a_probe_sees_a_wrong_element_nan_and_what_does_not_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    right = probes.decoder

    def broken(number: float, every: int) -> None:
        count = [0]

        def make(*arguments: Any, **options: Any) -> object:
            decode = right(*arguments, **options)

            def wrong(*inputs: Any) -> torch.Tensor:
                out = decode(*inputs)
                count[0] += 1
                return out + number * (torch.arange(out.shape[1]) == 7).view(1, -1, 1) if count[0] % every == 0 else out

            return wrong

        monkeypatch.setattr(probes, "decoder", make)

    def judged() -> dict[str, object]:
        return probes.judge(probes.Probe(257), "tiled", 64, "bfloat16", torch.device("cpu"))

    for number in (3.0, float("nan")):
        broken(number, every=1)
        assert not judged()["ok"]
    broken(1e-3, every=5)
    found = judged()
    assert (found["ok"], found["bitwise"]) == (False, False)
