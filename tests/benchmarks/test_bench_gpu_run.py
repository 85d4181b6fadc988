"""The whole GPU run on a CPU, within its time: contestants that hang, die, raise, return NaN or write too little."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from gpu_stand_in import HANGING

from benchmarks.cases import Case
from tools.gpu import plan
from tools.gpu.__main__ import main

MINUTES = 6.0
ROOT = Path(__file__).parents[2]


@dataclass
class Run:
    """What came out."""

    folder: Path
    status: int
    seconds: float

    @property
    def summary(self) -> str:
        return (self.folder / "summary.txt").read_text()

    def rows(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self.folder / name).read_text()))

    def steps(self, what: str) -> dict[str, str]:
        return {name: step[what] for name, step in self.rows("suites.json")["steps"].items() if what in step}


STAND_IN = Path(__file__).parents[1] / "support" / "gpu_stand_in.py"


def stand_in(name: str) -> list[str]:
    return [sys.executable, str(STAND_IN), name.split("#")[0]]


LIMIT, PREPARING = 20.0, 60.0
"""Seconds for a step at most, and for those whose many processes load torch at the same time on few cores."""

NOT_HERE = (plan.EXTENSION, plan.AHEAD, "adopting what was tuned")
"""Programs that need a GPU, or write into the checkout."""


def small(case: Case) -> Case:
    """A picture small enough for a CPU, but not so small that names are no longer distinct."""
    lr, output = (tuple(max(4, side // 32) for side in sides) for sides in (case.lr, case.output))
    return replace(case, model="tiny", lr=lr, output=output)


def shortened(step: plan.Step) -> plan.Step:
    command = ("echo", step.name) if step.name in NOT_HERE else step.command
    limit = PREPARING if step.name == "tests" or (step.background and "tune" not in step.groups) else LIMIT
    requests = [replace(r, arguments={"case": small(r.case)}) if r.case else r for r in step.requests]
    if step.name == "starting workers":  # they start when they are asked
        requests = []
    return replace(step, limit=min(step.limit, limit), command=command, requests=tuple(requests))


TOOL = """#!/bin/sh
echo "stand-in of $0"
echo "========= ERROR SUMMARY: 0 errors"
"""


@pytest.fixture(scope="module", params=[pytest.param("plan", marks=pytest.mark.slow)])  # marks all its tests
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One run of the plan, with limits that suit a stand-in and tools that only print their name."""
    folder = tmp_path_factory.mktemp("run")
    tools = tmp_path_factory.mktemp("tools")
    for name, script in {"ncu": TOOL, "compute-sanitizer": TOOL, "nvidia-smi": "#!/bin/sh\necho 9.0\n"}.items():
        (tools / name).write_text(script)
        (tools / name).chmod(0o755)
    test = tools / "test_one.py"
    test.write_text("import pytest\n\n@pytest.mark.gpu\ndef test_it() -> None:\n    assert 'this' == 'that'\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setattr(plan, "TESTS", (str(test),))
        patch.setattr(plan, "PROBES", tuple(probe for probe in plan.PROBES if probe[1] == plan.WIDTH))
        patch.setattr(plan, "TUNED", plan.TUNED[:3])
        patch.setattr(plan, "JUDGED", plan.JUDGED[:3])
        patch.setattr(plan, "steps", lambda whole=plan.steps: map(shortened, whole()))
        began = time.monotonic()
        status = main(["--minutes", str(MINUTES), "--out", str(folder)], start=stand_in)
        yield Run(folder, status, time.monotonic() - began)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--only", "right", "nonsense"], "--only must be right, headline,"),
        (["--plan", "--only", "nonsense"], "or a step that --plan lists, got 'nonsense'"),
        (["--minutes", "-3"], "--minutes must be above 0.08 and finite, got -3"),
        (["--minutes", "inf"], "--minutes must be above 0.08 and finite, got inf"),
        (["--out", ""], "--out or $OUT must name a folder for the results"),
        (["--out", __file__], "--out must be a folder that can be made: "),
    ],
)
def test_wrong_arguments_are_told_before_anything_starts(
    arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tools.kernels.build.capabilities", lambda: [(9, 0)])
    monkeypatch.delenv("OUT", raising=False)
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert told in capsys.readouterr().err.splitlines()[-1]


def test_without_a_gpu_nothing_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path / "out")])
    assert "a run needs a GPU: nvidia-smi does not run" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_time_is_kept_and_the_status_tells_of_failures(run: Run) -> None:
    assert run.seconds < 60 * MINUTES
    assert run.status == 1


