"""The processes of one run, as torchrun starts them. One process alone is the same with nothing to exchange.

Gradients are summed in one message a step instead of by DistributedDataParallel: the step calls `encode` and then
`query` or `render`, several times where it accumulates, and a sum at its end is exact for any of that and for shares of
unequal size.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from arasfsr.errors import TrainingError

PATIENCE = timedelta(hours=2)
"""How long processes wait for one another: the first validates and writes while the others wait."""

BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
"""What serves tensors of a run on that kind of device; flags are on the CPU everywhere."""


class FailedElsewhere(TrainingError):
    """Another process of the run failed, and the first one tells of it."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of a run: number `rank` of `size`."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def share(self, count: int, parts: int) -> list[range]:
        """This process' part of `count` things in a row, cut into `parts`; all sizes differ by at most one."""
        pieces = self.size * parts
        bounds = [count * i // pieces for i in range(pieces + 1)]
        mine = range(self.rank * parts, (self.rank + 1) * parts)
        return [range(bounds[i], bounds[i + 1]) for i in mine]

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Put into each tensor its sum over all processes: in one message, the same bits in every process."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _losing_no_process():
            distributed.all_reduce(flat)
        sizes = [tensor.numel() for tensor in tensors]
        for tensor, total in zip(tensors, flat.split(sizes), strict=True):
            tensor.copy_(total.view_as(tensor))

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is done inside fails in all processes or in none; each waits at the end for the others.

        The first process raises what went wrong in itself or, as FailedElsewhere, in another; all others raise
        FailedElsewhere.
        """
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            failure = error
        if self.size > 1:
            flag = torch.tensor([failure is not None], dtype=torch.int64)
            with _losing_no_process():
                distributed.all_reduce(flag)
            if flag.item():
                self._tell(failure)
        if failure is not None:
            raise failure

    def _tell(self, failure: Exception | None) -> None:
        told: list[str | None] = [None] * self.size
        with _losing_no_process():
            distributed.all_gather_object(told, None if failure is None else f"{type(failure).__name__}: {failure}")
        if failure is None or not self.first:
            rank = next(i for i, said in enumerate(told) if said is not None)
            raise FailedElsewhere(f"process {rank} of {self.size} failed: {told[rank]}") from failure

    def wait_for_the_first(self) -> None:
        """Wait until the first process has ended, which has something to say: torchrun ends all as soon as one ends."""
        if self.size > 1 and not self.first:
            with suppress(RuntimeError):
                distributed.barrier()


ALONE = Ranks()
"""The one process of a run that torchrun did not start."""


@contextmanager
def _losing_no_process() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo's and NCCL's kinds of it
        raise TrainingError(
            f"a process of the run has ended or cannot be reached; go on with --resume ({str(error).splitlines()[0]})"
        ) from error


@contextmanager
def started_processes(device: torch.device) -> Iterator[tuple[Ranks, torch.device]]:
    """This process among those that torchrun started, and its own device of the kind given; alone without torchrun.

    Raises:
        ValueError: several processes do not run on such a device, or the machine has fewer devices than processes.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE, device
        return
    if device.type not in BACKENDS or device.index is not None:
        raise ValueError(f"{size} processes on device {device}; taken are cpu, and cuda for a GPU each")
    if device.type == "cuda":
        own = int(os.environ["LOCAL_RANK"])
        if own >= torch.cuda.device_count():
            raise ValueError(
                f"{own + 1} or more processes on a machine with {torch.cuda.device_count()} CUDA devices; give "
                "torchrun at most as many --nproc-per-node"
            )
        device = torch.device("cuda", own)
        torch.cuda.set_device(device)
    distributed.init_process_group(BACKENDS[device.type], timeout=PATIENCE)
    try:
        yield Ranks(distributed.get_rank(), size), device
    finally:
        distributed.destroy_process_group()
