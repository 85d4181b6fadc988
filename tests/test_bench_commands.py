"""`python -m benchmarks`: bad input is one clear error with status 2; the GPU run says what it leaves out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import gpu, profiling
from benchmarks.__main__ import app
from benchmarks.cases import Case
from benchmarks.profiling import Entry
from benchmarks.timing import quartiles

run = CliRunner().invoke


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--suite", "qeury"], ["--suite", "qeury", "query, train"]),
        (["run", "--size", "wide"], ["--size", "wide", "HEIGHTxWIDTH"]),
        (["run", "--size", "100"], ["--size", "100", "1000x1504"]),
        (["run", "--dtype", "int8"], ["--dtype", "int8", "bfloat16"]),
        (["run", "--backend", "magic"], ["--backend", "magic", "tiled"]),
        (["run", "--device", "tpu"], ["--device", "tpu", "cuda"]),
        (["profile", "--backend", "public"], ["--backend", "public", "tiled"]),
        (["bars", "--only", "none"], ["--only", "none", "render-float32"]),
        (["compare", "none.json", "none.json"], ["none.json", "no file of results"]),
    ],
)
def test_bad_input_names_what_was_given_and_what_is_taken(arguments: list[str], said: list[str]) -> None:
    result = run(app, arguments, env={"COLUMNS": "400"})
    assert result.exit_code == 2
    assert all(part in result.output for part in said), result.output


@pytest.mark.parametrize("command", ["gpu", "tune"])
def test_without_cuda_what_needs_it_says_so_in_one_line(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = run(app, [command])
    assert result.exit_code == 2
    assert len(result.output.strip().splitlines()) == 1
    assert "CUDA device" in result.output


def test_compare_exits_1_when_something_became_slower(tmp_path: Path) -> None:
    paths = {}
    for name, seconds in (("fast", 1.0), ("slow", 2.0)):
        row = {"case": "c", "samples_s": [seconds] * 3, "quartiles_s": quartiles([seconds] * 3)}
        paths[name] = tmp_path / f"{name}.json"
        paths[name].write_text(json.dumps({"ceilings": {}, "c tiled": row}))
    slower = run(app, ["compare", str(paths["fast"]), str(paths["slow"])])
    assert slower.exit_code == 1
    assert "slower: c tiled 1 s to 2 s (+100.0%)" in slower.output
    assert run(app, ["compare", str(paths["slow"]), str(paths["fast"])]).exit_code == 0


def test_cases_are_listed_most_important_first() -> None:
    lines = run(app, ["run", "--list", "--dtype", "bfloat16"]).output.splitlines()
    assert lines[0] == "query/full/64x64/256x256/b1/bfloat16"


def test_a_step_writes_its_log_and_says_what_came_of_it(tmp_path: Path) -> None:
    def step(code: str, name: str = "step") -> gpu.Step:
        return gpu.Step(name, (sys.executable, "-c", code), 1.0)

    assert gpu.run_step(step("print('hello')"), tmp_path, 60)[0]
    assert (tmp_path / "step.log").read_text() == "hello\n"
    fine, line = gpu.run_step(step("raise SystemExit(3)"), tmp_path, 60)
    assert (fine, "failed with status 3" in line) == (False, True)
    fine, line = gpu.run_step(step("import time; time.sleep(60)"), tmp_path, 0.5)
    assert (fine, "not done after" in line) == (False, True)
    assert gpu.run_step(step("raise SystemExit(5)", "tests"), tmp_path, 60) == (
        True,
        "tests: there are no GPU tests yet",
    )
    left = gpu.run_step(gpu.Step("build", (), 1.0, "nvcc is not on the path"), tmp_path, 60)
    assert left == (True, "build: left out, nvcc is not on the path")


def test_the_gpu_run_writes_where_it_is_told_and_fails_with_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suites: list[tuple[Any, ...]] = []
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    monkeypatch.setattr(gpu, "run_cases", lambda cases, device, path, minutes, say: suites.append((path, minutes)))
    monkeypatch.setattr(gpu, "steps", lambda: [gpu.Step("tests", (sys.executable, "-c", "1/0"), 0.5)])
    said: list[str] = []
    assert gpu.run(0.5, said.append) == 1
    assert (tmp_path / "out" / "tests.log").exists()
    ((path, minutes),) = suites
    assert path == tmp_path / "out" / "suites.json"
    assert 0 < minutes < 0.5


def test_what_is_missing_is_left_out_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu.shutil, "which", lambda name: None)
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None)
    reasons = {step.name: step.missing for step in gpu.steps()}
    assert reasons["tests"] == "pytest is not installed"
    assert reasons["sanitizer"] == "compute-sanitizer is not on the path"
    assert reasons["build"]


def test_a_profile_says_how_part_and_rate_make_the_share() -> None:
    entries = [Entry("aten::addmm", 3.0, 10), Entry("aten::sin", 1.0, 5)]
    lines = profiling.table(entries, macs=150e9, flops=200e9)
    assert lines[-1] == "matrix products: 75.0% of the time at 50.0% of the ceiling, together 37.5% of the ceiling"


def test_a_profile_sees_the_products_of_tiled() -> None:
    case = Case("query", "tiny", (8, 8), (20, 20), 1, "float32")
    _, entries = profiling.measure("tiled", case, torch.device("cpu"))
    of_layers = [entry for entry in entries if profiling.is_product(entry.name) and "conv" not in entry.name]
    assert sum(entry.seconds for entry in of_layers) > 0  # oneDNN's or MKL's; the LR map is the convolution
    assert entries == sorted(entries, key=lambda entry: -entry.seconds)
