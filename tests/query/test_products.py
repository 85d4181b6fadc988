"""Products of backend `tiled`: the same numbers by either of torch's ways."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from arasfsr.query.tiled import products
from arasfsr.query.tiled.products import Products, Scratch


@pytest.fixture(params=[True, False], ids=["onednn", "mm"])
def onednn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the machine counts as one where oneDNN's own layout of a weight is faster."""
    monkeypatch.setattr(products, "_has_avx512", lambda: request.param)
    return bool(request.param)


@pytest.mark.parametrize("rows", [1, 37, 1000])
@pytest.mark.parametrize("inputs", [42, 512])
def test_products_match_addmm(onednn: bool, rows: int, inputs: int) -> None:
    torch.manual_seed(0)
    x, weight, bias, grad = (torch.randn(shape) for shape in ((rows, inputs), (96, inputs), (96,), (rows, 96)))
    ours, scratch = Products(), Scratch(x.device)
    expected = torch.addmm(bias, x, weight.t())
    for _ in range(2):  # the second time with what was laid out the first time
        torch.testing.assert_close(ours.affine(x, weight, bias, scratch, "y"), expected, rtol=1e-4, atol=1e-4)
        found = ours.input_gradient(grad, weight, scratch, "dx")
        torch.testing.assert_close(found, grad @ weight, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(products.weight_gradient(grad, x), grad.t() @ x, rtol=1e-4, atol=1e-4)


def test_weights_that_reuse_an_address_are_distinguished(onednn: bool) -> None:
    ours, scratch, x = Products(), Scratch(torch.device("cpu")), torch.ones(64, 64)
    for value in range(8):  # each weight's memory is free for the next one, were it not kept
        found = ours.affine(x, torch.full((64, 64), float(value)), torch.zeros(64), scratch, "y")
        assert torch.equal(found, torch.full((64, 64), 64.0 * value))


BFLOAT16 = products.arithmetic_dtype(torch.bfloat16, torch.device("cpu"))
"""What bfloat16 is multiplied in here: float32 where oneDNN does not take it."""


@pytest.mark.parametrize(("dtype", "fits"), [(torch.float32, True), (BFLOAT16, True), (torch.float64, False)])
def test_a_weight_is_packed_once_for_dtypes_that_onednn_takes(
    onednn: bool, dtype: torch.dtype, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out: Callable[..., Tensor] = torch.ops.mkldnn._reorder_linear_weight
    count = []

    def counted(weight: Tensor, rows: int) -> Tensor:
        count.append(rows)
        return lay_out(weight, rows)

    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", counted)
    x, weight = torch.ones(100, 64, dtype=dtype), torch.ones(8, 64, dtype=dtype)
    ours, scratch = Products(), Scratch(x.device)
    for _ in range(3):
        ours.affine(x, weight, weight[:, 0].contiguous(), scratch, "y")
    assert count == ([100] if onednn and fits else [])
