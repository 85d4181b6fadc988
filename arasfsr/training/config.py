"""The configuration of a training run: the YAML file of `arasfsr train`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_serializer, model_validator

from arasfsr.config import ModelConfig
from arasfsr.errors import ArgumentError

if TYPE_CHECKING:
    from pydantic import SerializerFunctionWrapHandler
    from pydantic_core import ErrorDetails


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("must be [low, high] with low <= high")
    return pair


Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Side = Annotated[int, Field(ge=1)]


class AugmentConfig(_Section):
    """Random changes of samples, drawn uniformly. Crop, rotation, zoom, shift and resizing to the target are one
    resampling."""

    probability: Fraction = 0.5
    """Fraction of samples that are changed, in all of these ways."""
    rotation: float = Field(5.0, ge=0, le=45)
    """Largest rotation in degrees, to either side."""
    zoom: Annotated[tuple[Positive, Positive], AfterValidator(_ordered)] = (0.9, 1.1)
    """Range of the magnification: above 1 a sample shows less of the image, below 1 more."""
    shift: float = Field(0.04, ge=0, le=0.5)
    """Largest shift along each axis, as a fraction of the side of what the sample shows."""
    brightness: Fraction = 0.1
    """Largest number added to all colours, to either side, where white is 1; the result is clipped."""
    contrast: Fraction = 0.1
    """Largest change of the factor 1 by which differences from mid-gray are multiplied, to either side."""


class DataConfig(_Section):
    """How samples are made from images."""

    lr_sizes: list[Side] = Field([16, 24, 32, 40, 48, 64], min_length=1)
    """Sides of the square LR input; each batch draws one of them, and one listed twice is drawn twice as often."""
    scale: Annotated[tuple[Positive, Positive], AfterValidator(_ordered)] = (1.0, 8.0)
    """Range of each sample's scale, which is drawn uniformly, and limited by the size of its image."""
    scale_per_batch: bool = False
    """Draw one scale per batch, limited by the size of the largest image, and only images that are large enough for it.
    Always so with `queries: null`."""
    whole: Fraction = 1.0
    """Fraction of samples that show the largest square of the image; the others show a patch of the image."""
    patch: Annotated[tuple[Fraction, Fraction], AfterValidator(_ordered)] = (0.5, 1.0)
    """Range of the side of a patch, as a fraction of the shorter side of the image."""
    queries: int | None = Field(1024, ge=1)
    """Random target pixels per sample; null uses all of them, as whole images."""
    size_exponent: float = Field(0.0, ge=0)
    """Images are drawn with a probability proportional to this power of their shorter side."""
    flip: bool = True
    """Flip half of the samples horizontally."""
    augment: AugmentConfig | None = None
    """Also rotate, zoom and shift samples, and change their brightness and contrast."""
    workers: int = Field(0, ge=0)
    """Worker processes that make samples in advance; 0 makes them in the training process."""
    memory: float = Field(4.0, ge=0)
    """Gigabytes of decoded images that each training process keeps in memory; the others are read from disk each
    time."""


