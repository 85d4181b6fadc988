"""What a model is made of: the one description that checkpoints, training and loading share."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FOURIER_OCTAVES = 10
"""Octaves of the Fourier encoding: sin and cos of 2^k x for k = 0 .. 9."""

FOURIER_CHANNELS = 2 * (1 + 2 * FOURIER_OCTAVES)
"""Numbers in the Fourier encoding of one (y, x) coordinate."""

CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))
"""Offsets (y, x), in half LR pixels, of the four corners of the local ensemble, in the order of the method."""


class _Description(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EncoderConfig(_Description):
    """The encoder that turns the LR image into a feature map of the same size."""

    name: Literal["edsr"] = "edsr"
    blocks: int = Field(16, ge=0, le=256, description="residual blocks")
    features: int = Field(64, ge=1, le=1024, description="channels of the feature map")


class FrequencyConfig(_Description):
    """Local frequency estimation: a VAE on the LR image whose output joins the feature map."""

    channels: int = Field(8, ge=1, le=256, description="channels that join the feature map")
    width: int = Field(64, ge=1, le=1024, description="channels inside the module")
    blocks: int = Field(4, ge=0, le=64, description="residual blocks of the module's encoder and of its decoder")


class DecoderConfig(_Description):
    """The MLP that decodes one query."""

    width: int = Field(256, ge=1, le=4096, description="neurons of a hidden layer")
    layers: int = Field(4, ge=1, le=16, description="hidden layers")
    modulated: bool = Field(True, description="global modulation by the Fourier encoding; false is a plain ReLU MLP")


class ModelConfig(_Description):
    """A whole model. The defaults are ARASFSR as in arXiv 2511.16341; `liif()` is the plain case.

    `frequency=None` leaves local frequency estimation out, `decoder.modulated=False` global modulation,
    `skip=False` the bilinear skip of the LR image.
    """

    encoder: EncoderConfig = EncoderConfig()
    frequency: FrequencyConfig | None = FrequencyConfig()
    decoder: DecoderConfig = DecoderConfig()
    skip: bool = Field(True, description="add the LR image, bilinearly sampled, to the decoder's output")

    @classmethod
    def liif(cls, encoder: EncoderConfig | None = None, width: int = 256, layers: int = 4) -> ModelConfig:
        """LIIF (arXiv 2012.09161): plain MLP, no frequency estimation, no skip."""
        return cls(
            encoder=encoder or EncoderConfig(),
            frequency=None,
            decoder=DecoderConfig(width=width, layers=layers, modulated=False),
            skip=False,
        )

    @property
    def feature_channels(self) -> int:
        """Channels D of the feature map that the decoder unfolds: encoder's and frequency estimation's together."""
        return self.encoder.features + (self.frequency.channels if self.frequency else 0)

    @property
    def input_width(self) -> int:
        """Numbers that the decoder's first layer reads: unfolded features, rel, centre (if modulated), cell."""
        return 9 * self.feature_channels + (6 if self.decoder.modulated else 4)
