"""Model configuration, shared by checkpoints, training and loading."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

FOURIER_OCTAVES = 10
"""Octaves of the Fourier encoding: sin and cos of 2^k x for k = 0 .. 9."""

FOURIER_CHANNELS = 2 * (1 + 2 * FOURIER_OCTAVES)
"""Length of the Fourier encoding of one (y, x) coordinate."""

CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))
"""Offsets (y, x), in half LR pixels, of the four corners of the local ensemble, in the method's order."""


class _Description(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _named(*names: str) -> Discriminator:
    """Selects the class by the section's `name`; the first if there is none, as in older files."""

    def name(value: Any) -> Any:
        return value.get("name", names[0]) if isinstance(value, dict) else getattr(value, "name", None)

    message = f"name must be one of {', '.join(names)}"
    return Discriminator(name, custom_error_type="name", custom_error_message=message)


class EncoderConfig(_Description):
    """EDSR (arXiv 1707.02921), the encoder that turns the LR image into a feature map of the same size.

    The defaults are EDSR-baseline; `large()` is the paper's full size.
    """

    name: Literal["edsr"] = "edsr"
    blocks: int = Field(16, ge=0, le=256, description="residual blocks")
    features: int = Field(64, ge=1, le=1024, description="channels of the feature map")
    residual_scale: float = Field(
        1.0, gt=0, le=1, description="factor of a block's residual; wide blocks need a small one"
    )

    @classmethod
    def large(cls) -> EncoderConfig:
        """EDSR: 32 blocks of 256 features, residuals scaled by 0.1."""
        return cls(blocks=32, features=256, residual_scale=0.1)


class RDNConfig(_Description):
    """Residual dense network (arXiv 1802.08797). The defaults are its configuration B; A is 20, 6, 32."""

    name: Literal["rdn"] = "rdn"
    blocks: int = Field(16, ge=1, le=256, description="residual dense blocks")
    layers: int = Field(8, ge=1, le=64, description="convolutions of a block")
    growth: int = Field(64, ge=1, le=1024, description="channels added by each convolution")
    features: int = Field(64, ge=1, le=1024, description="channels of the feature map")


class RCANConfig(_Description):
    """Residual channel attention network (arXiv 1807.02758)."""

    name: Literal["rcan"] = "rcan"
    groups: int = Field(10, ge=0, le=256, description="residual groups")
    blocks: int = Field(20, ge=0, le=256, description="residual channel attention blocks of a group")
    features: int = Field(64, ge=1, le=1024, description="channels of the feature map")
    reduction: int = Field(16, ge=1, le=1024, description="the attention's bottleneck is features / reduction")

    @model_validator(mode="after")
    def _bottleneck(self) -> RCANConfig:
        if self.reduction > self.features:
            raise ValueError(f"reduction must be at most features, {self.features}, got {self.reduction}")
        return self


class SwinIRConfig(_Description):
    """SwinIR (arXiv 2108.10257): shifted-window transformer blocks in residual groups."""

    name: Literal["swinir"] = "swinir"
    depths: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(
        (6,) * 6, min_length=1, description="blocks of each group"
    )
    width: int = Field(180, ge=1, le=4096, description="channels inside")
    heads: int = Field(6, ge=1, le=256, description="attention heads of a block")
    window: int = Field(8, ge=1, le=64, description="side of an attention window in LR pixels")
    mlp_ratio: float = Field(2.0, gt=0, le=16, description="hidden neurons of a block's MLP over its width")
    features: int = Field(64, ge=1, le=1024, description="channels of the feature map")
    drop_path: float = Field(0.0, ge=0, lt=1, description="stochastic depth of the last block, in training")

    @model_validator(mode="after")
    def _heads(self) -> SwinIRConfig:
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, {self.heads}, got {self.width}")
        return self


Encoder = Annotated[
    Annotated[EncoderConfig, Tag("edsr")]
    | Annotated[RDNConfig, Tag("rdn")]
    | Annotated[RCANConfig, Tag("rcan")]
    | Annotated[SwinIRConfig, Tag("swinir")],
    _named("edsr", "rdn", "rcan", "swinir"),
]


class FrequencyConfig(_Description):
    """Local frequency estimation: a VAE on the LR image whose output joins the feature map."""

    channels: int = Field(8, ge=1, le=256, description="channels that join the feature map")
    width: int = Field(64, ge=1, le=1024, description="channels inside the module")
    blocks: int = Field(4, ge=0, le=64, description="residual blocks of the module's encoder and of its decoder")


class DecoderConfig(_Description):
    """The MLP that decodes a query: ARASFSR's, or LIIF's if not modulated."""

    name: Literal["mlp"] = "mlp"
    width: int = Field(256, ge=1, le=4096, description="neurons of a hidden layer")
    layers: int = Field(4, ge=1, le=16, description="hidden layers")
    modulated: bool = Field(True, description="global modulation by the Fourier encoding; false is a plain ReLU MLP")


class LTEConfig(_Description):
    """Local texture estimator (arXiv 2111.08918): amplitudes, frequencies and phases into a plain MLP."""

    name: Literal["lte"] = "lte"
    width: int = Field(256, ge=1, le=4096, description="neurons of a hidden layer")
    layers: int = Field(3, ge=1, le=16, description="hidden layers")
    waves: int = Field(256, ge=2, le=4096, multiple_of=2, description="cosines and sines together")

    @property
    def modulated(self) -> bool:
        """Only the method's own decoder has the modulation by the Fourier encoding."""
        return False


class DIINNConfig(_Description):
    """Dual interactive implicit network (arXiv 2210.12593): content and position modulate one another."""

    name: Literal["diinn"] = "diinn"
    width: int = Field(256, ge=1, le=4096, description="neurons of a hidden layer")
    layers: int = Field(4, ge=1, le=16, description="hidden layers of either branch")

    @property
    def modulated(self) -> bool:
        """Only the method's own decoder has the modulation by the Fourier encoding."""
        return False


Decoder = Annotated[
    Annotated[DecoderConfig, Tag("mlp")] | Annotated[LTEConfig, Tag("lte")] | Annotated[DIINNConfig, Tag("diinn")],
    _named("mlp", "lte", "diinn"),
]


Init = Literal["paper", "balanced"]
"""How the parameters of a new model start."""


def input_width(decoder: Decoder, channels: int) -> int:
    """Inputs of the first layer of a decoder of feature maps with that many channels.

    MLP: unfolded features, rel, centre (if modulated) and cell. LTE: the waves. DIINN: unfolded features.
    """
    if isinstance(decoder, LTEConfig):
        return decoder.waves
    unfolded = 9 * channels
    return unfolded if isinstance(decoder, DIINNConfig) else unfolded + (6 if decoder.modulated else 4)


class ModelConfig(_Description):
    """A model. The defaults are ARASFSR as in arXiv 2511.16341; `liif()`, `lte()` and `diinn()` are its baselines.

    `frequency=None` disables local frequency estimation, `decoder.modulated=False` global modulation and `skip=False`
    the bilinear skip of the LR image. The decoder sets the defaults of the others: with LTEConfig or DIINNConfig
    `frequency` defaults to None and `init` to "paper", with DIINNConfig `skip` defaults to False.
    """

    encoder: Encoder = EncoderConfig()
    frequency: FrequencyConfig | None = FrequencyConfig()
    decoder: Decoder = DecoderConfig()
    skip: bool = Field(True, description="add the LR image, bilinearly sampled, to the decoder's output")
    init: Init = Field(
        "balanced",
        description="initial parameters of ARASFSR's own parts: balanced, or paper, PyTorch's, as the authors start",
    )

    @model_validator(mode="before")
    @classmethod
    def _of_the_method(cls, given: Any) -> Any:
        """Defaults follow the decoder: `decoder: {name: lte}` alone is LTE."""
        if not isinstance(given, dict):
            return given
        decoder = given.get("decoder")
        name = decoder.get("name") if isinstance(decoder, dict) else getattr(decoder, "name", None)
        lte = {"frequency": None, "init": "paper"}
        defaults: dict[str, dict[str, Any]] = {"lte": lte, "diinn": {**lte, "skip": False}}
        return defaults.get(str(name), {}) | given

    @classmethod
    def liif(cls, encoder: Encoder | None = None, width: int = 256, layers: int = 4) -> ModelConfig:
        """LIIF (arXiv 2012.09161): plain MLP, no frequency estimation, no skip."""
        return cls(
            encoder=encoder or EncoderConfig(),
            frequency=None,
            decoder=DecoderConfig(width=width, layers=layers, modulated=False),
            skip=False,
            init="paper",
        )

    @classmethod
    def lte(cls, encoder: Encoder | None = None, width: int = 256, layers: int = 3, waves: int = 256) -> ModelConfig:
        """LTE (arXiv 2111.08918): no VAE frequency estimation; with the skip."""
        return cls(
            encoder=encoder or EncoderConfig(),
            frequency=None,
            decoder=LTEConfig(width=width, layers=layers, waves=waves),
        )

    @classmethod
    def diinn(cls, encoder: Encoder | None = None, width: int = 256, layers: int = 4) -> ModelConfig:
        """DIINN (arXiv 2210.12593) under the local ensemble, as in the ARASFSR paper's comparison; no skip."""
        return cls(
            encoder=encoder or EncoderConfig(),
            frequency=None,
            decoder=DIINNConfig(width=width, layers=layers),
            skip=False,
        )

    @property
    def feature_channels(self) -> int:
        """Channels D of the feature map that the decoder unfolds: the encoder's plus those of frequency estimation."""
        return self.encoder.features + (self.frequency.channels if self.frequency else 0)

    @property
    def input_width(self) -> int:
        """Inputs of the decoder's first layer."""
        return input_width(self.decoder, self.feature_channels)
