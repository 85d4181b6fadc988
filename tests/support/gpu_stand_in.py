"""A worker of the GPU run for a CPU: tiled under the fused backends' names, with a fault in most of their dtypes.

Run as `python gpu_stand_in.py CONTESTANT DESCRIPTOR`. Everything is as small as possible.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from arasfsr.nn.decoders.mlp import MLPWeights
from benchmarks import contestants
from benchmarks.contestants import Contestant, Decode
from benchmarks.workload import Inputs
from tools.gpu import worker
from tools.kernels import probes, tune

HANGING = os.environ.setdefault("ARASFSR_TEST_SLEEP", f"1007.{os.getpid()}")
"""Seconds that a hanging process sleeps: the mark of this run of the tests in the list of processes."""


def hang(out: Tensor) -> Tensor:
    subprocess.run(["sleep", HANGING], check=True)
    return out


def die(out: Tensor) -> Tensor:
    os.kill(os.getpid(), signal.SIGSEGV)
    return out


def fail(out: Tensor) -> Tensor:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def not_a_number(out: Tensor) -> Tensor:
    return out * float("nan")


def unwritten(out: Tensor) -> Tensor:
    written = torch.empty_like(out)  # which probes fill with NaN
    written[:, :-1] = out[:, :-1]
    return written + 0 * out


FAULTS = {
    ("cuda", "float16"): hang,
    ("cuda", "tf32"): die,
    ("triton", "float16"): fail,
    ("triton", "float32"): not_a_number,
    ("triton", "tf32"): unwritten,
}
"""By backend and dtype; in bfloat16 both are right."""


def decoder(contestant: Contestant, device: torch.device, training: bool, right: Any = contestants.decoder) -> Decode:
    backend = contestant.backend and "tiled"
    plain: Decode = right(dataclasses.replace(contestant, backend=backend, compiled=False), device, training)
    fault = FAULTS.get((contestant.name, contestant.dtype))

    def decode(inputs: Inputs, weights: MLPWeights) -> Tensor:
        out = plain(inputs, weights)
        return fault(out) if fault else out

    return decode


def judged(problem: object, number: int) -> tuple[str, dict[str, Any]]:
    """The first candidate of the tuning is right, the second hangs, the third is not right."""
    if number == 1:
        time.sleep(float(HANGING))
    error = "output errs by nan" if number == 2 else None
    return f"forward {number}", {"kernel": "forward", "cut": {}, "seconds": None, "error": error}


def timed(problem: object, number: int, row: dict[str, Any]) -> dict[str, Any]:
    return row if row["error"] else row | {"seconds": 0.01}


def main() -> None:
    torch.set_num_threads(1)
    with (
        mock.patch("benchmarks.session.decoder", decoder),
        mock.patch.multiple(probes, decoder=decoder, DRAWS=1, REPEATS=2, PROBES=(probes.PROBES[0], probes.PROBES[4])),
        mock.patch.multiple(tune, Problem=mock.Mock(), judged=judged, timed_candidate=timed),
    ):
        worker.serve(*sys.argv[1:])


if __name__ == "__main__":
    main()
