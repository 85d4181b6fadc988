"""Decoders, one per file: parameters, the literal form and, for the baselines LTE and DIINN, the fast form in torch.

Backend `reference` computes the literal forms, `query.tiled.chunks` the baselines' fast forms. The fast form of
ARASFSR's decoder is the subject of `query`.
"""

from __future__ import annotations

from torch import Tensor

from arasfsr.config import DIINNConfig, LTEConfig, ModelConfig
from arasfsr.nn.decoders import diinn, lte, mlp
from arasfsr.nn.decoders.base import Geometry
from arasfsr.nn.decoders.diinn import DIINNDecoder, DIINNWeights
from arasfsr.nn.decoders.lte import LTEDecoder, LTEWeights
from arasfsr.nn.decoders.mlp import MLPDecoder, MLPWeights

Weights = MLPWeights | LTEWeights | DIINNWeights
"""The parameters of one of the decoders."""


def build_decoder(config: ModelConfig) -> MLPDecoder | LTEDecoder | DIINNDecoder:
    """The decoder that `config` names."""
    decoder = config.decoder
    if isinstance(decoder, LTEConfig):
        return LTEDecoder(decoder, config.feature_channels)
    if isinstance(decoder, DIINNConfig):
        return DIINNDecoder(decoder, config.input_width)
    return MLPDecoder(decoder, config.input_width)


def literal(features: Tensor, geometry: Geometry, weights: Weights) -> Tensor:
    """The decoder's output (B, Q, 3), computed as written in its paper, in the geometry's dtype."""
    if isinstance(weights, LTEWeights):
        return lte.literal(features, geometry, weights)
    if isinstance(weights, DIINNWeights):
        return diinn.literal(features, geometry, weights)
    return mlp.literal(features, geometry, weights)