def test_there_are_at_most_eight_flat_files(run: Run) -> None:
    assert {path.name for path in run.folder.iterdir()} == {
        *("summary.txt", "probes.json", "suites.json", "ncu.txt", "memcheck.log", "pytest.xml", "all.log")
    }  # and measured.json, with a GPU


def test_no_process_is_left_over(run: Run) -> None:
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line for line in running if line == f"sleep {HANGING}" or str(STAND_IN) in line] == []


@pytest.mark.parametrize(
    ("kernel", "told"),
    [
        ("cuda 256 bfloat16", "RIGHT on 2 of 2 probes"),
        ("triton 256 bfloat16", "RIGHT on 2 of 2 probes"),
        ("cuda 256 float16", "did not end"),
        ("cuda 256 tf32", "did not end"),
        ("triton 256 float16", "RuntimeError: CUDA error: an illegal memory access was encountered"),
        ("triton 256 float32", "output errs by nan"),
        ("triton 256 tf32", "output errs by nan"),
    ],
)
def test_the_summary_says_of_every_kernel_whether_it_is_right(run: Run, kernel: str, told: str) -> None:
    _, _, rest = run.summary.partition(f"  {kernel}: ")
    lines = rest.splitlines()
    shown = [lines[0], *(line for line in lines[1:3] if line.startswith("      "))]
    assert any(told in line for line in shown), shown
    assert lines[0].startswith("RIGHT") == told.startswith("RIGHT")


def test_failures_are_named(run: Run) -> None:
    failed = run.steps("failed")
    assert failed["cuda right cuda#256-float16"] == f"not done after {PREPARING:.0f} s"
    assert failed["cuda right cuda#256-tf32"].startswith("its process ended by signal SIGSEGV")
    assert failed["triton right triton#256-float16"].startswith("its process ended with status 3")
    assert failed["judging cuts triton#tune-1"] == f"not done after {LIMIT:.0f} s"
    assert failed["tests"].startswith("ended with status 1, see all.log")
    assert all(f"{name}: {reason}" in run.summary for name, reason in failed.items())
    assert len(failed) == 5


def test_only_kernels_that_are_right_are_timed(run: Run) -> None:
    rows = run.rows("suites.json")
    timed = {(row["contestant"], row["dtype"]) for row in rows.values() if row.get("samples_s")}
    ours = {(name, dtype) for name, dtype in timed if name in ("cuda", "triton")}
    assert ours == {("cuda", "bfloat16"), ("triton", "bfloat16")}
    tiled = {dtype for name, dtype in timed if name == "tiled"}
    assert tiled == {"bfloat16", "float16", "float32", "tf32"}
    left = run.steps("left out")
    assert left["float16 cuda"] == "a probe of that kernel is not right: cuda 256 float16: grid, 1 images, shared"
    assert {"tf32 cuda", "tf32 triton", "float32 triton", "float16 triton"} < set(left)
    assert all(name in run.summary for name in left)


def test_every_case_has_at_least_three_samples_and_its_machine(run: Run) -> None:
    rows = {name: row for name, row in run.rows("suites.json").items() if "gate" in row}
    assert len(rows) > 20
    assert all(len(row["samples_s"]) >= 3 and row["machine"] and "share" not in row for row in rows.values())


def test_the_profile_has_the_host_too(run: Run) -> None:
    profiles = {name: row for name, row in run.rows("suites.json").items() if name.startswith("kernels of ")}
    assert len(profiles) == 5
    assert all(row["kernels"] and row["operators"] and len(row["host_s"]) == 3 for row in profiles.values())
    assert run.summary.count("the host is busy for ") == len(profiles)


def test_every_step_of_the_plan_was_run(run: Run) -> None:
    steps = run.rows("suites.json")["steps"]
    planned = [step.name for step in plan.steps() if step.command or step.requests]
    assert [name for name in planned if not any(told.startswith(name) for told in steps)] == []


def test_a_sanitizer_runs_on_each_probe_that_is_not_right(run: Run) -> None:
    log = (run.folder / "memcheck.log").read_text()
    for kernel in ("cuda 256 float16", "cuda 256 tf32", "triton 256 float16", "triton 256 float32", "triton 256 tf32"):
        assert log.count(f"=== memcheck of {kernel}: ") == 1
    assert "=== racecheck cuda\n" in log


def test_the_tuning_says_what_is_best_and_what_is_wrong(run: Run) -> None:
    assert "forward: currently not timed, at best 10.000 ms (forward 0)" in run.summary
    assert "forward 2: output errs by nan" in run.summary


def test_the_tests_are_counted(run: Run) -> None:
    assert "tests: 0 passed, 0 skipped, 1 failed" in run.summary
