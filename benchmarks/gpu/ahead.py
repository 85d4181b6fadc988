"""Compiles the Triton kernels that a GPU run asks for, several at a time: `python -m benchmarks.gpu.ahead`.

Triton compiles a kernel in the process that first asks for it, one after the other; what this has compiled, all others
find in Triton's cache. Where there is no CUDA device it compiles for compute capability 9.0.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from benchmarks.gpu.plan import WIDTH
from benchmarks.gpu.variants import CAPABILITY, Variant, kinds, standing_in, variants
from benchmarks.session import one_line

PROCESSES = 4

Told = tuple[float, str | None]
"""Of a kernel: seconds, and what failed."""


def compile_all(wanted: Iterable[Variant], processes: int, say: Callable[[str], None] = print) -> int:
    """Compile them in that order, a line each; returns how many failed. A process that dies takes one with it."""
    waiting = iter(list(wanted))
    lock = threading.Lock()
    compilers: list[Compiler] = []
    failed = 0

    def following() -> Variant | None:
        with lock:
            return next(waiting, None)

    def note(variant: Variant, told: Told) -> None:
        nonlocal failed
        seconds, error = told
        with lock:
            failed += error is not None
            say(f"{seconds:6.1f} s  {variant.label}" + (f": {error}" if error else ""))

    def keep_busy() -> None:
        compiler = Compiler()
        compilers.append(compiler)
        while (variant := following()) is not None:
            note(variant, compiler(variant))
        compiler.close()

    threads = [threading.Thread(target=keep_busy) for _ in range(processes)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        with lock:
            waiting = iter(())
        for compiler in compilers:
            compiler.kill()
        raise
    return failed


class Compiler:
    """A process that compiles one kernel at a time, started anew after one that killed it."""

    def __init__(self) -> None:
        self._process: Any = None

    def _start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([variants.__module__])  # so that torch is imported once
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()

    def __call__(self, variant: Variant) -> Told:
        """Compile it."""
        if self._process is None:
            self._start()
        began = time.monotonic()
        try:
            self._pipe.send(variant)
            told: Told = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            code, self._process = self._process.exitcode, None
            return time.monotonic() - began, f"its process ended with status {code}"
        return told

    def kill(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """End the process when it is done."""
        if self._process is not None:
            self._pipe.close()
            self._process.join()


def _serve(pipe: Any) -> None:
    """Compile what comes through the pipe, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # which ends the process that began this one
    if torch.cuda.is_available():
        torch.zeros(1, device="cuda")
        _answer(pipe)
    else:
        with standing_in(CAPABILITY):
            _answer(pipe)


def _answer(pipe: Any) -> None:
    while True:
        try:
            variant: Variant = pipe.recv()
        except EOFError:
            return
        began = time.monotonic()
        error = None
        try:
            spills = variant.compile()
            if spills and variant.width == WIDTH:  # a test's may
                error = f"{spills} registers spill"
        except Exception as raised:
            error = one_line(raised)
        pipe.send((time.monotonic() - began, error))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command with these arguments, or the process's; returns 1 where a kernel failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.ahead", description=__doc__)
    parser.add_argument("--processes", type=int, default=PROCESSES, help=f"that compile at a time ({PROCESSES})")
    parser.add_argument("--kinds", action="store_true", help="one of those that differ in where queries come from")
    given = parser.parse_args(arguments)
    if given.processes < 1:
        parser.error(f"--processes must be at least 1, got {given.processes}")
    began = time.monotonic()
    wanted = variants(torch.cuda.get_device_capability() if torch.cuda.is_available() else CAPABILITY)
    if given.kinds:
        wanted = kinds(wanted)
    print(f"{len(wanted)} kernels, listed in {time.monotonic() - began:.1f} s", flush=True)
    try:
        failed = compile_all(wanted, given.processes, say=lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        parser.exit(130, "interrupted\n")
    print(f"{len(wanted) - failed} of {len(wanted)} kernels compiled in {time.monotonic() - began:.0f} s", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
