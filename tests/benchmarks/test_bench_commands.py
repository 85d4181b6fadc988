"""`python -m benchmarks`: bad input is one clear error with status 2."""

from __future__ import annotations

import json
import re
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import profiling
from benchmarks.__main__ import app
from benchmarks.profiling import Entry
from benchmarks.timing import quartiles

run = CliRunner().invoke


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--suite", "qeury"], ["--suite", "qeury", "query, train"]),
        (["run", "--size", "wide"], ["--size", "wide", "1000x1504"]),
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


def test_without_cuda_what_needs_it_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = run(app, ["tune"])
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


def test_a_profile_says_how_part_and_rate_make_the_share() -> None:
    entries = [Entry("aten::addmm", 3.0, 10), Entry("aten::sin", 1.0, 5)]
    told = profiling.products(entries, macs=150e9, flops=200e9)
    assert told == "matrix products: 75.0% of the time at 50.0% of the ceiling, together 37.5% of it"


def test_a_profile_shows_the_operators_and_the_products_of_tiled() -> None:
    head, table, products = profiling.report("tiled", "float32", torch.device("cpu"), (16, 16))
    assert head.startswith("query/full/64x64/16x16/b1/float32 tiled, 3 runs, against float32 at ")
    assert "Self CPU" in table
    assert re.search(r"aten::\w*conv", table)  # the LR map
    assert products.startswith("matrix products: ")


def test_entries_are_the_own_times_of_one_run_largest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [Mock(key=key, self_cpu_time_total=own, count=6) for key, own in (("a", 3e6), ("b", 6e6))]
    monkeypatch.setattr(torch.profiler.profile, "key_averages", lambda profiler: events)
    _, found = profiling.profiled(lambda turn: None, torch.device("cpu"))
    assert found == [Entry("b", 2.0, 2), Entry("a", 1.0, 2)]
