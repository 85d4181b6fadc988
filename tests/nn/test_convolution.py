"""Convolutions of the feature map: as torch's own, and as exact as torch lets matrix products be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from rounded import CONVOLUTIONS, PRODUCTS, RoundedToTf32
from tolerances import FLOAT32_OUTPUT, FLOAT64, GOLDEN_GRADIENT
from torch import Tensor
from torch.nn import functional as F

from arasfsr import ImplicitSR, ModelConfig
from arasfsr.nn import convolution
from arasfsr.nn.convolution import by_products, convolve
from arasfsr.nn.decoders.mlp import split_first_layer
from arasfsr.query.lr_map import make_lr_map
from arasfsr.testing import relative_rms


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU convolves as a GPU does in float32."""
    monkeypatch.setattr(convolution, "by_products", lambda device, dtype: True)


def arguments(batch: int, height: int, width: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    shapes = (batch, 5, height, width), (8, 5, 3, 3), (batch, 1, 1, 8), (1, height, 1, 8), (1, 1, width, 8)
    return [torch.randn(shape, dtype=dtype).requires_grad_() for shape in shapes]


def by_torch(features: Tensor, weight: Tensor, *terms: Tensor) -> Tensor:
    return F.conv2d(features, weight, padding=1).permute(0, 2, 3, 1) + sum(terms)


def gradients_of(function: Callable[..., Tensor], given: list[Tensor]) -> list[Tensor]:
    out = function(*given)
    upstream = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    return list(torch.autograd.grad((out * upstream).sum(), given))


def test_float32_convolutions_are_products_only_on_gpus() -> None:
    gpu, cpu = torch.device("cuda", 0), torch.device("cpu")
    assert by_products(gpu, torch.float32)
    assert not any(by_products(gpu, dtype) for dtype in (torch.bfloat16, torch.float16, torch.float64))
    assert not by_products(cpu, torch.float32)


@pytest.mark.parametrize("block", [1, 20, 1 << 17])
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 1, 1), (1, 2, 5), (2, 7, 4), (3, 5, 1), (0, 3, 3)])
@pytest.mark.usefixtures("products")
def test_products_match_the_convolution(
    batch: int, height: int, width: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "BLOCK", block)
    given = arguments(batch, height, width)
    found = convolve(*given)
    assert found.is_contiguous()
    torch.testing.assert_close(found, by_torch(*given), rtol=FLOAT64, atol=FLOAT64)
    for ours, truth in zip(gradients_of(convolve, given), gradients_of(by_torch, given), strict=True):
        torch.testing.assert_close(ours, truth, rtol=FLOAT64, atol=FLOAT64)


@pytest.mark.parametrize("small", [0, 1 << 15])
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 1, 1), (1, 2, 5), (2, 7, 4), (3, 5, 1), (0, 3, 3)])
@pytest.mark.parametrize("terms", [1, 2, 3])
@pytest.mark.usefixtures("products")
@torch.no_grad()
def test_products_match_the_convolution_without_gradients(
    batch: int, height: int, width: int, terms: int, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "SMALL", small)
    given = arguments(batch, height, width)[: 2 + terms]
    before = [tensor.clone() for tensor in given]
    found = convolve(*given)
    assert found.is_contiguous()
    torch.testing.assert_close(found, by_torch(*given), rtol=FLOAT64, atol=FLOAT64)
    assert all(torch.equal(a, b) for a, b in zip(before, given, strict=True))


@pytest.mark.usefixtures("products")
def test_products_have_second_derivatives() -> None:
    features, weight, *_ = arguments(1, 2, 3)
    assert torch.autograd.gradgradcheck(convolve, (features, weight, torch.zeros(1, 1, 1, 8, dtype=torch.float64)))


@pytest.mark.usefixtures("products")
def test_products_compile_into_one_graph() -> None:
    given = arguments(2, 4, 5, torch.float32)
    compiled = torch.compile(convolve, fullgraph=True, backend="aot_eager")
    for ours, truth in zip(gradients_of(compiled, given), gradients_of(convolve, given), strict=True):
        torch.testing.assert_close(ours, truth)


def lr_map_errors(stand_in: RoundedToTf32) -> tuple[float, float]:
    """Relative errors of the paper's LR map in float32, and of the worse of its gradients to features and weight."""
    model = ImplicitSR(ModelConfig())
    features, cell = torch.randn(1, 72, 9, 11), torch.rand(1, 1, 2)

    def found(dtype: torch.dtype) -> list[Tensor]:
        leaf, weights = features.to(dtype).requires_grad_(), model.decoder.weights().to(dtype)
        out = make_lr_map(leaf, cell.to(dtype), split_first_layer(weights))
        return [out, *torch.autograd.grad(out.square().sum(), [leaf, weights.content[0][0]])]

    exact = found(torch.float64)
    with stand_in:
        out, *grads = map(relative_rms, found(torch.float32), exact)
    return out, max(grads)


def test_cudnn_tf32_leaves_the_lr_map_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch has it on a GPU, unless told otherwise: cuDNN rounds to TF32, matrix products do not."""
    cudnn = RoundedToTf32(CONVOLUTIONS)
    assert min(lr_map_errors(cudnn)) > 10 * FLOAT32_OUTPUT  # or it rounds nothing
    monkeypatch.setattr(convolution, "by_products", lambda device, dtype: True)
    out, grads = lr_map_errors(cudnn)
    assert out <= FLOAT32_OUTPUT
    assert grads <= GOLDEN_GRADIENT


@pytest.mark.usefixtures("products")
def test_matmul_tf32_applies_to_the_lr_map() -> None:
    assert min(lr_map_errors(RoundedToTf32(PRODUCTS))) > 10 * FLOAT32_OUTPUT
