"""build_decoder: a decoder for a model's configuration, or for any feature map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from models import BASELINES, SMALL

from arasfsr import ArgumentError, ArgumentTypeError, DecoderConfig, DIINNConfig, EncoderConfig, LTEConfig, ModelConfig
from arasfsr.nn.decoders import build_decoder


@pytest.mark.parametrize("name", [*SMALL, *BASELINES])
def test_a_decoder_of_channels_is_the_one_of_a_model_with_as_many(name: str) -> None:
    config = (SMALL | BASELINES)[name]
    torch.manual_seed(0)
    of_model = build_decoder(config).state_dict()
    torch.manual_seed(0)
    of_channels = build_decoder(config.decoder, config.feature_channels, config.init).state_dict()
    assert list(of_channels) == list(of_model)
    assert all(torch.equal(of_channels[name], of_model[name]) for name in of_model)


@pytest.mark.parametrize("config", [DecoderConfig(), DecoderConfig(modulated=False), LTEConfig(), DIINNConfig()])
def test_weights_know_their_channels(config: DecoderConfig | LTEConfig | DIINNConfig) -> None:
    assert build_decoder(config, channels=5).weights().channels() == 5


def test_channels_take_the_place_of_a_model_s() -> None:
    config = ModelConfig(encoder=EncoderConfig(features=7), frequency=None)
    assert build_decoder(config).weights().channels() == 7
    assert build_decoder(config, channels=5).weights().channels() == 5


def test_channels_may_be_a_numpy_integer() -> None:
    assert build_decoder(DecoderConfig(), channels=np.int64(5)).weights().channels() == 5  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [None, 0, -1, 2.0, True, "8"])
def test_error_names_channels(channels: Any) -> None:
    with pytest.raises(ArgumentError, match=f"^channels must be a whole number of at least 1, got {channels!r}$"):
        build_decoder(DecoderConfig(), channels)


def test_error_names_a_configuration_of_something_else() -> None:
    message = "^config must be a DecoderConfig, LTEConfig, DIINNConfig or ModelConfig, got EncoderConfig$"
    with pytest.raises(ArgumentTypeError, match=message):
        build_decoder(EncoderConfig(), 8)  # type: ignore[arg-type]
