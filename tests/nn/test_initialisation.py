"""Initial parameters: what balanced ones are good for, part by part, where paper's fall short."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from arasfsr import ArgumentError, DecoderConfig, ImplicitSR, LTEConfig, ModelConfig
from arasfsr.config import Init
from arasfsr.coords import fourier_encoding, local_ensemble, make_cell, make_coord
from arasfsr.nn.decoders import build_decoder
from arasfsr.nn.decoders.base import unfold
from arasfsr.nn.decoders.mlp import MLPDecoder, split_first_layer

LR, HR = 24, 96


def rms(x: Tensor) -> float:
    return x.pow(2).mean().sqrt().item()


class Start(NamedTuple):
    """Magnitudes (rms) in a new model of the paper's size, on a smooth picture."""

    signal: float
    """Frequency maps, less their means."""
    noise: float
    """What the latent's noise changes in them."""
    content: list[float]
    """f_1 .. f_4."""
    gates: list[float]
    """s_1 .. s_4."""


def start(init: Init) -> Start:
    torch.manual_seed(0)
    model = ImplicitSR(ModelConfig(init=init)).eval()
    assert model.frequency is not None
    image = F.interpolate(torch.rand(2, 3, 6, 6), (LR, LR), mode="bicubic") * 2 - 1
    with torch.no_grad():
        maps, _ = model.frequency(image, sample=False)
        noisy, _ = model.frequency(image, sample=True)
        content, gates = activations(model, torch.cat((model.encoder(image), maps), dim=1))
    return Start(rms(maps - maps.mean(dim=(2, 3), keepdim=True)), rms(noisy - maps), content, gates)


def activations(model: ImplicitSR, features: Tensor) -> tuple[list[float], list[float]]:
    """Magnitudes of both branches in one corner of every query."""
    assert isinstance(model.decoder, MLPDecoder)
    weights, coord = model.decoder.weights(), make_coord((HR, HR)).unsqueeze(0)
    corners = local_ensemble(coord, (LR, LR))
    rows = unfold(features).transpose(1, 2)[:, corners.lr_pixel[0, 0]]
    pairs = (corners.rel[0], corners.centre[0], make_cell((HR, HR)) * LR)
    f, s = torch.cat([rows, *(pair.expand(*rows.shape[:2], 2) for pair in pairs)], dim=-1), fourier_encoding(coord)
    content, gates = [], []
    for i, (layer, modulator) in enumerate(zip(weights.content, weights.modulator, strict=True)):
        f = F.linear(torch.cat((f, f * s), dim=-1) if i else f, *layer).relu()
        s = F.linear(s, *modulator).sin()
        content.append(rms(f))
        gates.append(rms(s))
    return content, gates


@pytest.fixture(scope="module")
def paper() -> Start:
    return start("paper")


@pytest.fixture(scope="module")
def balanced() -> Start:
    return start("balanced")


def test_the_latent_s_noise_drowns_the_frequency_maps_only_as_in_the_paper(paper: Start, balanced: Start) -> None:
    assert paper.noise > 5 * paper.signal
    assert balanced.noise < balanced.signal / 3


def test_activations_keep_their_magnitude_from_layer_to_layer(paper: Start, balanced: Start) -> None:
    assert paper.content[-1] < paper.content[0] / 5
    assert min(balanced.content) > 0.5 * max(balanced.content)


def test_gates_after_the_first_start_open(paper: Start, balanced: Start) -> None:
    assert max(paper.gates[1:]) < 0.3
    assert min(balanced.gates[1:]) > 0.7


def test_columns_of_rel_and_cell_have_their_own_deviations() -> None:
    torch.manual_seed(0)
    decoder = build_decoder(DecoderConfig(width=1024), 8)
    assert isinstance(decoder, MLPDecoder)
    first = split_first_layer(decoder.weights())
    assert first.rel.std().item() == pytest.approx(0.2, rel=0.1)
    assert first.cell.std().item() == pytest.approx(0.06, rel=0.1)
    assert first.unfold.std().item() == pytest.approx(math.sqrt(2 / (9 * 8 + 6)), rel=0.1)


def test_octaves_fade_and_the_coordinate_itself_does_not() -> None:
    columns = {}
    for init in ("paper", "balanced"):
        torch.manual_seed(0)
        decoder = build_decoder(DecoderConfig(), 8, init)
        assert isinstance(decoder, MLPDecoder)
        columns[init] = decoder.weights().modulator[0][0].std(dim=0)
    ratio = columns["balanced"] / columns["paper"]
    assert ratio[:2].tolist() == pytest.approx([1, 1], rel=0.2)
    for k in range(10):
        assert ratio[2 + 4 * k : 6 + 4 * k].tolist() == pytest.approx([1.5 * 2 ** (-k / 2)] * 4, rel=0.3)


def test_encoder_and_output_start_as_in_the_paper() -> None:
    models = []
    for init in ("paper", "balanced"):
        torch.manual_seed(0)
        models.append(ImplicitSR(ModelConfig(init=init)).state_dict())
    paper, balanced = models
    same = {name for name in paper if torch.equal(paper[name], balanced[name])}
    assert same >= {name for name in paper if name.startswith("encoder.")} | {"decoder.output.weight"}


@pytest.mark.parametrize(
    ("config", "init"),
    [
        (ModelConfig(), "balanced"),
        (ModelConfig.liif(), "paper"),
        (ModelConfig.lte(), "paper"),
        (ModelConfig.diinn(), "paper"),
        (ModelConfig.model_validate({"decoder": {"name": "lte"}}), "paper"),
    ],
)
def test_baselines_start_as_published(config: ModelConfig, init: Init) -> None:
    assert config.init == init


def test_an_initialisation_takes_the_place_of_a_model_s() -> None:
    weights = []
    for config, init in ((ModelConfig(init="paper"), None), (ModelConfig(), "paper"), (ModelConfig(), None)):
        torch.manual_seed(0)
        weights.append(build_decoder(config, init=init).weights().content[0][0])  # type: ignore[arg-type]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("config", [DecoderConfig(), LTEConfig(), ModelConfig()])
def test_error_names_init(config: DecoderConfig | LTEConfig | ModelConfig) -> None:
    with pytest.raises(ArgumentError, match=r"^init must be one of paper, balanced, got 'he'$"):
        build_decoder(config, 8, "he")  # type: ignore[arg-type]
