"""Operation counts: known figures, and what torch counts while the backends compute."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import SMALL, small_model
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from arasfsr import ModelConfig
from arasfsr.coords import make_cell, make_coord
from arasfsr.model import Encoding
from arasfsr.nn.decoders.mlp import split_first_layer
from arasfsr.query.operator import Need, Problem
from arasfsr.query.tiled import operator as tiled
from arasfsr.query.tiled import products
from benchmarks.cases import Case
from benchmarks.counts import lr_map, macs


def case(suite: str, batch: int = 1, scattered: bool = False, lr: tuple[int, int] = (4, 5), queries: int = 30) -> Case:
    return Case(suite, "full", lr, (queries, 1), batch, "float32", scattered)


def test_a_query_of_the_paper_s_model_has_the_known_counts() -> None:
    config, maps = ModelConfig(), lr_map(ModelConfig(), (4, 5))
    assert macs(case("query", queries=1), config, literal=True) == pytest.approx(3.075e6, rel=2e-4)
    assert macs(case("query", queries=1), config) - maps == pytest.approx(1.784e6, rel=2e-4)
    many = 10**9  # images that share the coordinate branch
    assert macs(case("query", many, queries=1), config) / many - maps == pytest.approx(1.576e6, rel=2e-3)


def test_a_megapixel_with_backward_has_the_known_counts() -> None:
    forward, training = (macs(case(of, 1, False, (64, 64), 1 << 20), ModelConfig()) for of in ("query", "train"))
    assert 2 * forward == pytest.approx(3.74e12, rel=5e-3)
    assert 2 * (training - forward) == pytest.approx(11.2e12, rel=5e-3)


def counted(monkeypatch: pytest.MonkeyPatch, encoding: Encoding, backend: str, work: Case) -> int:
    """Multiply-accumulates of the matrix products that torch sees."""
    monkeypatch.setattr(products, "_has_avx512", lambda: False)  # torch does not count oneDNN's own products
    # inside a registered operator torch counts nothing: its implementation is called in its stead
    train = work.suite == "train"
    plain = _Counted.apply if train else lambda *arguments: tiled._forward(Problem.of(*arguments))
    monkeypatch.setattr(torch.ops.arasfsr, "tiled", plain)
    images = work.batch if work.scattered else 1
    coord = make_coord((work.queries, 1)).unsqueeze(0).repeat(images, 1, 1)
    cell = make_cell((9, 9)).view(1, 1, 2)
    if work.scattered:
        cell = cell.repeat(work.batch, work.queries, 1)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(train):
        out = encoding.query(coord, cell, backend, torch.float32)
        if train:
            out.sum().backward()
    return int(counter.get_total_flops()) // 2


class _Counted(torch.autograd.Function):
    """The tiled operator's own forward and backward, visible to the counter."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        ctx.problem, ctx.arguments = Problem.of(*arguments), len(arguments)
        return tiled._forward(ctx.problem)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[None, ...]:
        tiled._backward(grads[0], ctx.problem, Need(image=False, coord=False, cell=False))
        return (None,) * ctx.arguments


def small_encoding(name: str, batch: int) -> Encoding:
    """A small model's encoding without the skip, whose features take gradients."""
    model = small_model(name)
    features = torch.randn(batch, model.config.feature_channels, 4, 5, requires_grad=True)
    return Encoding(features, None, model.decoder.weights())


each_shape = pytest.mark.parametrize(
    ("batch", "scattered"), [(1, False), (3, False), (3, True)], ids=["one image", "shared grid", "scattered"]
)


@each_shape
@pytest.mark.parametrize("name", SMALL)
def test_literal_counts_are_those_of_reference(
    name: str, batch: int, scattered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoding = small_encoding(name, batch)
    for suite in ("query", "train"):
        work = case(suite, batch, scattered)
        assert counted(monkeypatch, encoding, "reference", work) == macs(work, SMALL[name], literal=True)


@each_shape
@pytest.mark.parametrize("name", SMALL)
def test_algebra_counts_are_those_of_tiled(
    name: str, batch: int, scattered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for what torch does not count (the weighting of the corners) and for a cell's term: in the LR map, or in one
    product with rel's, for every corner."""
    work, config = case("query", batch, scattered), SMALL[name]
    encoding = small_encoding(name, batch)
    n = config.decoder.width
    weighting = work.batch * work.queries * 4 * n
    of_cell = 3 * work.batch * work.queries * 2 * n if scattered else 2 * n
    found = counted(monkeypatch, encoding, "tiled", work)
    assert found == pytest.approx(macs(work, config) - weighting + of_cell, abs=1)


def test_the_lr_map_is_counted_once_an_image() -> None:
    config = ModelConfig()
    assert lr_map(config, (64, 64)) == 64 * 64 * 648 * 256
    for batch in (1, 4):
        small, large = (macs(case("query", batch, True, lr), config) for lr in ((4, 5), (64, 64)))
        assert large - small == pytest.approx(batch * (lr_map(config, (64, 64)) - lr_map(config, (4, 5))))


@pytest.mark.parametrize("name", SMALL)
def test_training_counts_are_those_of_tiled(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose backward multiplies by rel in the forward, its recompute and rel's weight gradient, and with a cell of the
    query's own by that for every corner in the first two."""
    work, config = case("train", 2, True), SMALL[name]
    encoding = small_encoding(name, 2)
    tile_only = macs(work, config) - 3 * work.batch * lr_map(config, work.lr)
    n = config.decoder.width
    weighting = 4 * work.batch * work.queries * 4 * n
    grad_cell = work.batch * work.queries * 2 * n  # tiled always has it: too little to ask whether it is wanted
    for_corners = 2 * 3 * work.batch * work.queries * 2 * n
    found = counted(monkeypatch, encoding, "tiled", work)
    first = split_first_layer(encoding.weights)
    assert first.unfold.requires_grad
    assert found - work.batch * lr_map(config, work.lr) == pytest.approx(
        tile_only - weighting + grad_cell + for_corners, rel=1e-6
    )
