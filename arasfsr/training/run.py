"""A run between two steps, and the step."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from arasfsr.checkpoints.native import save_model
from arasfsr.errors import CheckpointError, TrainingError
from arasfsr.model import ImplicitSR
from arasfsr.training.config import LossConfig, OptimizerConfig, TrainConfig, differences
from arasfsr.training.data import Sample
from arasfsr.training.distributed import Ranks
from arasfsr.training.state import MODEL, write_state
from arasfsr.training.stops import SIGNALS

_log = logging.getLogger(__name__)

NAMED = 3
"""Differences between two lists of images that are told one by one."""


class NotFinite(TrainingError):
    """A step's loss or gradient is not finite; the step is not done."""


def build_optimizer(
    model: ImplicitSR, config: OptimizerConfig, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Optimizer and learning-rate schedule; the schedule advances once a step."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.name]
    optimizer = kind(model.parameters(), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)
    schedules = torch.optim.lr_scheduler
    if config.schedule == "one-cycle":
        return optimizer, schedules.OneCycleLR(
            optimizer, config.lr, total_steps=steps + 1, pct_start=config.warmup, cycle_momentum=False
        )
    if config.schedule == "cosine":
        return optimizer, schedules.CosineAnnealingLR(optimizer, steps)
    if config.schedule == "steps":
        return optimizer, schedules.MultiStepLR(optimizer, [round(m * steps) for m in config.milestones], gamma=0.5)
    return optimizer, schedules.ConstantLR(optimizer, factor=1.0)


def warm_average(decay: float) -> Callable[..., None]:
    """For AveragedModel: the exponential moving average with decay min(decay, (1 + n) / (10 + n)) after n steps."""

    def update(averaged: Any, current: Any, steps: Tensor | int) -> None:
        n = int(steps)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averaged, current, steps)

    return update


def loss_of(prediction: Tensor, target: Tensor, config: LossConfig) -> Tensor:
    """L1 or Charbonnier, averaged over all elements."""
    error = prediction - target
    return error.abs().mean() if config.name == "l1" else (error**2 + config.epsilon**2).sqrt().mean()


