"""Products of backend `tiled`: the same numbers by either of torch's ways."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from arasfsr.query import products


@pytest.fixture(params=[True, False], ids=["convolution", "mm"])
def convolution(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the machine counts as one where a convolution is faster."""
    monkeypatch.setattr(products, "_has_avx512", lambda: request.param)
    return bool(request.param)


@pytest.mark.parametrize("rows", [1, 37, 1000])
@pytest.mark.parametrize("inputs", [42, 512])
def test_either_way_gives_the_products(convolution: bool, rows: int, inputs: int) -> None:
    torch.manual_seed(0)
    x, weight, bias, grad = (torch.randn(shape) for shape in ((rows, inputs), (96, inputs), (96,), (rows, 96)))
    found = products.affine(x, weight, bias, torch.empty(rows, 96))
    torch.testing.assert_close(found, torch.addmm(bias, x, weight.t()), rtol=1e-4, atol=1e-4)
    found = products.input_gradient(grad, weight, torch.empty(rows, inputs))
    torch.testing.assert_close(found, grad @ weight, rtol=1e-4, atol=1e-4)
    found = products.weight_gradient(grad, x)
    torch.testing.assert_close(found, grad.t() @ x, rtol=1e-4, atol=1e-4)


def test_only_large_float32_products_are_convolutions(convolution: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    conv2d, rows = F.conv2d, []

    def counted(pixels: Tensor, *rest: Tensor) -> Tensor:
        rows.append(pixels.shape[2])
        return conv2d(pixels, *rest)

    monkeypatch.setattr(F, "conv2d", counted)
    for x in (torch.ones(1000, 64), torch.ones(4, 64), torch.ones(1000, 64).double()):
        weight, bias = x.new_zeros(8, 64), x.new_zeros(8)
        products.affine(x, weight, bias, x.new_empty(len(x), 8))
    assert rows == ([1000] if convolution else [])
