"""The training loop."""

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

from arasfsr.checkpoint import load_model
from arasfsr.errors import TrainingError
from arasfsr.evaluation.metrics import psnr
from arasfsr.image_find import Found
from arasfsr.image_transform import largest_square, resize, to_tensor
from arasfsr.model import ImplicitSR
from arasfsr.training.config import TrainConfig
from arasfsr.training.data import (
    Photograph,
    Sample,
    Samples,
    hold_out,
    listing,
    read_photographs,
    stack,
)
from arasfsr.training.distributed import ALONE, Ranks
from arasfsr.training.logs import LOG, Log, Silence
from arasfsr.training.run import NotFinite, Run
from arasfsr.training.state import MODEL, read_state
from arasfsr.training.stops import Interrupted, leave_signals_to_the_run, stop_requests
from arasfsr.upscaling import inference

_log = logging.getLogger(__name__)

FIRST_STEPS = 10
"""Steps after which a run tells how long it will take."""


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
                if photograph.side < hr_side:
                    continue
                hr = resize(largest_square(photograph.image), (hr_side, hr_side))
                inp = to_tensor(resize(hr, (lr_side, lr_side))).unsqueeze(0).to(device)
                out = model.encode(inp).render((hr_side, hr_side))[0].cpu()
                scores.append(psnr(out * 0.5 + 0.5, to_tensor(hr) * 0.5 + 0.5, "y-float"))
            if scores:
                result[f"{lr_side}:{hr_side}"] = {"psnr": sum(scores) / len(scores), "images": len(scores)}
    return result