@dataclass
class Run:
    """Everything of a run that a checkpoint holds."""

    config: TrainConfig
    model: ImplicitSR
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    images: dict[str, list[str]]
    """`listing` of the images trained on and of those held out."""
    step: int = 0
    seconds: float = 0.0
    """Time spent in steps so far, those before a resumption too."""
    last: dict[str, Any] | None = None
    """The last validation: its step and the scores of each pair."""
    best: dict[str, Any] | None = None
    """The step with the best mean PSNR over the pairs, and that PSNR in dB."""

    @classmethod
    def start(
        cls, config: TrainConfig, device: torch.device, images: dict[str, list[str]], init: ImplicitSR | None = None
    ) -> Run:
        """A new run, from random parameters or those of `init`."""
        torch.manual_seed(config.seed)
        model = ImplicitSR(config.model)
        if init is not None:
            differing = differences(init.config.model_dump(mode="json"), config.model.model_dump(mode="json"))
            if differing:
                raise CheckpointError(f"the model to start from is of another configuration: {'; '.join(differing)}")
            model.load_state_dict(init.state_dict())
        model = model.to(device)
        average = AveragedModel(model, multi_avg_fn=warm_average(config.ema))
        return cls(config, model, average, *build_optimizer(model, config.optimizer, config.steps), images)

    def state(self) -> dict[str, Any]:
        return {
            "config": self.config.model_dump_json(),
            "images": self.images,
            "step": self.step,
            "seconds": self.seconds,
            "last": self.last,
            "best": self.best,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def restore(self, state: dict[str, Any], folder: Path, new_data: bool = False) -> None:
        """Take up a checkpoint of the same configuration and, unless `new_data`, of the same images."""
        differing = _differing(state.get("config", "{}"), self.config)
        if differing:
            raise CheckpointError(
                f"{folder}: its checkpoint is of another configuration ({'; '.join(differing)}); give another --output"
            )
        known = state.get("images")
        if known is None:
            _log.warning("%s: its checkpoint does not say which images it is of; taken to be these", folder)
        elif known != self.images and not new_data:
            told = _difference(known, self.images)
            raise CheckpointError(f"{folder}: a run on other images ({told}); give its images, or --new-data")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.step = state["step"]
        self.seconds, self.last, self.best = state.get("seconds", 0.0), state.get("last"), state.get("best")

    @property
    def averaged(self) -> ImplicitSR:
        """The model that the run is for: the moving average."""
        assert isinstance(self.average.module, ImplicitSR)
        return self.average.module

    def save(self, folder: Path) -> None:
        """Write checkpoint and model; what cannot be written leaves those that are there."""
        try:
            write_state(folder, self.state())
            save_model(self.averaged, folder / MODEL)
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error).splitlines()[0]
            raise TrainingError(
                f"{folder}: step {self.step} cannot be written: {reason}; the last checkpoint there is whole, go on "
                "with --resume"
            ) from error

    def validated(self, scores: dict[str, dict[str, float]]) -> None:
        """Take note of a validation of this step."""
        self.last = {"step": self.step, "scores": scores}
        if scores:
            mean = sum(score["psnr"] for score in scores.values()) / len(scores)
            if self.best is None or mean > self.best["psnr"]:
                self.best = {"step": self.step, "psnr": mean}

    def autocast(self) -> torch.autocast:
        """The run's precision, for forward passes."""
        device = next(self.model.parameters()).device
        return torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def advance(
        self, parts: Iterable[Sample], device: torch.device, ranks: Ranks, stops: Sequence[int] = ()
    ) -> tuple[Tensor, int | None]:
        """One step of optimisation on this process' share of a batch, in parts.

        Returns the loss over the whole batch, and the signal that any process has received.

        Raises:
            NotFinite: the loss or a gradient is not; parameters stay as they were.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=device)
        with ranks.together():
            for part in parts:
                loss += self._accumulate(part.to(device))
        asked = torch.tensor([float(signum in stops) for signum in SIGNALS], device=device)
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        ranks.add([*gradients, loss, asked])
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip or math.inf)
        if not torch.isfinite(loss + norm):
            raise NotFinite(f"step {self.step + 1}: the loss is {loss.item():g}, the gradient's norm {norm.item():g}")
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(self.model)
        self.step += 1
        return loss, next((signum for signum, count in zip(SIGNALS, asked.tolist(), strict=True) if count), None)

    def _accumulate(self, part: Sample) -> Tensor:
        """Add a part's gradients; its share of the batch's loss."""
        generators = [torch.Generator(part.inp.device).manual_seed(seed) for seed in part.noise.tolist()]
        with self.autocast():
            encoding = self.model.encode(part.inp, generators)
            if part.coord is None or part.cell is None:
                prediction = encoding.render((part.target.shape[2], part.target.shape[3]))
            else:
                prediction = encoding.query(part.coord, part.cell)
        loss = total = loss_of(prediction, part.target, self.config.loss)
        if encoding.latent is not None and self.config.loss.kl_weight:
            total = loss + self.config.loss.kl_weight * encoding.latent.kl()
        share = part.inp.shape[0] / self.config.batch
        (total * share).backward()
        return loss.detach() * share


def _differing(found: str, wanted: TrainConfig) -> list[str]:
    """The entries that decide what is learnt in which a checkpoint's configuration, JSON, differs."""
    try:
        known = TrainConfig.model_validate_json(found).learnt()
    except ValidationError:  # of a version with other entries
        known = json.loads(found)
    return differences(known, wanted.learnt())


def _difference(known: dict[str, list[str]], given: dict[str, list[str]]) -> str:
    """In a few words, how the images of a run and those given differ."""
    before, now = ({image for images in listed.values() for image in images} for listed in (known, given))
    words = []
    for kind, images in (("missing", sorted(before - now)), ("new", sorted(now - before))):
        if images:
            more = ", ..." if len(images) > NAMED else ""
            words.append(f"{len(images)} {kind}: {', '.join(images[:NAMED])}{more}")
    return "; ".join(words) or "in another order"
