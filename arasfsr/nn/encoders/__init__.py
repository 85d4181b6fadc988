"""Encoders: LR image (B, 3, h, w) in [-1, 1] to feature map (B, features, h, w), for any size from 1 x 1.

Each is called as encoder(image, generators); `generators` supply the random numbers in training.
"""

from torch import nn

from arasfsr.config import Encoder, EncoderConfig, RCANConfig, RDNConfig
from arasfsr.nn.encoders.edsr import EDSR
from arasfsr.nn.encoders.rcan import RCAN
from arasfsr.nn.encoders.rdn import RDN
from arasfsr.nn.encoders.swinir import SwinIR


def build_encoder(config: Encoder) -> nn.Module:
    """The encoder that `config` names."""
    if isinstance(config, EncoderConfig):
        return EDSR(config)
    if isinstance(config, RDNConfig):
        return RDN(config)
    if isinstance(config, RCANConfig):
        return RCAN(config)
    return SwinIR(config)
