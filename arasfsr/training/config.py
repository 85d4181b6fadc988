"""What a training run is: the YAML file that `arasfsr train` takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from arasfsr.config import ModelConfig

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"{list(pair)} is not [low, high]")
    return pair


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]


class DataConfig(_Section):
    """How a sample is made of an image."""

    lr_sizes: list[Annotated[int, Field(ge=1)]] = Field([16, 24, 32, 40, 48, 64], min_length=1)
    """Sides of the square LR input; a batch draws one of them, and one named twice is drawn twice as often."""
    scale: Range = (1.0, 8.0)
    """Range that each sample's scale is drawn from, uniformly, no further than its image reaches."""
    scale_per_batch: bool = False
    """Draw one scale a batch, from `scale` as far as the largest image reaches, and only images that reach it. With
    `queries: null` it is so in any case."""
    whole: float = Field(1.0, ge=0, le=1)
    """Share of samples that are the whole face (the largest square); the rest are patches of it."""
    patch: Range = (0.5, 1.0)
    """Range of a patch's side, as a share of the image's shorter side."""
    queries: int | None = Field(1024, ge=1)
    """Pixels of the target that are drawn from each sample; null takes all of them, as whole pictures."""
    size_exponent: float = Field(0.0, ge=0)
    """Images are drawn with probability proportional to their shorter side to this power."""
    flip: bool = True
    workers: int = Field(0, ge=0)
    """Processes that make samples ahead; 0 makes them in the training process."""
    memory: float = Field(4.0, ge=0)
    """Gigabytes of decoded images that each training process keeps; those beyond are read again whenever one is
    drawn."""


class OptimizerConfig(_Section):
    name: Literal["adam", "adamw"] = "adam"
    lr: float = Field(1e-3, gt=0)
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["one-cycle", "cosine", "steps", "constant"] = "one-cycle"
    warmup: float = Field(0.1, ge=0, lt=1)
    """one-cycle: share of the run in which the rate rises."""
    milestones: list[float] = [0.5, 0.75]
    """steps: shares of the run after which the rate halves."""


class LossConfig(_Section):
    name: Literal["l1", "charbonnier"] = "l1"
    epsilon: float = Field(1e-3, gt=0)
    """charbonnier: sqrt(error^2 + epsilon^2), errors in the range [-2, 2]."""
    kl_weight: float = Field(0.0, ge=0)
    """Weight of the frequency module's KL divergence from the standard normal."""


class ValidationConfig(_Section):
    images: int = Field(16, ge=0)
    """Images held out of the training folder, evenly spread over its sorted names."""
    pairs: list[tuple[int, int]] = [(16, 64), (32, 128)]
    """LR and HR sides; an image smaller than the HR side is left out of that pair."""
    every: int = Field(1000, ge=1)


class TrainConfig(_Section):
    """One run. The model trained is `model`; the result is its exponential moving average."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    loss: LossConfig = LossConfig()
    validation: ValidationConfig = ValidationConfig()
    steps: int = Field(10_000, ge=1)
    batch: int = Field(16, ge=1)
    """Samples of a step, of all processes together."""
    accumulate: int = Field(1, ge=1)
    """Parts in which each process computes its share of a step's samples, one after another, to save memory. Only
    rounding depends on it."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 computes under autocast; parameters, their average, coordinates and the loss stay float32."""
    clip: float | None = Field(None, gt=0)
    """Longer gradients are shortened to this norm, that of all parameters' together; null leaves them."""
    ema: float = Field(0.999, ge=0, lt=1)
    """Decay of the moving average, once it is warm: after n steps it is min(ema, (1 + n) / (10 + n)), so that the
    average forgets the model's beginnings in short runs too."""
    seed: int = Field(0, ge=0)
    log_every: int = Field(50, ge=1)
    checkpoint_every: int = Field(500, ge=1)
    tensorboard: bool = False
    """Write the losses and scores for TensorBoard too, into the run's folder `tensorboard`; takes the extra of that
    name."""

    def learnt(self) -> dict[str, Any]:
        """The entries that decide what is learnt; a run may resume with other values of the rest."""
        rest: Any = {"accumulate": True, "log_every": True, "checkpoint_every": True, "tensorboard": True}
        return self.model_dump(mode="json", exclude=rest | {"data": {"workers", "memory"}})


def load_config(path: Path) -> TrainConfig:
    """Read a YAML file.

    Raises:
        ValueError: it cannot be read, is no YAML, or an entry is unknown or out of range; the message names the file
            and every such entry.
    """
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    try:
        return TrainConfig.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{path}: {'; '.join(map(_problem, error.errors()))}") from error


def _problem(entry: ErrorDetails) -> str:
    name = ".".join(map(str, entry["loc"])) or "the file"
    if entry["type"] == "extra_forbidden":
        return f"{name}: no such entry; taken are {', '.join(_entries(entry['loc'][:-1]))}"
    return f"{name}: {entry['msg']} (given: {entry['input']!r})"


def _entries(location: Sequence[int | str]) -> list[str]:
    """Names of the entries that a section of the configuration takes."""
    sections: list[type[BaseModel]] = [TrainConfig]
    for part in location:
        if len(sections) > 1:  # a choice by name: the location tells the name after the section
            sections = [section for section in sections if section.model_fields["name"].default == part]
        else:
            sections = _sections(sections[0].model_fields[str(part)].annotation)
    return list(sections[0].model_fields)


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """The sections that an entry of that annotation may be: one; one or None; or several to choose from by name."""
    candidates = get_args(annotation) or (annotation,)
    kinds = (get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in candidates)
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]


def differences(found: Any, wanted: Any, name: str = "") -> list[str]:
    """The entries in which two configurations, dumped, differ: "steps is 100, not 200"."""
    if found == wanted:
        return []
    if isinstance(found, dict) and isinstance(wanted, dict):
        prefix = f"{name}." if name else ""
        keys = dict.fromkeys((*wanted, *found))
        return [line for key in keys for line in differences(found.get(key), wanted.get(key), f"{prefix}{key}")]
    return [f"{name} is {json.dumps(found)}, not {json.dumps(wanted)}"]
