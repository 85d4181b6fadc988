"""Compiles the Triton kernels that a GPU run asks for, several at a time: `python -m tools.kernels.ahead`.

Triton compiles a kernel when it is first called, one after the other; kernels compiled here are found in Triton's cache
by all other processes. Without a CUDA device it compiles for compute capability 9.0.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch

from benchmarks.session import one_line
from tools.gpu.plan import WIDTH
from tools.kernels.listed import CAPABILITY, for_a_run, kinds
from tools.kernels.variants import Variant

PROCESSES = 4

Queue = queue.SimpleQueue[Any]


def compile_all(variants: Sequence[Variant], processes: int, say: Callable[[str], None] = print) -> int:
    """Compile them in that order, a line each; returns how many failed. A process that dies takes one with it."""
    waiting, done = Queue(), Queue()
    for variant in variants:
        waiting.put(variant)
    for _ in range(processes):
        threading.Thread(target=_keep_busy, args=(waiting, done), daemon=True).start()
    failed = 0
    try:
        for _ in variants:
            variant, seconds, error = done.get()
            failed += error is not None
            say(f"{seconds:6.1f} s  {variant.label}" + (f": {error}" if error else ""))
    finally:  # after an interrupt nothing more is begun
        with contextlib.suppress(queue.Empty):
            while True:
                waiting.get_nowait()
    return failed


def _keep_busy(waiting: Queue, done: Queue) -> None:
    """Have a process compile what is waiting, with a new one in place of one that died."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([Variant.__module__])  # so that torch is imported once
    process: Any = None
    with contextlib.suppress(queue.Empty):
        while True:
            variant = waiting.get_nowait()
            if process is None:
                pipe, other = context.Pipe()
                process = context.Process(target=_serve, args=(other,), daemon=True)
                process.start()
                other.close()
            began = time.monotonic()
            try:
                pipe.send(variant)
                error = pipe.recv()
            except (EOFError, OSError):
                process.join()
                error, process = f"its process ended with status {process.exitcode}", None
            done.put((variant, time.monotonic() - began, error))


def _serve(pipe: Connection) -> None:
    """Compile what comes through the pipe, until it is closed; answers with errors or None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    if torch.cuda.is_available():
        torch.zeros(1, device="cuda")  # kernels are loaded into torch's context
    with contextlib.suppress(EOFError):
        while True:
            variant: Variant = pipe.recv()
            error = None
            try:
                spills = variant.spills()
                if spills and variant.width == WIDTH:  # a test's kernels may spill
                    error = f"{spills} registers spill"
            except Exception as raised:
                error = one_line(raised)
            pipe.send(error)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 1 if a kernel failed."""
    parser = argparse.ArgumentParser(prog="python -m tools.kernels.ahead", description=__doc__)
    parser.add_argument("--processes", type=int, default=PROCESSES, help=f"that compile at a time ({PROCESSES})")
    parser.add_argument("--kinds", action="store_true", help="skip kernels that differ only in their queries or depth")
    given = parser.parse_args(arguments)
    if given.processes < 1:
        parser.error(f"--processes must be at least 1, got {given.processes}")
    began = time.monotonic()
    variants = for_a_run(torch.cuda.get_device_capability() if torch.cuda.is_available() else CAPABILITY)
    if given.kinds:
        variants = kinds(variants)
    print(f"{len(variants)} kernels, listed in {time.monotonic() - began:.1f} s", flush=True)
    try:
        failed = compile_all(variants, given.processes, say=lambda line: print(line, flush=True))
    except KeyboardInterrupt:  # processes that compile end with this one
        parser.exit(130, "interrupted\n")
    taken = time.monotonic() - began
    print(f"{len(variants) - failed} of {len(variants)} kernels compiled in {taken:.0f} s", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
