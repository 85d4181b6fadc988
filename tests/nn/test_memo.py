"""What is kept of frozen parameters: nothing that is not true any more, and no longer than they live."""

from __future__ import annotations

import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from models import small_model
from torch import Tensor, nn

from arasfsr.nn import memo
from arasfsr.nn.memo import remembered


class Doubled:
    """Twice a tensor, and how often that was computed."""

    def __init__(self) -> None:
        self.made = 0

    def of(self, tensor: Tensor, variant: object = None) -> Tensor:
        def make() -> Tensor:
            self.made += 1
            return 2 * tensor

        return remembered([tensor], "doubled", make, variant)


def frozen(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape), requires_grad=False)


def test_a_value_is_computed_once() -> None:
    doubled, weight = Doubled(), frozen(4, 4)
    assert torch.equal(doubled.of(weight), 2 * weight)
    assert doubled.of(weight) is doubled.of(weight)
    assert doubled.made == 1


def _replace_memory(weight: Tensor) -> None:
    weight.data = torch.randn(4, 4)


def _round(weight: Tensor) -> None:
    """What a module's conversion to half precision and back does: the new memory may lie where the first lay."""
    weight.data = weight.data.half()
    weight.data = weight.data.float()


CHANGES: list[Callable[[Tensor], object]] = [
    lambda weight: weight.add_(1),
    lambda weight: weight[1].zero_(),
    lambda weight: torch._foreach_mul_([weight], 3.0),
    _replace_memory,
    _round,
]


@torch.no_grad()
@pytest.mark.parametrize("change", CHANGES, ids=["in place", "a part", "of a list", "other memory", "rounded"])
def test_a_changed_tensor_recomputes_the_value(change: Callable[[Tensor], object]) -> None:
    doubled, weight = Doubled(), frozen(4, 4)
    doubled.of(weight)
    change(weight)
    assert torch.equal(doubled.of(weight), 2 * weight)
    assert doubled.made == 2


def test_views_are_identified_by_their_base() -> None:
    doubled, weight = Doubled(), frozen(4, 4)
    assert doubled.of(weight[:, 1:]) is doubled.of(weight[:, 1:])
    assert torch.equal(doubled.of(weight[:, 2:]), 2 * weight[:, 2:])
    weight.add_(1)
    assert torch.equal(doubled.of(weight[:, 2:]), 2 * weight[:, 2:])
    assert doubled.made == 3


def test_a_change_of_any_source_recomputes_the_value() -> None:
    first, second = frozen(3), frozen(3)

    def total() -> Tensor:
        return remembered([first, second], "total", lambda: first + second)

    assert total() is total()
    second.add_(1)
    assert torch.equal(total(), first + second)


def test_the_last_variant_is_kept() -> None:
    doubled, weight = Doubled(), frozen(4)
    for variant in (1, 1, 2, 2, 1):
        doubled.of(weight, variant)
    assert doubled.made == 3
    assert len(memo._entries[id(weight)][1]) == 1


def test_forget() -> None:
    """After what torch does not see."""
    doubled, weight = Doubled(), frozen(4)
    doubled.of(weight)
    weight.data.add_(1)
    memo.forget()
    assert torch.equal(doubled.of(weight), 2 * weight)


def test_nothing_is_kept_for_trainable_parameters() -> None:
    """A fused optimizer's step moves no version counter, and a value that is not made anew has no gradient."""
    doubled, weight = Doubled(), nn.Parameter(torch.randn(4))
    optimizer = torch.optim.AdamW([weight], lr=1.0, fused=True)
    for _ in range(2):
        out = doubled.of(weight)
        assert torch.equal(out, 2 * weight)
        (gradient,) = torch.autograd.grad(out.sum(), weight)
        assert torch.equal(gradient, torch.full((4,), 2.0))
        weight.grad = gradient
        optimizer.step()
    assert doubled.made == 2


def test_entering_and_leaving_inference_mode() -> None:
    doubled, weight = Doubled(), frozen(4)
    with torch.inference_mode():
        kept = doubled.of(weight)
        unknown = torch.ones(4)  # has no version counter
        doubled.of(unknown)
        unknown.add_(1)
        assert torch.equal(doubled.of(unknown), torch.full((4,), 4.0))
    assert not kept.is_inference()
    assert doubled.of(weight) is kept


def test_a_compiled_graph_does_not_use_the_memo() -> None:
    doubled, weight = Doubled(), frozen(4)
    compiled = torch.compile(lambda tensor: doubled.of(tensor) + 1, fullgraph=True, backend="aot_eager")
    doubled.of(weight)
    for _ in range(2):
        assert torch.equal(compiled(weight), 2 * weight + 1)
        weight.data.add_(1)


def test_entries_are_freed_with_the_model() -> None:
    memo.forget()
    model = small_model().requires_grad_(False)
    for name in ("tiled", "reference"):
        model.encode(torch.rand(1, 3, 4, 4)).render((5, 6), backend=name)
    assert len(memo._entries) > 0
    del model
    gc.collect()
    assert len(memo._entries) == 0


def test_threads_share_entries() -> None:
    weights = [frozen(8, 8) for _ in range(4)]
    doubled = Doubled()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda turn: doubled.of(weights[turn % 4]), range(400)))
    assert all(torch.equal(found[turn], 2 * weights[turn % 4]) for turn in range(400))
    assert doubled.made < 40
