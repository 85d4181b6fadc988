"""The processes of a run, as torchrun starts them, and the signals that stop it.

Gradients are summed in one all-reduce a step instead of by DistributedDataParallel: a step calls `encode` and then
`query` or `render`, several times if it accumulates, and a sum at its end is exact for all of that and for shares of
unequal size.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

from arasfsr.errors import ArgumentError, TrainingError, one_line

TIMEOUT = timedelta(hours=2)
"""How long processes wait for one another: rank 0 validates and saves while the others wait."""

BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
"""torch.distributed backend by device type; error flags are on the CPU in both cases."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""Signals that stop a run after a checkpoint."""


class FailedElsewhere(TrainingError):
    """Another process of the run failed; rank 0 reports it."""


class Interrupted(Exception):
    """The run was stopped by the signal `signum`, after a checkpoint."""

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name} after step {step}; continue with --resume")
        self.signum = signum


@dataclass(frozen=True)
class Ranks:
    """This process, `rank`, of the `size` processes of a run."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes and prints."""
        return self.rank == 0

    def share(self, count: int, parts: int) -> list[range]:
        """This process' share of `count` items, in `parts` ranges; the sizes of all ranges differ by at most one."""
        pieces = self.size * parts
        bounds = [count * i // pieces for i in range(pieces + 1)]
        mine = range(self.rank * parts, (self.rank + 1) * parts)
        return [range(bounds[i], bounds[i + 1]) for i in mine]

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Sum each tensor over all processes, in place, in one message; bitwise equal in every process.

        Raises:
            TrainingError: a process has ended.
        """
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _communication():
            distributed.all_reduce(flat)
        sizes = [tensor.numel() for tensor in tensors]
        for tensor, total in zip(tensors, flat.split(sizes), strict=True):
            tensor.copy_(total.view_as(tensor))

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block that fails in all processes if it fails in one; each process waits at its end for the others.

        Rank 0 raises its own error or FailedElsewhere, all others FailedElsewhere.
        """
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            failure = error
        if self.size > 1:
            flag = torch.tensor([failure is not None], dtype=torch.int64)
            with _communication():
                distributed.all_reduce(flag)
            if flag.item():
                self._raise_elsewhere(failure)
        if failure is not None:
            raise failure

    def _raise_elsewhere(self, failure: Exception | None) -> None:
        """Raise FailedElsewhere with the first failure of all, unless this is rank 0 and failed itself."""
        failures: list[str | None] = [None] * self.size
        message = None if failure is None else f"{type(failure).__name__}: {failure}"
        with _communication():
            distributed.all_gather_object(failures, message)
        if failure is None or not self.first:
            rank = next(i for i, text in enumerate(failures) if text is not None)
            raise FailedElsewhere(f"process {rank} of {self.size} failed: {failures[rank]}") from failure

    def wait_for_first(self) -> None:
        """Wait until rank 0 has printed its error and ended: torchrun ends all processes as soon as one ends."""
        if self.size > 1 and not self.first:
            with suppress(RuntimeError):
                distributed.barrier()


ALONE = Ranks()
"""The only process of a run that torchrun did not start."""


@contextmanager
def _communication() -> Iterator[None]:
    """Raise errors of gloo and NCCL, which are RuntimeErrors, as a TrainingError."""
    try:
        yield
    except RuntimeError as error:
        raise TrainingError(
            "a process of the run has ended or cannot be reached; continue with --resume if there is a checkpoint "
            f"({one_line(error)})"
        ) from error


@contextmanager
def started_processes(device: torch.device) -> Iterator[tuple[Ranks, torch.device]]:
    """This process among those that torchrun started, with its device; ALONE and `device` without torchrun.

    Raises:
        ArgumentError: several processes cannot run on such a device, or the machine has fewer GPUs than processes.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE, device
        return
    if device.type not in BACKENDS or device.index is not None:
        raise ArgumentError(f"device must be cpu, or cuda for a GPU each, with {size} processes, got {device}")
    if device.type == "cuda":
        own = int(os.environ["LOCAL_RANK"])
        if own >= torch.cuda.device_count():
            raise ArgumentError(
                f"--nproc-per-node of torchrun must be at most {torch.cuda.device_count()}, the number of CUDA "
                f"devices, got at least {own + 1}"
            )
        device = torch.device("cuda", own)
        torch.cuda.set_device(device)
    distributed.init_process_group(BACKENDS[device.type], timeout=TIMEOUT)
    try:
        yield Ranks(distributed.get_rank(), size), device
    finally:
        distributed.destroy_process_group()


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT in the list yielded instead of ending the process; a second one ends it."""
    received: list[int] = []
    previous: dict[int, Any] = {}

    def note(signum: int, frame: Any) -> None:
        received.append(signum)
        signal.signal(signum, previous[signum])

    for signum in map(int, SIGNALS):
        previous[signum] = signal.signal(signum, note)
    try:
        yield received
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def ignore_interrupts(worker: int) -> None:
    """Make a worker of the data loader ignore Ctrl-C, which reaches all processes of a terminal: it ends with the run,
    after the checkpoint."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
