"""What the trials change, and that nothing of it stays."""

from __future__ import annotations

import torch

from arasfsr import ImplicitSR, ModelConfig
from arasfsr.config import DecoderConfig, EncoderConfig, FrequencyConfig
from arasfsr.nn.decoders.mlp import MLPDecoder, split_first_layer
from arasfsr.training import step
from arasfsr.training.config import OptimizerConfig
from tools.trials import own_rate, waves

SMALL = ModelConfig(
    encoder=EncoderConfig(blocks=1, features=4),
    frequency=FrequencyConfig(channels=4, width=4, blocks=1),
    decoder=DecoderConfig(width=8, layers=2),
)


def first_step() -> list[torch.Tensor]:
    """How far one step moves I_0's columns for rel, cell and the unfolded features."""
    torch.manual_seed(0)
    model = ImplicitSR(SMALL)
    optimizer, _ = step.build_optimizer(model, OptimizerConfig(), 10)
    assert isinstance(model.decoder, MLPDecoder)
    first = split_first_layer(model.decoder.weights())
    parts = [part.detach() for part in (first.rel, first.cell, first.unfold)]
    before = [part.clone() for part in parts]
    model(torch.rand(1, 3, 4, 4), torch.rand(1, 9, 2), torch.rand(1, 9, 2)).sum().backward()
    optimizer.step()
    return [part - old for part, old in zip(parts, before, strict=True)]


def test_only_the_columns_with_a_rate_of_their_own_move_faster() -> None:
    usual = first_step()
    with own_rate(3):
        rel, cell, unfold = first_step()
    torch.testing.assert_close(rel, 3 * usual[0])
    torch.testing.assert_close(cell, 3 * usual[1])
    torch.testing.assert_close(unfold, usual[2])
    assert torch.equal(first_step()[0], usual[0])


def test_waves_have_magnitude_1_and_as_many_channels_as_the_maps() -> None:
    torch.manual_seed(0)
    model = ImplicitSR(SMALL).eval()
    assert model.frequency is not None
    image = torch.rand(2, 3, 5, 6)
    with torch.no_grad():
        maps, _ = model.frequency(image, sample=False)
        with waves():
            found, _ = model.frequency(image, sample=False)
        assert torch.equal(model.frequency(image, sample=False)[0], maps)
    assert found.shape == maps.shape
    torch.testing.assert_close(found[:, :2].square() + found[:, 2:].square(), torch.ones(2, 2, 5, 6))
    torch.testing.assert_close(found[:, 0, 0, 1], (maps[:, 0, 0, 1] * -2 + maps[:, 1, 0, 1] * -1.5).cos())
