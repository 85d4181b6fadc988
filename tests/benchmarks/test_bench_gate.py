"""The gate lets right results through and no wrong ones; the authors' implementation is the literal method."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from arasfsr.testing import error_bar
from benchmarks import contestants as who
from benchmarks import gate
from benchmarks.cases import Case
from benchmarks.contestants import Contestant
from benchmarks.session import LocalSession
from benchmarks.workload import Workload

CPU = torch.device("cpu")
QUERY = Case("query", "tiny", (8, 8), (20, 24), 2, "float32")
TRAIN = Case("train", "tiny", (6, 6), (10, 10), 2, "float32", True)
FILES = Case("end-to-end", "tiny", (8, 8), (20, 24), 1, "float32")


def session(case: Case, name: str, dtype: str = "float32") -> LocalSession:
    """A contestant on a small case, by its name and dtype."""
    case = Case(case.suite, case.model, case.lr, case.output, case.batch, dtype, case.scattered)
    (found,) = who.contestants(dtype, CPU, (name,))
    return LocalSession(case, found, CPU)


@pytest.mark.parametrize("case", [QUERY, TRAIN, FILES], ids=lambda case: case.suite)
@pytest.mark.parametrize(("dtype", "name"), [("float32", "public"), ("bfloat16", "public-autocast")])
def test_right_results_pass(case: Case, dtype: str, name: str) -> None:
    for contestant in (name, "tiled"):
        verdicts = session(case, contestant, dtype).judge()
        assert verdicts
        assert all(verdict["ok"] for verdict in verdicts), verdicts


def test_training_is_judged_by_its_gradients_too() -> None:
    assert [verdict["quantity"] for verdict in session(TRAIN, "tiled").judge()] == ["output", "gradient"]


def wrong(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Let our backends' output go through `change`."""
    right = who._ours

    def decoder(contestant: Contestant) -> who.Decode:
        decode = right(contestant)
        return lambda inputs, weights: change(decode(inputs, weights))

    monkeypatch.setattr(who, "_ours", decoder)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("scale", [1.1, float("nan")])
def test_a_wrong_output_is_refused(dtype: str, scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong(monkeypatch, lambda out: out * scale)
    (verdict,) = session(QUERY, "tiled", dtype).judge()
    assert not verdict["ok"]


def test_a_slightly_wrong_float32_output_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong(monkeypatch, lambda out: out + 1e-5 * torch.randn_like(out))
    assert not session(QUERY, "tiled").judge()[0]["ok"]


def test_a_wrong_gradient_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, out: Tensor) -> Tensor:
            return out.clone()

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Tensor:
            result: Tensor = grads[0] * torch.linspace(0.99, 1.01, grads[0].shape[1]).view(1, -1, 1)
            return result

    wrong(monkeypatch, Wrong.apply)
    output, gradient = session(TRAIN, "tiled").judge()
    assert output["ok"]
    assert not gradient["ok"]


def test_a_wrong_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = session(FILES, "public")
    assert found._files is not None
    right = found._files._decode
    found._files._decode = lambda inputs, weights: right(inputs, weights) + 0.05
    (verdict,) = found.judge()
    assert not verdict["ok"]


def test_limits_are_the_contract_s() -> None:
    assert error_bar(torch.float32, 4e-7) == 8e-7
    assert error_bar(torch.float32, 1.0) == 1e-5
    assert error_bar(torch.bfloat16, 1e-3) == 2e-3
    assert error_bar(torch.float32, 1e-3, tf32=True) == 2e-3


def test_a_case_in_tf32_has_its_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Workload.of(QUERY, CPU)
    inputs = work.sets[0]
    out = who._literal(inputs.features, inputs.image, inputs.coord, inputs.cell, work.weights)
    given: list[bool] = []
    monkeypatch.setattr(gate, "error_bar", lambda dtype, error, tf32: given.append(tf32) or 1.0)
    for dtype in ("tf32", "float32"):
        gate.judge_output(out, inputs, work.weights, dtype)
    assert given == [True, False]


def test_queries_at_a_boundary_are_left_out() -> None:
    centre, boundary = [0.3, 0.3], [-0.25 - 1e-6, 0.3]  # a corner of the second lies between two of four rows
    clear = gate.clear_of_boundaries(torch.tensor([[centre, boundary]], dtype=torch.float64), (4, 4))
    assert clear.tolist() == [[True, False]]


def test_the_edge_of_the_picture_is_no_boundary() -> None:
    assert gate.clear_of_boundaries(torch.tensor([[[-0.9, 0.9]]]), (4, 4)).all()


def test_the_public_way_runs_in_chunks_and_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, bool]] = []
    right = who._literal

    def spy(*arguments: Any) -> Tensor:
        seen.append((arguments[2].shape[1], torch.is_autocast_enabled("cpu")))
        return right(*arguments)

    monkeypatch.setattr(who, "_literal", spy)
    monkeypatch.setattr(who, "PUBLIC_CHUNK", 200)
    session(QUERY, "public-autocast", "bfloat16").judge()
    assert seen == [(200, True), (200, True), (80, True)]


def test_the_autocast_peer_computes_layers_in_bfloat16_and_geometry_in_float32() -> None:
    work = Workload.of(QUERY, CPU)
    inputs = work.sets[0]
    arguments = (inputs.features, None, inputs.coord, inputs.cell, work.weights)
    with torch.no_grad():
        full = who._literal(*arguments)
        with torch.autocast("cpu", torch.bfloat16):
            half = who._literal(*arguments)
    assert full.dtype == half.dtype == torch.float32
    assert 1e-4 < ((full - half).norm() / full.norm()).item() < 3e-2


def test_every_set_of_inputs_is_its_own_and_the_same_each_time() -> None:
    first, second = Workload.of(TRAIN, CPU), Workload.of(TRAIN, CPU)
    assert not torch.equal(first.sets[0].features, first.sets[1].features)
    for a, b in zip(first.sets, second.sets, strict=True):
        assert torch.equal(a.features, b.features)
        assert torch.equal(a.coord, b.coord)
