"""Encoders: LR image (B, 3, h, w) in [-1, 1] to feature map (B, features, h, w)."""

from arasfsr.config import EncoderConfig
from arasfsr.encoders.edsr import EDSR


def build_encoder(config: EncoderConfig) -> EDSR:
    """The encoder that `config` names."""
    return {"edsr": EDSR}[config.name](config)
