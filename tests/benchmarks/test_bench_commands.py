"""`python -m benchmarks`: bad input is one clear error with status 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import profiling
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
    lines = profiling.table(entries, macs=150e9, flops=200e9)
    assert lines[-1] == "matrix products: 75.0% of the time at 50.0% of the ceiling, together 37.5% of the ceiling"


def test_a_profile_sees_the_products_of_tiled() -> None:
    case = Case("query", "tiny", (8, 8), (20, 20), 1, "float32")
    _, entries = profiling.measure("tiled", case, torch.device("cpu"))
    of_layers = [entry for entry in entries if profiling.is_product(entry.name) and "conv" not in entry.name]
    assert sum(entry.seconds for entry in of_layers) > 0  # oneDNN's or MKL's; the LR map is the convolution
    assert entries == sorted(entries, key=lambda entry: -entry.seconds)
