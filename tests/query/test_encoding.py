"""Encoding: what it can be made from, and the errors of arguments that do not fit together."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from models import random_queries
from torch import Tensor, nn

from arasfsr import ArgumentError, ArgumentTypeError, DecoderConfig, DIINNConfig, Encoding, LTEConfig
from arasfsr.nn.decoders import build_decoder

DECODERS = {
    "arasfsr": DecoderConfig(width=8),
    "liif": DecoderConfig(width=8, modulated=False),
    "lte": LTEConfig(width=8, waves=6),
    "diinn": DIINNConfig(width=8),
}


class Custom(nn.Module):
    """An encoder that is not of the library, which pads to an even size and crops, and a decoder."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, 5, 3, padding=1)
        self.decoder = build_decoder(DECODERS[name], channels=5)

    def forward(self, image: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
        h, w = image.shape[2:]
        features = self.encoder(nn.functional.pad(image, (0, w % 2, 0, h % 2)))[:, :, :h, :w]
        return Encoding(features, image, self.decoder.weights()).query(coord, cell, "tiled")


@pytest.fixture(params=DECODERS)
def own(request: pytest.FixtureRequest) -> Custom:
    torch.manual_seed(0)
    return Custom(request.param)


@pytest.fixture
def arguments() -> tuple[Tensor, Tensor, Tensor]:
    return torch.rand(2, 3, 4, 7) * 2 - 1, *random_queries(2, 9)


def encode(**changes: Any) -> Encoding:
    """An encoding of 2 images of 4 x 6 for a decoder of 5 channels, with other arguments as given."""
    given = {"features": torch.rand(2, 5, 4, 6), "image": torch.rand(2, 3, 4, 6)}
    given["weights"] = build_decoder(DecoderConfig(width=8), channels=5).weights()
    return Encoding(**{**given, **changes})


def test_gradients_reach_a_custom_encoder(own: Custom, arguments: tuple[Tensor, ...]) -> None:
    own(*arguments).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in own.parameters())


def test_a_custom_encoder_compiles_into_one_graph(own: Custom, arguments: tuple[Tensor, ...]) -> None:
    compiled = torch.compile(own, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*arguments), own(*arguments))


@pytest.mark.parametrize("strict", [True, False])
def test_a_custom_encoder_exports_for_any_size(own: Custom, arguments: tuple[Tensor, ...], strict: bool) -> None:
    sizes = {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    with torch.no_grad():
        exported = torch.export.export(own, arguments, dynamic_shapes=(sizes, None, None), strict=strict).module()
        for size in ((4, 7), (8, 11)):
            image = torch.rand(2, 3, *size)
            torch.testing.assert_close(exported(image, *arguments[1:]), own(image, *arguments[1:]))


def test_features_of_autocast_fit_an_image_and_weights_in_float32(own: Custom, arguments: tuple[Tensor, ...]) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = own(*arguments)
    torch.testing.assert_close(found, own(*arguments), rtol=0, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_features_of_any_floating_dtype(dtype: torch.dtype) -> None:
    assert encode(features=torch.rand(2, 5, 4, 6, dtype=dtype)).features.dtype == dtype


def test_without_an_image_there_is_no_skip() -> None:
    plain = encode(image=torch.zeros(2, 3, 4, 6))
    torch.testing.assert_close(dataclasses.replace(plain, image=None).render((5, 6)), plain.render((5, 6)))


def test_a_batch_may_be_empty() -> None:
    encoding = encode(features=torch.rand(0, 5, 4, 6), image=torch.rand(0, 3, 4, 6))
    assert encoding.render((5, 6)).shape == (0, 3, 5, 6)


def test_inference_tensors() -> None:
    with torch.inference_mode():
        assert encode().render((5, 6)).shape == (2, 3, 5, 6)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"features": np.zeros((2, 5, 4, 6))}, TypeError, r"features must be a tensor \(B, D, h, w\), got ndarray"),
        ({"features": torch.rand(5, 5, 6)}, ValueError, r"features must have shape \(B, 5, .*, got \(5, 5, 6\)"),
        ({"features": torch.rand(2, 9, 4, 6)}, ValueError, r"features .* decoder's channels, .*, got \(2, 9, 4, 6\)"),
        ({"features": torch.rand(2, 5, 0, 6)}, ValueError, r"features .* h and w at least 1, got \(2, 5, 0, 6\)"),
        ({"features": torch.rand(2, 5, 4, 0)}, ValueError, r"features .* h and w at least 1, got \(2, 5, 4, 0\)"),
        ({"features": torch.ones(2, 5, 4, 6).int()}, TypeError, "features must be floating point, got torch.int32"),
        ({"image": np.zeros((2, 3, 4, 6))}, TypeError, r"image must be a tensor .* or None, got ndarray"),
        ({"image": torch.rand(3, 4, 6)}, ValueError, r"image must have shape \(2, 3, 4, 6\), .*, got \(3, 4, 6\)"),
        ({"image": torch.rand(2, 1, 4, 6)}, ValueError, r"image must have shape .*, got \(2, 1, 4, 6\)"),
        (
            {"image": torch.rand(1, 3, 4, 6)},
            ValueError,
            r"image must have shape .* of the features, got \(1, 3, 4, 6\)",
        ),
        (
            {"image": torch.rand(2, 3, 2, 6)},
            ValueError,
            r"image must have shape .* of the features, got \(2, 3, 2, 6\)",
        ),
        (
            {"image": torch.rand(2, 3, 4, 3)},
            ValueError,
            r"image must have shape .* of the features, got \(2, 3, 4, 3\)",
        ),
        ({"image": torch.ones(2, 3, 4, 6).byte()}, TypeError, "image must be floating point .*, got torch.uint8"),
        (
            {"image": torch.rand(2, 3, 4, 6, device="meta")},
            ValueError,
            "image must be on the features' device cpu, got meta",
        ),
        (
            {"features": torch.rand(2, 5, 4, 6, device="meta")},
            ValueError,
            "weights must be on the features' device meta, got cpu",
        ),
        ({"weights": None}, TypeError, r"weights must be what a decoder's weights\(\) returns, got NoneType"),
        (
            {"weights": build_decoder(DecoderConfig(width=8), channels=5)},
            TypeError,
            r"weights must be what a decoder's weights\(\) returns, got MLPDecoder",
        ),
    ],
)
def test_error_names_an_argument_that_does_not_fit(changes: dict[str, Any], kind: type, message: str) -> None:
    with pytest.raises(kind, match=f"^{message}$") as caught:
        encode(**changes)
    assert isinstance(caught.value, (ArgumentError, ArgumentTypeError))


@pytest.mark.parametrize("name", DECODERS)
def test_error_names_the_channels_of_any_decoder(name: str) -> None:
    weights = build_decoder(DECODERS[name], channels=7).weights()
    with pytest.raises(ArgumentError, match=r"^features must have shape \(B, 7, h, w\), .*, got \(2, 5, 4, 6\)$"):
        encode(weights=weights)


def test_replace_checks_too() -> None:
    with pytest.raises(ArgumentError, match=r"^features must have shape"):
        dataclasses.replace(encode(), features=torch.rand(2, 6, 4, 6))
