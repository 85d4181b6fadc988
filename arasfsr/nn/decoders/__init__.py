"""Decoders, one per file: parameters, the literal form and, for the baselines LTE and DIINN, the fast form in torch.

Backend `reference` computes the literal forms, `query.tiled.chunks` the baselines' fast forms. The fast form of
ARASFSR's decoder is the subject of `query`.
"""

from __future__ import annotations

from numbers import Integral
from typing import get_args

from torch import Tensor

from arasfsr.config import DecoderConfig, DIINNConfig, Init, LTEConfig, ModelConfig, input_width
from arasfsr.errors import ArgumentError, ArgumentTypeError
from arasfsr.nn.decoders import diinn, lte, mlp
from arasfsr.nn.decoders.base import Geometry
from arasfsr.nn.decoders.diinn import DIINNDecoder, DIINNWeights
from arasfsr.nn.decoders.lte import LTEDecoder, LTEWeights
from arasfsr.nn.decoders.mlp import MLPDecoder, MLPWeights

Weights = MLPWeights | LTEWeights | DIINNWeights
"""The parameters of one of the decoders."""

WEIGHTS = get_args(Weights)
"""Their types, one by one, for isinstance in traced code."""


def build_decoder(
    config: DecoderConfig | LTEConfig | DIINNConfig | ModelConfig,
    channels: int | None = None,
    init: Init | None = None,
) -> MLPDecoder | LTEDecoder | DIINNDecoder:
    """A decoder with random parameters: a `torch.nn.Module` whose `weights()` an `Encoding` takes.

    Args:
        config: the decoder's configuration, or a model's.
        channels: channels D of the feature map (B, D, h, w); by default those of a model's configuration.
        init: initial parameters, as in ModelConfig; by default those of a model's configuration, or "balanced". LTE and
            DIINN start as published either way.

    Raises:
        ValueError, TypeError: an argument is invalid.
    """
    if isinstance(config, ModelConfig):
        channels = config.feature_channels if channels is None else channels
        init, config = init or config.init, config.decoder
    if not isinstance(config, (DecoderConfig, LTEConfig, DIINNConfig)):
        must = "config must be a DecoderConfig, LTEConfig, DIINNConfig or ModelConfig"
        raise ArgumentTypeError(f"{must}, got {type(config).__name__}")
    if not isinstance(channels, Integral) or isinstance(channels, bool) or channels < 1:
        raise ArgumentError(f"channels must be a whole number of at least 1, got {channels!r}")
    if init not in (None, *get_args(Init)):
        raise ArgumentError(f"init must be one of {', '.join(get_args(Init))}, got {init!r}")
    channels = int(channels)
    if isinstance(config, LTEConfig):
        return LTEDecoder(config, channels)
    inputs = input_width(config, channels)
    if isinstance(config, DIINNConfig):
        return DIINNDecoder(config, inputs)
    decoder = MLPDecoder(config, inputs)
    if init != "paper":
        decoder.balance()
    return decoder


def literal(features: Tensor, geometry: Geometry, weights: Weights) -> Tensor:
    """The decoder's output (B, Q, 3), computed as written in its paper, in the geometry's dtype."""
    if isinstance(weights, LTEWeights):
        return lte.literal(features, geometry, weights)
    if isinstance(weights, DIINNWeights):
        return diinn.literal(features, geometry, weights)
    return mlp.literal(features, geometry, weights)
