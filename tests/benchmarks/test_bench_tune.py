"""The search for the Triton kernels' cuts, with times made up: it needs no GPU."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

pytest.importorskip("triton", reason="Triton is made for Linux only")

from triton.runtime.errors import OutOfResources

from arasfsr.kernels import configs
from arasfsr.query.fused import triton_launch
from benchmarks.cases import Case
from benchmarks.contestants import Contestant
from tools.kernels import tune

CUT = configs.table((9, 0), 256, torch.bfloat16, "tf32")


@pytest.mark.parametrize(("field", "parts"), tune.STEPS)
@pytest.mark.parametrize("width", [64, 256])
def test_candidates_differ_in_what_is_varied_and_fit(field: str, parts: tuple[str, ...], width: int) -> None:
    cut = configs.table((9, 0), width, torch.bfloat16, "tf32")
    found = list(tune.candidates(field, parts, cut, width))
    assert found
    for other in found:
        assert replace(other, **{field: getattr(cut, field)}) == cut
        assert other != cut
        assert max(other.forward.columns, other.weights.rows, *other.coordinate) <= width
        assert 4 * other.queries % other.forward.rows == 0


def test_the_search_finds_the_best_of_each_step() -> None:
    best = replace(CUT, forward=configs.Config(64, 128, 64, 4, 2), blocks=2, coordinate=(64, 16))

    def measure(kernel: str, cut: configs.Table) -> float | None:
        wrong = sum(a != b for a, b in zip(vars(cut.forward).values(), vars(best.forward).values(), strict=True))
        others = sum(getattr(cut, field) != getattr(best, field) for field in ("blocks", "coordinate", "backward"))
        return 1.0 + wrong + others if cut.forward.stages != 4 else None

    assert tune.search(CUT, 256, measure, lambda line: None) == best


def test_what_does_not_run_or_gains_too_little_is_not_taken() -> None:
    def measure(kernel: str, cut: configs.Table) -> float | None:
        return 1.0 if cut == CUT else None if cut.blocks == CUT.blocks else 0.99

    assert tune.search(CUT, 256, measure, lambda line: None) == CUT


def test_an_entry_that_does_not_run_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="the table's own entry does not run: forward"):
        tune.search(CUT, 256, lambda kernel, cut: None, lambda line: None)


def test_an_entry_written_is_the_one_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "measured.json"
    path.write_text('{"sm80/64/tf32": {}}')
    cut = replace(CUT, blocks=2)
    tune.write_entry(path, configs.key((9, 0), 256, torch.bfloat16, "tf32"), asdict(cut))
    assert list(json.loads(path.read_text())) == ["sm80/64/tf32", "sm90/256/bfloat16"]
    path.write_text(json.dumps({"sm90/256/bfloat16": json.loads(path.read_text())["sm90/256/bfloat16"]}))
    monkeypatch.setattr(configs, "MEASURED", path)
    configs._measured.cache_clear()
    try:
        assert configs.table((9, 0), 256, torch.bfloat16, "tf32") == cut
        assert configs.table((9, 0), 256, torch.float16, "tf32") == configs._largest((9, 0), 256, torch.float16, "tf32")
    finally:
        configs._measured.cache_clear()


def judge(monkeypatch: pytest.MonkeyPatch, error: float | Exception, kernel: str = "forward") -> str | None:
    """What `Problem.judge` tells of a session whose judge finds that error, or raises it."""
    problem = tune.Problem("bfloat16", torch.device("cpu"), side=4)

    def session(case: Case, contestant: Contestant, device: torch.device) -> Mock:
        assert triton_launch.table((9, 0), 256, torch.bfloat16, "tf32") is CUT
        assert (case.suite, contestant.backend) == ("query" if kernel == "forward" else "train", "triton")
        verdict = {"quantity": "output", "error": error, "limit": 1.0}
        raising = error if isinstance(error, Exception) else None
        return Mock(judge=Mock(return_value=[verdict], side_effect=raising))

    monkeypatch.setattr(tune, "LocalSession", session)
    return problem.judge(kernel, CUT)


@pytest.mark.parametrize("kernel", tune.KERNELS)
def test_a_cut_is_judged_by_the_gate_of_a_picture_or_of_a_training_step(
    kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert judge(monkeypatch, 0.5, kernel) is None


@pytest.mark.parametrize("error", [1.5, float("nan")])
def test_a_cut_that_errs_too_much_or_returns_nan_is_wrong(error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert judge(monkeypatch, error) == f"output errs by {error:.2e}, limit 1.00e+00"


def test_a_cut_that_does_not_compile_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    told = judge(monkeypatch, OutOfResources(300_000, 232_448, "shared memory"))
    assert told is not None
    assert told.startswith("OutOfResources: out of resource: shared memory, Required: 300000")


def test_what_is_wrong_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    for error, seconds in ((None, 0.25), ("wrong", None)):
        problem = Mock(cut=CUT, judge=Mock(return_value=error), time=Mock(return_value=0.25))
        name, row = tune.judged(problem, 1)
        assert name == "forward, queries 128"
        assert tune.timed_candidate(problem, 1, row)["seconds"] == seconds
        assert tune.Problem.measure(problem, "forward", CUT) == seconds
