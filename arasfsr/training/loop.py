"""The training loop."""

from __future__ import annotations

import json
import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from arasfsr.checkpoint import load_model, save_model
from arasfsr.errors import CheckpointError
from arasfsr.metrics import psnr
from arasfsr.model import ImplicitSR
from arasfsr.training.config import LossConfig, OptimizerConfig, TrainConfig, differences
from arasfsr.training.data import Photograph, Samples, hold_out, largest_square, listing, read_folder, resize, to_tensor
from arasfsr.training.state import LOG, MODEL, Log, read_state, write_state
from arasfsr.upscaling import inference

_log = logging.getLogger(__name__)

FIRST_STEPS = 10
"""Steps after which a run tells how long it will take."""

NAMED = 3
"""Differences between two lists of images that are told one by one."""


class Interrupted(Exception):
    """A signal asked the run to stop; its checkpoint is written. `signum` is the signal."""

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name} after step {step}; go on with --resume")
        self.signum = signum


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """SIGTERM and SIGINT land in the list instead of ending the process; a second one ends it."""
    received: list[int] = []
    previous: dict[int, Any] = {}

    def note(signum: int, frame: Any) -> None:
        received.append(signum)
        signal.signal(signum, previous[signum])

    for signum in map(int, (signal.SIGTERM, signal.SIGINT)):
        previous[signum] = signal.signal(signum, note)
    try:
        yield received
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def _leave_signals_to_the_run(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the samples' workers end with the run, after its checkpoint."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


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


def validate(
    model: ImplicitSR, images: Sequence[Photograph], pairs: Sequence[tuple[int, int]]
) -> dict[str, dict[str, float]]:
    """Mean PSNR on luma (protocol y-float) for each LR:HR pair over the images that are large enough, and their
    number. The target is the image's largest square."""
    result = {}
    with inference(model):
        device = next(model.parameters()).device
        for lr_side, hr_side in pairs:
            scores = []
            for photograph in images:
                image = photograph.image
                if min(image.size) < hr_side:
                    continue
                hr = resize(largest_square(image), (hr_side, hr_side))
                inp = to_tensor(resize(hr, (lr_side, lr_side))).unsqueeze(0).to(device)
                out = model.encode(inp).render((hr_side, hr_side))[0].cpu()
                scores.append(psnr(out * 0.5 + 0.5, to_tensor(hr) * 0.5 + 0.5, "y-float"))
            if scores:
                result[f"{lr_side}:{hr_side}"] = {"psnr": sum(scores) / len(scores), "images": len(scores)}
    return result


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
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def restore(self, state: dict[str, Any], folder: Path, new_data: bool = False) -> None:
        """Take up a checkpoint of the same configuration and, unless `new_data`, of the same images."""
        if state.get("config") != self.config.model_dump_json():
            differing = differences(json.loads(state.get("config", "{}")), self.config.model_dump(mode="json"))
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

    @property
    def averaged(self) -> ImplicitSR:
        """The model that the run is for: the moving average."""
        assert isinstance(self.average.module, ImplicitSR)
        return self.average.module

    def save(self, folder: Path) -> None:
        write_state(folder, self.state())
        save_model(self.averaged, folder / MODEL)

    def advance(self, batch: Any, device: torch.device) -> Tensor:
        """One step of optimisation; the loss."""
        inp, coord, cell, target = (tensor.to(device, non_blocking=True) for tensor in batch)
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        encoding = self.model.encode(inp, generator)
        loss = loss_of(encoding.query(coord, cell), target, self.config.loss)
        total = loss
        if encoding.latent is not None and self.config.loss.kl_weight:
            total = loss + self.config.loss.kl_weight * encoding.latent.kl()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(self.model)
        self.step += 1
        return loss.detach()


def train(
    config: TrainConfig,
    data: Path,
    folder: Path,
    resume: bool = False,
    device: torch.device | str = "cpu",
    init: Path | str | None = None,
    new_data: bool = False,
) -> dict[str, Any]:
    """Train a model on a folder of images; its summary, which is also the log's last line.

    `init` is a model whose parameters a new run starts from, of the same configuration: fine-tuning.
    A run resumes on the images that it began with, by name and size, or with `new_data` on any.
    `folder` receives last.ckpt, model.safetensors (the moving average), log.jsonl and log.txt.

    Raises:
        ValueError: the data cannot be used, or `folder` already holds a run and `resume` is false.
        CheckpointError: there is nothing to resume, or it is of another configuration or of other images.
        Interrupted: SIGTERM or SIGINT arrived; the checkpoint is written.
    """
    device = torch.device(device)
    state = read_state(folder) if resume else None
    found = read_folder(data)
    images, held_out = hold_out(found.images, config.validation.images)
    samples = Samples(images, config.data, config.batch, config.seed, config.steps * config.batch)
    listed = {"training": listing(images, data), "held out": listing(held_out, data)}
    run = Run.start(config, device, listed, None if init is None or resume else load_model(init))
    if state is not None:
        run.restore(state, folder, new_data)
    elif any((folder / name).exists() for name in (LOG, MODEL)):
        raise ValueError(f"{folder} already holds a run; go on with --resume or give another --output")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        run.save(folder)  # a run killed before its first checkpoint resumes too
    log = Log(folder, run.step)
    try:
        if run.step == config.steps:
            _log.info(log.say(f"already finished: {run.step} steps"))
            run.save(folder)  # a run killed between its last checkpoint and its model is whole again
        else:
            begun = f"resumed after step {run.step}" if resume else "begun"
            parameters = sum(parameter.numel() for parameter in run.model.parameters())
            _log.info(log.say(f"{begun}, {config.steps} steps in all: {parameters:,} parameters, on {device}"))
            counts = f"{len(images)} images to train on, {len(held_out)} held out"
            _log.info(log.say(f"{counts}, {len(found.broken)} broken and skipped"))
            for line in _left_out(held_out, config.validation.pairs):
                _log.warning(log.say(line))
            with stop_requests() as stops:
                _steps(run, samples, held_out, folder, log, stops, device)
        summary = {
            "step": run.step,
            "done": True,
            "images": len(images),
            "broken": [str(path) for path in found.broken],
            "model": str(folder / MODEL),
        }
        log.write(summary)
        return summary
    finally:
        log.close()


def _difference(known: dict[str, list[str]], given: dict[str, list[str]]) -> str:
    """In a few words, how the images of a run and those given differ."""
    before, now = ({image for images in listed.values() for image in images} for listed in (known, given))
    words = []
    for kind, images in (("missing", sorted(before - now)), ("new", sorted(now - before))):
        if images:
            more = ", ..." if len(images) > NAMED else ""
            words.append(f"{len(images)} {kind}: {', '.join(images[:NAMED])}{more}")
    return "; ".join(words) or "in another order"


def _left_out(held_out: Sequence[Photograph], pairs: Sequence[tuple[int, int]]) -> list[str]:
    """A line for each pair that some held-out images are too small for."""
    lines = []
    for lr_side, hr_side in pairs:
        small = sum(min(photograph.image.size) < hr_side for photograph in held_out)
        if small:
            what = "the pair has no score" if small == len(held_out) else "left out"
            lines.append(
                f"validation {lr_side}:{hr_side}: {small} of {len(held_out)} held-out images are smaller than "
                f"{hr_side} pixels, {what}"
            )
    return lines


def duration(seconds: float) -> str:
    """As people say it: 40 s, 12 min, 1 h 32 min."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _steps(
    run: Run,
    samples: Samples,
    held_out: Sequence[Photograph],
    folder: Path,
    log: Log,
    stops: list[int],
    device: torch.device,
) -> None:
    config = run.config
    loader = DataLoader(
        samples,
        batch_size=config.batch,
        sampler=range(run.step * config.batch, len(samples)),
        num_workers=config.data.workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=_leave_signals_to_the_run,
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    recent: list[Tensor] = []
    first, started = run.step, time.perf_counter()
    began = started

    def left() -> str:
        seconds = (time.perf_counter() - started) / (run.step - first) * (config.steps - run.step)
        return f"{duration(seconds)} left"

    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:

        def say(line: str) -> None:
            progress.console.print(log.say(line), highlight=False, markup=False, soft_wrap=True)

        task = progress.add_task("training", total=config.steps, completed=run.step)
        for batch in loader:
            rate = run.schedule.get_last_lr()[0]
            recent.append(run.advance(batch, device))
            progress.advance(task)
            if run.step == first + FIRST_STEPS:
                say(f"step {run.step:>7}  {(time.perf_counter() - started) / FIRST_STEPS:.3f} s/step  {left()}")
            if run.step % config.log_every == 0 or run.step == config.steps:
                loss = torch.stack(recent).mean().item()
                seconds = (time.perf_counter() - began) / len(recent)
                log.write({"step": run.step, "loss": loss, "lr": rate, "seconds_per_step": round(seconds, 4)})
                say(f"step {run.step:>7}  loss {loss:.5f}  rate {rate:.2e}  {seconds:.3f} s/step  {left()}")
                recent, began = [], time.perf_counter()
            if held_out and (run.step % config.validation.every == 0 or run.step == config.steps):
                scores = validate(run.averaged, held_out, config.validation.pairs)
                log.write({"step": run.step, "validation": scores})
                told = "  ".join(f"{pair} {score['psnr']:.2f} dB" for pair, score in scores.items())
                say(f"step {run.step:>7}  validation  {told or 'no image is large enough'}")
            if run.step % config.checkpoint_every == 0 or run.step == config.steps or stops:
                run.save(folder)
            if stops:
                stop = Interrupted(stops[0], run.step)
                log.say(str(stop))
                raise stop
