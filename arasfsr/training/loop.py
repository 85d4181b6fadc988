"""The training loop: steps, validation, checkpoints and logs in order."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import DataLoader

from arasfsr.checkpoints.native import RUN_MODEL, load_model
from arasfsr.errors import ArgumentError, TrainingError
from arasfsr.evaluation.metrics import psnr
from arasfsr.images.find import Found
from arasfsr.images.transform import largest_square, resize, to_tensor
from arasfsr.model import ImplicitSR
from arasfsr.training.config import TrainConfig
from arasfsr.training.data import Photograph, Sample, Samples, hold_out, listing, read_photographs, stack
from arasfsr.training.distributed import ALONE, Interrupted, Ranks, ignore_interrupts, stop_requests
from arasfsr.training.logs import LOG, Log, NullLog, duration
from arasfsr.training.state import STATE, Run, read_state
from arasfsr.training.step import NotFinite, autocast, start_run, take_step
from arasfsr.upscaling import inference

_log = logging.getLogger(__name__)

FIRST_STEPS = 10
"""Steps after which a run estimates how long it will take."""


def train(
    config: TrainConfig,
    data: Path,
    folder: Path,
    resume: bool = False,
    device: torch.device | str = "cpu",
    init: Path | str | None = None,
    new_data: bool = False,
    ranks: Ranks = ALONE,
    extend: bool = False,
) -> dict[str, Any]:
    """Train a model on a folder of images.

    A run resumes with the images that it started with, or with any if `new_data`, in any number of processes. Rank 0
    writes last.ckpt, model.safetensors (the moving average), log.jsonl and log.txt to `folder`.

    Args:
        config: the run's configuration.
        data: folder of images, searched recursively.
        folder: the run's folder.
        resume: continue from the checkpoint in `folder`.
        device: device of the model.
        init: a model of the same configuration whose parameters a new run starts from.
        new_data: resume even if the images have changed.
        ranks: this process among those of the run.
        extend: resume even if `steps`, `clip` and the optimizer's entries except its name have changed. From the next
            step on the learning rate is what it would be if the run had begun with the new entries.

    Returns:
        A summary of the run, which is also the last line of log.jsonl.

    Raises:
        ArgumentError: the data cannot be used, `folder` cannot be written, it holds a run and `resume` is false, or a
            run is extended to `steps` that it has already taken.
        CheckpointError: there is nothing to resume, or it has another configuration or other images.
        TrainingError: the run cannot go on: a loss that is not finite, a full disk, a process that ended.
        Interrupted: SIGTERM or SIGINT arrived, in any process; the checkpoint is written.
    """
    device = torch.device(device)
    with ranks.together():
        state = read_state(folder) if resume else None
        found = read_photographs(data, config.data.memory * 1e9)
        largest = max((hr for _, hr in config.validation.pairs), default=0)
        images, held_out = hold_out(list(found.images.values()), config.validation.images, largest)
        most = max(map(config.samples, config.data.lr_sizes))
        samples = Samples(images, config.data, most, config.seed, config.steps * most, config.budget)
        _check_batches(config, samples.lr_sizes, ranks.size)
        listings = {"training": listing(images, data), "held out": listing(held_out, data)}
        run = start_run(config, device, listings, None if init is None or resume else load_model(init))
        if state is not None:
            run.restore(state, folder, new_data, extend)
    log = NullLog()
    with ranks.together():
        if ranks.first:
            log = _open_log(run, folder, new=state is None)
    try:
        with ranks.together():
            if ranks.first:
                _report_start(run, log, found, held_out, device, resume, ranks)
        if run.step < config.steps:
            with stop_requests() as stops:
                _Steps(run, samples, held_out, folder, log, stops, device, ranks).take_all()
        summary = {
            "step": run.step,
            "done": True,
            "seconds": round(run.seconds, 1),
            "validation": run.last,
            "best": run.best,
            "images": len(images),
            "broken": [str(path) for path in found.broken],
            "model": str(folder / RUN_MODEL),
        }
        with ranks.together():
            log.write({**summary, "validation": (run.last or {}).get("scores", {})})
        return summary
    finally:
        log.close()


def validate(
    model: ImplicitSR, images: Sequence[Photograph], pairs: Sequence[tuple[int, int]]
) -> dict[str, dict[str, float]]:
    """Mean PSNR on luma (protocol y-float), and the number of images, for each LR:HR pair.

    The target is the largest square of an image; images smaller than HR are left out of a pair.
    """
    result = {}
    with inference(model):
        device = next(model.parameters()).device
        for lr_side, hr_side in pairs:
            scores = []
            for photograph in images:
                if photograph.side < hr_side:
                    continue
                hr = resize(largest_square(photograph.image), (hr_side, hr_side))
                inp = to_tensor(resize(hr, (lr_side, lr_side))).unsqueeze(0).to(device)
                out = model.encode(inp).render((hr_side, hr_side))[0].cpu()
                scores.append(psnr(out * 0.5 + 0.5, to_tensor(hr) * 0.5 + 0.5, "y-float"))
            if scores:
                result[f"{lr_side}:{hr_side}"] = {"psnr": sum(scores) / len(scores), "images": len(scores)}
    return result


def _check_batches(config: TrainConfig, lr_sizes: Sequence[int], processes: int) -> None:
    """Every process must have a sample of every batch in each of its parts."""
    least, lr_side = processes * config.accumulate, max(lr_sizes)
    if config.samples(lr_side) < least:
        wanted = f"at least {least}, processes ({processes}) times accumulate ({config.accumulate})"
        if config.budget is None:
            raise ArgumentError(f"batch must be {wanted}, got {config.batch}")
        raise ArgumentError(
            f"budget.lr_pixels must give {wanted}, samples at LR side {lr_side}, got {config.budget.lr_pixels}, which "
            f"gives {config.samples(lr_side)}"
        )


def _open_log(run: Run, folder: Path, new: bool) -> Log:
    """Open the run's log, and write a checkpoint if the run is new or extended, so that it can resume after a kill."""
    if new and any((folder / name).exists() for name in (STATE, LOG, RUN_MODEL)):
        raise ArgumentError(f"{folder} already holds a run; continue with --resume or choose another --output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ArgumentError(f"{folder} cannot be written: {error.strerror}; choose another --output") from error
    log = Log(folder, run.step, run.config.tensorboard)
    try:
        finished = run.step == run.config.steps  # a kill between the last checkpoint and its model left no model
        if new or run.extension or finished:
            run.save(folder)
    except TrainingError:
        log.close()
        if new:  # else the folder would hold a run that cannot be resumed
            log.remove()
        raise
    return log


def _report_start(
    run: Run,
    log: NullLog,
    found: Found[Photograph],
    held_out: Sequence[Photograph],
    device: torch.device,
    resume: bool,
    ranks: Ranks,
) -> None:
    def say(line: str, level: int = logging.INFO) -> None:
        log.say(line)
        _log.log(level, line)

    if run.step == run.config.steps:
        say(f"already finished: {run.step} steps; --resume --extend --set steps=N, above {run.step}, continues it")
        return
    start = f"resumed after step {run.step}" if resume else "begun"
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    where = f"{device}" if ranks.size == 1 else f"{ranks.size} processes, {device.type}"
    say(f"{start}, {run.config.steps} steps in all: {parameters:,} parameters, on {where}")
    if run.config.budget is not None:
        say(run.config.budget.summary(run.config.data.lr_sizes))
    if run.extension:
        say(run.extension)
    counts = f"{len(found.images) - len(held_out)} images to train on, {len(held_out)} held out"
    say(f"{counts}, {len(found.broken)} broken and skipped")
    reread = sum(each.kept is None for each in found.images.values())
    if reread:
        say(f"{reread} images are read again whenever they are drawn: data.memory is {run.config.data.memory:g} GB")
    for line in _too_small(held_out, run.config.validation.pairs):
        say(line, logging.WARNING)


def _too_small(held_out: Sequence[Photograph], pairs: Sequence[tuple[int, int]]) -> list[str]:
    """A line for each pair that some held-out images are too small for."""
    lines = []
    for lr_side, hr_side in pairs:
        small = sum(photograph.side < hr_side for photograph in held_out)
        if small:
            effect = "the pair has no score" if small == len(held_out) else "left out"
            lines.append(
                f"validation {lr_side}:{hr_side}: {small} of {len(held_out)} held-out images are smaller than "
                f"{hr_side} pixels, {effect}"
            )
    return lines


@dataclass
class _Steps:
    """The remaining steps of a run, with what is logged and saved between them."""

    run: Run
    samples: Samples
    held_out: Sequence[Photograph]
    folder: Path
    log: NullLog
    stops: list[int]
    """Signals that this process has received."""
    device: torch.device
    ranks: Ranks

    def take_all(self) -> None:
        """Take every step. Rank 0 logs, validates and saves while the other ranks wait."""
        run, config = self.run, self.run.config
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._losses: list[Tensor] = []
        self._first, self._started = run.step, time.perf_counter()
        self._last_log = self._started
        earlier = run.seconds
        console = Console(stderr=True)
        visible = console.is_terminal and self.ranks.first
        parts = self._parts()
        with Progress(*columns, console=console, transient=True, disable=not visible) as self._progress:
            task = self._progress.add_task("training", total=config.steps, completed=run.step)
            while run.step < config.steps:
                rate = float(run.schedule.get_last_lr()[0])
                try:
                    loss, stop = take_step(run, islice(parts, config.accumulate), self.device, self.ranks, self.stops)
                except NotFinite as error:
                    raise self._failure(f"{error}, on {self._files()}; the parameters have not changed") from error
                self._losses.append(loss)
                self._progress.advance(task)
                run.seconds = earlier + time.perf_counter() - self._started
                with self._others_waiting(stop):
                    self._report(rate)
                    if self.ranks.first and (stop or self._due(config.checkpoint_every)):
                        run.save(self.folder)
                    if stop:
                        self.log.say(str(Interrupted(stop, run.step)))
                if stop and run.step < config.steps:
                    raise Interrupted(stop, run.step)

    def _parts(self) -> Iterator[Sample]:
        """This process' parts of every batch from the current step on."""
        try:
            yield from self._loader()
        except TrainingError as error:  # from a worker, below its traceback
            raise self._failure(str(error).splitlines()[-1].split(f"{TrainingError.__name__}: ")[-1]) from error

    def _loader(self) -> DataLoader[Sample]:
        config = self.run.config
        batches = map(self.samples.numbers, range(self.run.step, config.steps))
        return DataLoader(
            self.samples,
            batch_sampler=(
                [batch[i] for i in share]
                for batch in batches
                for share in self.ranks.share(len(batch), config.accumulate)
            ),
            num_workers=config.data.workers,
            collate_fn=stack,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=ignore_interrupts,
        )

    def _failure(self, reason: str) -> TrainingError:
        """A TrainingError with that reason, written to the log."""
        message = f"{reason}; the last checkpoint in {self.folder} is kept"
        self.log.say(message)
        return TrainingError(message)

    def _files(self) -> str:
        """The files that the samples of the current step come from."""
        return ", ".join(dict.fromkeys(str(self.samples.path(k)) for k in self.samples.numbers(self.run.step)))

    def _due(self, every: int) -> bool:
        return self.run.step % every == 0 or self.run.step == self.run.config.steps

    @contextmanager
    def _others_waiting(self, stop: int | None) -> Iterator[None]:
        """A block in which rank 0 may write while the other ranks wait; in steps without output nobody waits."""
        config = self.run.config
        every = (config.log_every, config.validation.every, config.checkpoint_every)
        if stop or any(map(self._due, every)) or self.run.step == self._first + FIRST_STEPS:
            with self.ranks.together():
                yield
        else:
            yield

    def _report(self, rate: float) -> None:
        """Log the steps since the last time, and validate, where they are due."""
        run, config = self.run, self.run.config
        if run.step == self._first + FIRST_STEPS:
            seconds = (time.perf_counter() - self._started) / FIRST_STEPS
            self._print(f"{seconds:.3f} s/step  {self._left()}")
        if self._due(config.log_every):
            loss = torch.stack(self._losses).mean().item()
            seconds = (time.perf_counter() - self._last_log) / len(self._losses)
            self.log.write({"step": run.step, "loss": loss, "lr": rate, "seconds_per_step": round(seconds, 4)})
            self._print(f"loss {loss:.5f}  learning rate {rate:.2e}  {seconds:.3f} s/step  {self._left()}")
            self._losses, self._last_log = [], time.perf_counter()
        if self.ranks.first and self.held_out and self._due(config.validation.every):
            with autocast(run):
                scores = validate(run.averaged, self.held_out, config.validation.pairs)
            run.add_validation(scores)
            self.log.write({"step": run.step, "validation": scores})
            values = "  ".join(f"{pair} {score['psnr']:.2f} dB" for pair, score in scores.items())
            self._print(f"validation  {values or 'no image is large enough'}")

    def _print(self, text: str) -> None:
        """Print a line on the current step, above the progress bar, and log it."""
        if self.ranks.first:
            line = f"step {self.run.step:>7}  {text}"
            self.log.say(line)
            self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _left(self) -> str:
        run = self.run
        seconds = (time.perf_counter() - self._started) / (run.step - self._first) * (run.config.steps - run.step)
        return f"{duration(seconds)} left"
