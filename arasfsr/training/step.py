"""The start of a run and one step of it: optimizer, schedule, moving average, loss, gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from arasfsr.errors import CheckpointError, TrainingError
from arasfsr.model import ImplicitSR
from arasfsr.training.config import LossConfig, OptimizerConfig, TrainConfig, differences
from arasfsr.training.data import Sample
from arasfsr.training.distributed import SIGNALS, Ranks
from arasfsr.training.state import Run


class NotFinite(TrainingError):
    """The loss or a gradient of a step is not finite; the parameters have not changed."""


def start_run(
    config: TrainConfig, device: torch.device, images: dict[str, list[str]], init: ImplicitSR | None = None
) -> Run:
    """A new run, from random parameters or from those of `init`.

    Raises:
        CheckpointError: `init` has another configuration.
    """
    torch.manual_seed(config.seed)
    model = ImplicitSR(config.model)
    if init is not None:
        found, wanted = (each.model_dump(mode="json", exclude={"init"}) for each in (init.config, config.model))
        differing = differences(found, wanted)
        if differing:
            raise CheckpointError(f"the model to start from has another configuration: {'; '.join(differing)}")
        model.load_state_dict(init.state_dict())
    model = model.to(device)
    average = AveragedModel(model, multi_avg_fn=warm_average(config.ema))
    return Run(config, model, average, *build_optimizer(model, config.optimizer, config.steps), images)


def take_step(
    run: Run, parts: Iterable[Sample], device: torch.device, ranks: Ranks, stops: Sequence[int] = ()
) -> tuple[Tensor, int | None]:
    """One optimisation step, on this process' share of a batch, given in parts.

    `stops` are the signals that this process has received.

    Returns:
        The loss over the whole batch, and a signal that any process has received.

    Raises:
        NotFinite: the loss or a gradient is not finite; the parameters have not changed.
    """
    run.optimizer.zero_grad(set_to_none=True)
    loss = torch.zeros((), device=device)
    with ranks.together():
        for part in parts:
            loss += _accumulate(run, part.to(device))
    received = torch.tensor([float(signum in stops) for signum in SIGNALS], device=device)
    gradients = [parameter.grad for parameter in run.model.parameters() if parameter.grad is not None]
    ranks.all_reduce([*gradients, loss, received])
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), run.config.clip or math.inf)
    if not torch.isfinite(loss + norm):
        raise NotFinite(f"step {run.step + 1}: the loss is {loss.item():g}, the gradient norm {norm.item():g}")
    run.optimizer.step()
    run.schedule.step()
    run.average.update_parameters(run.model)
    run.step += 1
    return loss, next((signum for signum, count in zip(SIGNALS, received.tolist(), strict=True) if count), None)


def _accumulate(run: Run, part: Sample) -> Tensor:
    """Add the gradients of a part, and return its share of the loss over the batch."""
    generators = [torch.Generator(part.inp.device).manual_seed(seed) for seed in part.noise.tolist()]
    with autocast(run):
        encoding = run.model.encode(part.inp, generators)
        if part.coord is None or part.cell is None:
            prediction = encoding.render((part.target.shape[2], part.target.shape[3]))
        else:
            prediction = encoding.query(part.coord, part.cell)
    loss = total = loss_of(prediction, part.target, run.config.loss)
    if encoding.latent is not None and run.config.loss.kl_weight:
        total = loss + run.config.loss.kl_weight * encoding.latent.kl()
    share = part.inp.shape[0] / run.config.samples(part.inp.shape[-1])
    (total * share).backward()
    return loss.detach() * share


def autocast(run: Run) -> torch.autocast:
    """Autocast of forward passes in the run's precision."""
    device = next(run.model.parameters()).device
    return torch.autocast(device.type, torch.bfloat16, enabled=run.config.precision == "bfloat16")


def loss_of(prediction: Tensor, target: Tensor, config: LossConfig) -> Tensor:
    """L1 or Charbonnier loss, averaged over all elements."""
    error = prediction - target
    if config.name == "l1":
        return error.abs().mean()
    assert config.name == "charbonnier"
    return (error**2 + config.epsilon**2).sqrt().mean()


def build_optimizer(
    model: ImplicitSR, config: OptimizerConfig, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """The optimizer and its learning-rate schedule, which advances once a step."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.name]
    optimizer = kind(model.parameters(), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)
    schedules = torch.optim.lr_scheduler
    if config.schedule == "one-cycle":
        warmup = config.warmup
        if warmup * (steps + 1) == 1:  # OneCycleLR would divide by zero
            warmup *= 1 - 1e-9
        return optimizer, schedules.OneCycleLR(
            optimizer, config.lr, total_steps=steps + 1, pct_start=warmup, cycle_momentum=False
        )
    if config.schedule == "cosine":
        return optimizer, schedules.CosineAnnealingLR(optimizer, steps)
    if config.schedule == "steps":
        return optimizer, schedules.MultiStepLR(optimizer, [round(m * steps) for m in config.milestones], gamma=0.5)
    assert config.schedule == "constant"
    return optimizer, schedules.ConstantLR(optimizer, factor=1.0)


def warm_average(decay: float) -> Callable[..., None]:
    """For AveragedModel: the exponential moving average with decay min(decay, (1 + n) / (10 + n)) after n steps."""

    def update(averaged: Any, current: Any, steps: Tensor | int) -> None:
        n = int(steps)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averaged, current, steps)

    return update
