"""Operation counts: DESIGN's figures, and what torch counts while the backends compute."""

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
from benchmarks import counts
from benchmarks.counts import Workload


def test_a_query_of_the_paper_s_model_costs_what_design_says() -> None:
    config = ModelConfig()
    assert counts.literal_query(config) == pytest.approx(3.075e6, rel=2e-4)
    assert counts.algebra_query(config) == pytest.approx(1.784e6, rel=2e-4)
    assert counts.algebra_query(config, sharing=10**9) == pytest.approx(1.576e6, rel=2e-3)  # DESIGN does not share rel


def test_a_megapixel_with_backward_costs_what_design_says() -> None:
    work = Workload((64, 64), 1024 * 1024)
    assert 2 * counts.forward_algebra(ModelConfig(), work) == pytest.approx(3.74e12, rel=5e-3)
    backward = counts.training_algebra(ModelConfig(), work) - counts.forward_algebra(ModelConfig(), work)
    assert 2 * backward == pytest.approx(11.2e12, rel=5e-3)


def counted(monkeypatch: pytest.MonkeyPatch, encoding: Encoding, backend: str, work: Workload, train: bool) -> int:
    """Multiply-accumulates of the matrix products that torch sees."""
    monkeypatch.setattr(products, "_has_avx512", lambda: False)  # torch does not count oneDNN's own products
    # inside a registered operator torch counts nothing: its implementation is called in its stead
    plain = _Counted.apply if train else lambda *arguments: tiled._forward(Problem.of(*arguments))
    monkeypatch.setattr(torch.ops.arasfsr, "tiled", plain)
    images = 1 if work.shared else work.batch
    coord = make_coord((work.queries, 1)).unsqueeze(0).repeat(images, 1, 1)
    cell = make_cell((9, 9)).view(1, 1, 2)
    if work.per_query_cell:
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
        ctx.problem = Problem.of(*arguments)
        ctx.arguments = len(arguments)
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


SHAPES = [Workload((4, 5), 30), Workload((4, 5), 30, 3), Workload((4, 5), 30, 3, False, True)]


@pytest.mark.parametrize("work", SHAPES, ids=["one image", "shared grid", "scattered"])
@pytest.mark.parametrize("name", SMALL)
def test_literal_counts_are_those_of_reference(name: str, work: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    encoding, config = small_encoding(name, work.batch), SMALL[name]
    assert counted(monkeypatch, encoding, "reference", work, False) == counts.forward_literal(config, work)
    assert counted(monkeypatch, encoding, "reference", work, True) == counts.training_literal(config, work)


@pytest.mark.parametrize("work", SHAPES, ids=["one image", "shared grid", "scattered"])
@pytest.mark.parametrize("name", SMALL)
def test_algebra_counts_are_those_of_tiled(name: str, work: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what torch does not count (the weighting of the corners) and for a cell's term: in the LR map, or in one
    product with rel's, for every corner."""
    encoding, config = small_encoding(name, work.batch), SMALL[name]
    n = config.decoder.width
    weighting = work.batch * work.queries * 4 * n
    of_cell = 3 * work.batch * work.queries * 2 * n if work.per_query_cell else 2 * n
    found = counted(monkeypatch, encoding, "tiled", work, False)
    assert found == pytest.approx(counts.forward_algebra(config, work) - weighting + of_cell, abs=1)


def test_the_lr_map_is_counted_once_an_image() -> None:
    config = ModelConfig()
    few, more = (Workload((64, 64), 10, batch) for batch in (1, 4))
    without = [work.batch * 10 * counts.algebra_query(config, work.batch) for work in (few, more)]
    maps = [counts.forward_algebra(config, work) - rest for work, rest in zip((few, more), without, strict=True)]
    assert maps[1] == pytest.approx(4 * maps[0])
    assert maps[0] == pytest.approx(64 * 64 * 648 * 256)


@pytest.mark.parametrize("name", SMALL)
def test_training_counts_are_those_of_tiled(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose backward multiplies by rel in the forward, its recompute and rel's weight gradient, and with a cell of the
    query's own by that for every corner in the first two."""
    work, config = Workload((4, 5), 30, 2, False, True), SMALL[name]
    encoding = small_encoding(name, 2)
    tile_only = counts.training_algebra(config, work) - 3 * work.batch * counts.latent_map(config, work.lr)
    n = config.decoder.width
    weighting = 4 * work.batch * work.queries * 4 * n
    grad_cell = work.batch * work.queries * 2 * n  # tiled always has it: too little to ask whether it is wanted
    for_corners = 2 * 3 * work.batch * work.queries * 2 * n
    found = counted(monkeypatch, encoding, "tiled", work, True)
    first = split_first_layer(encoding.weights)
    lr_map = work.batch * counts.latent_map(config, work.lr)
    assert first.unfold.requires_grad
    assert found - lr_map == pytest.approx(tile_only - weighting + grad_cell + for_corners, rel=1e-6)