class BudgetConfig(_Section):
    """Batches of equal cost, whatever the side of their LR inputs."""

    lr_pixels: int = Field(8192, ge=1)
    """LR pixels of a batch: with LR inputs of side l it has max(1, round(lr_pixels / l^2)) samples."""
    queries: int = Field(8192, ge=1)
    """Random target pixels of a batch, divided equally among its samples; at least one for each."""

    def samples(self, lr_side: int) -> int:
        """Samples of a batch with LR inputs of that side."""
        return max(1, round(self.lr_pixels / lr_side**2))

    def queries_per_sample(self, lr_side: int) -> int:
        """Random target pixels of each sample of such a batch."""
        return max(1, self.queries // self.samples(lr_side))

    def summary(self, lr_sizes: Sequence[int]) -> str:
        """What a batch holds, in a line: "LR 16: 32 samples of 256 queries"."""
        sides = sorted(set(lr_sizes))
        return ", ".join(f"LR {n}: {self.samples(n)} samples of {self.queries_per_sample(n)} queries" for n in sides)


class OptimizerConfig(_Section):
    name: Literal["adam", "adamw"] = "adam"
    """The optimizer."""
    lr: float = Field(1e-3, gt=0)
    """Peak learning rate."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay of the averages of the gradient and of its square."""
    weight_decay: float = Field(0.0, ge=0)
    """As in torch.optim: L2 for adam, decoupled for adamw."""
    schedule: Literal["one-cycle", "cosine", "steps", "constant"] = "one-cycle"
    """How the learning rate changes during the run."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """one-cycle: fraction of the run in which the learning rate rises."""
    milestones: list[Fraction] = [0.5, 0.75]
    """steps: fractions of the run at which the learning rate is halved."""


class LossConfig(_Section):
    name: Literal["l1", "charbonnier"] = "l1"
    """The loss between prediction and target."""
    epsilon: float = Field(1e-3, gt=0)
    """charbonnier: sqrt(error^2 + epsilon^2), with errors in [-2, 2]."""
    kl_weight: float = Field(0.0, ge=0)
    """Weight of the KL divergence of the frequency module's latent from the standard normal."""


class ValidationConfig(_Section):
    images: int = Field(16, ge=0)
    """Images of the training folder that are held out, evenly spread over its sorted names: from those that are large
    enough for all pairs, if there are at least twice as many."""
    pairs: list[tuple[Side, Side]] = [(16, 64), (32, 128)]
    """(LR, HR) sides; images smaller than HR are left out of a pair."""
    every: int = Field(1000, ge=1)
    """Steps between validations."""


class TrainConfig(_Section):
    """One run. It trains `model`; the result is the exponential moving average of its parameters."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    loss: LossConfig = LossConfig()
    validation: ValidationConfig = ValidationConfig()
    steps: int = Field(10_000, ge=1)
    """Steps of the whole run."""
    batch: int = Field(16, ge=1)
    """Samples per step, over all processes."""
    budget: BudgetConfig | None = None
    """Replaces `batch` and `data.queries`: every batch costs about the same, and those of small LR inputs have more
    samples."""
    accumulate: int = Field(1, ge=1)
    """Parts into which each process splits its samples of a step, to save memory; only rounding depends on it."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 uses autocast; parameters, their average, coordinates and the loss stay float32."""
    clip: float | None = Field(None, gt=0)
    """Largest norm of the gradient of all parameters together, clipped if it is larger; null does not clip."""
    ema: Decay = 0.999
    """Decay of the moving average; min(ema, (1 + n) / (10 + n)) after n steps, so that short runs forget the initial
    parameters too."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of the initial parameters and of the samples."""
    log_every: int = Field(50, ge=1)
    """Steps between lines of the log."""
    checkpoint_every: int = Field(500, ge=1)
    """Steps between checkpoints."""
    tensorboard: bool = False
    """Also write losses and scores for TensorBoard, into the folder `tensorboard` of the run; needs the extra
    `tensorboard`."""

    @model_validator(mode="after")
    def _budget_alone(self) -> TrainConfig:
        if self.budget is not None:
            replaced: list[tuple[BaseModel, str, str]] = [
                (self, "batch", "batch"),
                (self.data, "queries", "data.queries"),
            ]
            given = [
                f"{name}: {json.dumps(getattr(section, entry))}"
                for section, entry, name in replaced
                if entry in section.model_fields_set
            ]
            if given:
                raise ValueError(
                    "batch and data.queries must not be given with budget, which replaces them: remove "
                    f"{', '.join(given)}"
                )
        return self

    @model_serializer(mode="wrap")
    def _dump(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what the budget replaces: a dump is a valid configuration."""
        entries: dict[str, Any] = dump(self)
        if self.budget is not None:
            entries.pop("batch", None)
            entries.get("data", {}).pop("queries", None)
        return entries

    def samples(self, lr_side: int) -> int:
        """Samples of a batch with LR inputs of that side, over all processes."""
        return self.batch if self.budget is None else self.budget.samples(lr_side)

    def fixed_entries(self, extend: bool = False) -> dict[str, Any]:
        """The entries that must not change when a run resumes, or, if `extend`, when it is extended."""
        rest: Any = {"accumulate": True, "log_every": True, "checkpoint_every": True, "tensorboard": True}
        if extend:
            rest |= {"steps": True, "clip": True, "optimizer": set(OptimizerConfig.model_fields) - {"name"}}
        return self.model_dump(mode="json", exclude=rest | {"data": {"workers", "memory"}})


def load_config(path: Path, changes: Sequence[str] = ()) -> TrainConfig:
    """Read a YAML file.

    Args:
        path: the file.
        changes: entries that replace those of the file, as ENTRY=VALUE, such as "data.workers=4"; the value is YAML.

    Raises:
        ArgumentError: it cannot be read, is not YAML, a change is not ENTRY=VALUE, or an entry is unknown or out of
            range; the message names the file and every such entry.
    """
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except UnicodeDecodeError as error:
        raise ArgumentError(f"{path}: not a YAML file: not text") from error
    except yaml.YAMLError as error:
        raise ArgumentError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise ArgumentError(f"{path}: {' '.join(str(error).split())}") from error
    for change in changes:
        _change(content, change)
    try:
        return TrainConfig.model_validate(content)
    except ValidationError as error:
        raise ArgumentError(f"{path}: {'; '.join(map(_problem, error.errors()))}") from error


def _change(content: Any, change: str) -> None:
    """Set the entry that a change names; a section that the file does not have is added."""
    try:
        name, value = change.split("=", 1)
        parsed = yaml.safe_load(value)
    except (ValueError, yaml.YAMLError) as error:
        raise ArgumentError(f"a change must be ENTRY=VALUE, such as data.workers=4, got {change!r}") from error
    *sections, entry = name.split(".")
    for section in sections:
        content = content.setdefault(section, {}) if isinstance(content, dict) else None
    if not isinstance(content, dict):
        raise ArgumentError(f"{name} cannot be set: {'.'.join(sections) or 'the file'} has no entries")
    content[entry] = parsed


def _problem(entry: ErrorDetails) -> str:
    if not entry["loc"] and entry["type"] == "value_error":  # about several entries, which it names
        return str(entry["ctx"]["error"])
    name = ".".join(map(str, entry["loc"])) or "the file"
    if entry["type"] == "extra_forbidden":
        return f"{name}: unknown entry; known are {', '.join(_entries(entry['loc'][:-1]))}"
    return f"{name}: {entry['msg'].removeprefix('Value error, ')}, got {entry['input']!r}"


def _entries(location: Sequence[int | str]) -> list[str]:
    """Names of the entries of the section at a location."""
    sections: list[type[BaseModel]] = [TrainConfig]
    for part in location:
        if len(sections) > 1:  # a choice by name: the location holds the name after the section
            sections = [section for section in sections if section.model_fields["name"].default == part]
        else:
            sections = _sections(sections[0].model_fields[str(part)].annotation)
    return list(sections[0].model_fields)


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """The sections in an entry's annotation: one, or several to choose from by name."""
    candidates = get_args(annotation) or (annotation,)
    kinds = (get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in candidates)
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]


_ABSENT = object()


def differences(found: Any, wanted: Any, name: str = "", words: str = "{name} is {found}, not {wanted}") -> list[str]:
    """The entries in which two dumped configurations differ: "steps is 100, not 200", or in other words."""
    if found == wanted:
        return []
    if isinstance(found, dict) and isinstance(wanted, dict):
        prefix = f"{name}." if name else ""
        keys = dict.fromkeys((*wanted, *found))
        pairs = {key: (found.get(key, _ABSENT), wanted.get(key, _ABSENT)) for key in keys}
        return [line for key, pair in pairs.items() for line in differences(*pair, f"{prefix}{key}", words)]
    told = ("not given" if value is _ABSENT else json.dumps(value) for value in (found, wanted))
    return [words.format(name=name, found=next(told), wanted=next(told))]