def train(
    config: TrainConfig,
    data: Path,
    folder: Path,
    resume: bool = False,
    device: torch.device | str = "cpu",
    init: Path | str | None = None,
    new_data: bool = False,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Train a model on a folder of images; its summary, which is also the log's last line.

    `init` is a model whose parameters a new run starts from, of the same configuration: fine-tuning.
    A run resumes on the images that it began with, by name and size, or with `new_data` on any, in any number of
    processes. `folder` receives last.ckpt, model.safetensors (the moving average), log.jsonl and log.txt, all of
    them from the first process of `ranks`.

    Raises:
        ValueError: the data cannot be used, or `folder` cannot be written, or holds a run and `resume` is false.
        CheckpointError: there is nothing to resume, or it is of another configuration or of other images.
        TrainingError: the run cannot go on: a loss that is not finite, a full disk, a process that ended.
        Interrupted: SIGTERM or SIGINT arrived, in any process; the checkpoint is written.
    """
    device = torch.device(device)
    with ranks.together():
        state = read_state(folder) if resume else None
        found = read_photographs(data, config.data.memory * 1e9)
        images, held_out = hold_out(list(found.images.values()), config.validation.images)
        samples = Samples(images, config.data, config.batch, config.seed, config.steps * config.batch)
        if config.batch < ranks.size * config.accumulate:
            raise ValueError(
                f"batch is {config.batch}; taken are at least {ranks.size * config.accumulate}, one sample for each of "
                f"{ranks.size} processes times accumulate, {config.accumulate}"
            )
        listed = {"training": listing(images, data), "held out": listing(held_out, data)}
        run = Run.start(config, device, listed, None if init is None or resume else load_model(init))
        if state is not None:
            run.restore(state, folder, new_data)
    log = Silence()
    with ranks.together():
        if ranks.first:
            log = _begin(run, folder, new=state is None)
    try:
        with ranks.together():
            _tell_beginning(run, log, found, held_out, device, resume, ranks)
        if run.step < config.steps:
            with stop_requests() as stops:
                _Steps(run, samples, held_out, folder, log, stops, device, ranks).all()
        summary = {
            "step": run.step,
            "done": True,
            "seconds": round(run.seconds, 1),
            "validation": run.last,
            "best": run.best,
            "images": len(images),
            "broken": [str(path) for path in found.broken],
            "model": str(folder / MODEL),
        }
        with ranks.together():
            log.write({**summary, "validation": (run.last or {}).get("scores", {})})
        return summary
    finally:
        log.close()


def _begin(run: Run, folder: Path, new: bool) -> Log:
    """The run's log; a new run writes its first checkpoint, so that one killed before the next resumes too."""
    if new and any((folder / name).exists() for name in (LOG, MODEL)):
        raise ValueError(f"{folder} already holds a run; go on with --resume or give another --output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"{folder} cannot be written: {error.strerror}; give another --output") from error
    log = Log(folder, run.step, run.config.tensorboard)
    if new or run.step == run.config.steps:  # killed between its last checkpoint and its model, it is whole again
        run.save(folder)
    return log


def _tell_beginning(
    run: Run,
    log: Silence,
    found: Found[Photograph],
    held_out: Sequence[Photograph],
    device: torch.device,
    resume: bool,
    ranks: Ranks,
) -> None:
    if not ranks.first:
        return
    if run.step == run.config.steps:
        _log.info(log.say(f"already finished: {run.step} steps"))
        return
    begun = f"resumed after step {run.step}" if resume else "begun"
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    where = f"{device}" if ranks.size == 1 else f"{ranks.size} processes, {device.type}"
    _log.info(log.say(f"{begun}, {run.config.steps} steps in all: {parameters:,} parameters, on {where}"))
    counts = f"{len(found.images) - len(held_out)} images to train on, {len(held_out)} held out"
    _log.info(log.say(f"{counts}, {len(found.broken)} broken and skipped"))
    again = sum(each.kept is None for each in found.images.values())
    if again:
        memory = f"data.memory is {run.config.data.memory:g} GB"
        _log.info(log.say(f"{again} images are read again whenever they are drawn: {memory}"))
    for line in _left_out(held_out, run.config.validation.pairs):
        _log.warning(log.say(line))


def _left_out(held_out: Sequence[Photograph], pairs: Sequence[tuple[int, int]]) -> list[str]:
    """A line for each pair that some held-out images are too small for."""
    lines = []
    for lr_side, hr_side in pairs:
        small = sum(photograph.side < hr_side for photograph in held_out)
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


@dataclass
class _Steps:
    """The steps of a run that are left, with what is told and kept between them."""

    run: Run
    samples: Samples
    held_out: Sequence[Photograph]
    folder: Path
    log: Silence
    stops: list[int]
    device: torch.device
    ranks: Ranks

    def all(self) -> None:
        """Take every step. All that one process does alone happens where the others wait for it."""
        run, config = self.run, self.run.config
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._recent: list[Tensor] = []
        self._first, self._started, self._spent = run.step, time.perf_counter(), run.seconds
        self._began = self._started
        console = Console(stderr=True)
        shown = console.is_terminal and self.ranks.first
        parts = self._parts()
        with Progress(*columns, console=console, transient=True, disable=not shown) as self._progress:
            task = self._progress.add_task("training", total=config.steps, completed=run.step)
            while run.step < config.steps:
                rate = float(run.schedule.get_last_lr()[0])
                try:
                    loss, asked = run.advance(islice(parts, config.accumulate), self.device, self.ranks, self.stops)
                except NotFinite as error:
                    raise TrainingError(self.log.say(self._told(error))) from error
                self._recent.append(loss)
                self._progress.advance(task)
                run.seconds = self._spent + time.perf_counter() - self._started
                with self._waiting(asked):
                    self._tell(rate)
                    if self.ranks.first and (asked or self._due(config.checkpoint_every)):
                        run.save(self.folder)
                    if asked:
                        self.log.say(str(Interrupted(asked, run.step)))
                if asked and run.step < config.steps:
                    raise Interrupted(asked, run.step)

    def _parts(self) -> Iterator[Sample]:
        """This process' parts of every batch from the run's step on."""
        try:
            yield from self._loader()
        except TrainingError as error:  # from a worker, behind its traceback
            line = str(error).splitlines()[-1].split(f"{TrainingError.__name__}: ")[-1]
            raise TrainingError(self.log.say(f"{line}; the last checkpoint in {self.folder} is kept")) from error

    def _loader(self) -> DataLoader[Sample]:
        config = self.run.config
        shares = self.ranks.share(config.batch, config.accumulate)
        steps = range(self.run.step, config.steps)
        return DataLoader(
            self.samples,
            batch_sampler=([step * config.batch + i for i in share] for step in steps for share in shares),
            num_workers=config.data.workers,
            collate_fn=stack,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=leave_signals_to_the_run,
        )

    def _due(self, every: int) -> bool:
        return self.run.step % every == 0 or self.run.step == self.run.config.steps

    @contextmanager
    def _waiting(self, asked: int | None) -> Iterator[None]:
        """All processes wait where the first has something to write; between, they do not exchange a word."""
        config = self.run.config
        every = (config.log_every, config.validation.every, config.checkpoint_every)
        if asked or any(map(self._due, every)) or self.run.step == self._first + FIRST_STEPS:
            with self.ranks.together():
                yield
        else:
            yield

    def _told(self, error: NotFinite) -> str:
        numbers = range(self.run.step * self.run.config.batch, (self.run.step + 1) * self.run.config.batch)
        files = ", ".join(dict.fromkeys(str(self.samples.path(k)) for k in numbers))
        return f"{error}, on {files}; the step is not done, and the last checkpoint in {self.folder} is kept"

    def _say(self, line: str) -> None:
        if self.ranks.first:
            self._progress.console.print(self.log.say(line), highlight=False, markup=False, soft_wrap=True)

    def _left(self) -> str:
        run = self.run
        seconds = (time.perf_counter() - self._started) / (run.step - self._first) * (run.config.steps - run.step)
        return f"{duration(seconds)} left"

    def _tell(self, rate: float) -> None:
        run, config = self.run, self.run.config
        if run.step == self._first + FIRST_STEPS:
            seconds = (time.perf_counter() - self._started) / FIRST_STEPS
            self._say(f"step {run.step:>7}  {seconds:.3f} s/step  {self._left()}")
        if self._due(config.log_every):
            loss = torch.stack(self._recent).mean().item()
            seconds = (time.perf_counter() - self._began) / len(self._recent)
            self.log.write({"step": run.step, "loss": loss, "lr": rate, "seconds_per_step": round(seconds, 4)})
            self._say(f"step {run.step:>7}  loss {loss:.5f}  rate {rate:.2e}  {seconds:.3f} s/step  {self._left()}")
            self._recent, self._began = [], time.perf_counter()
        if self.ranks.first and self.held_out and self._due(config.validation.every):
            with run.autocast():
                scores = validate(run.averaged, self.held_out, config.validation.pairs)
            run.validated(scores)
            self.log.write({"step": run.step, "validation": scores})
            told = "  ".join(f"{pair} {score['psnr']:.2f} dB" for pair, score in scores.items())
            self._say(f"step {run.step:>7}  validation  {told or 'no image is large enough'}")
