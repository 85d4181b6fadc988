"""One contestant on one case: prepared, judged, then run on demand, in this process or in another."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from typing import Any, NamedTuple, Protocol

import torch

from benchmarks import gate
from benchmarks.cases import Case
from benchmarks.ceilings import precision
from benchmarks.contestants import Contestant, decoder, gradients
from benchmarks.end_to_end import FileToFile
from benchmarks.memory import Peak, limit_to_available
from benchmarks.timing import timed
from benchmarks.workload import Inputs, Workload


class Sample(NamedTuple):
    """One timed run."""

    seconds: float
    peak_bytes: int | None  # above what was resident before the first timed run; None where unknown


class ContestantFailed(RuntimeError):
    """A contestant raised, ran out of memory or was killed; the message is one line."""


class Session(Protocol):
    """A contestant that is ready to run."""

    def judge(self) -> list[dict[str, Any]]: ...  # run once, which warms up and compiles: the gate's verdicts
    def time(self, turn: int) -> Sample: ...  # run on the set of inputs whose turn it is
    def close(self) -> None: ...  # free what it holds


def one_line(error: BaseException) -> str:
    """What was raised, in one line; running out of memory is named as such."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]
    signs = ("can't allocate memory", "bad_alloc", "not enough memory", "out of memory")
    memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in str(error) for sign in signs)
    return f"out of memory ({text})" if memory else text


class LocalSession:
    """A session in this process; several may share a workload."""

    def __init__(self, case: Case, contestant: Contestant, device: torch.device, shared: Workload | None = None):
        self._case, self._device, self._shared = case, device, shared is not None
        self._work = shared or Workload.of(case, device)
        self._decode = decoder(contestant, device, case.suite == "train")
        self._files = FileToFile(case, contestant, device, self._decode) if case.suite == "end-to-end" else None
        self._peak: Peak | None = None

    def _run(self, inputs: Inputs) -> None:
        if self._files is not None:
            return self._files()
        out = self._decode(inputs, self._work.weights)
        if inputs.upstream is not None:
            gradients(out, inputs, self._work.weights, inputs.upstream)
        return None

    def _judge(self) -> list[gate.Verdict]:
        if self._files is not None:
            return [self._files.judge()]
        inputs, weights, dtype = self._work.sets[0], self._work.weights, self._case.dtype
        out = self._decode(inputs, weights)
        output = gate.judge_output(out, inputs, weights, dtype)
        if inputs.upstream is None:
            return [output]
        found = gradients(out, inputs, weights, gate.sampled_upstream(inputs))
        return [output, gate.judge_gradients(found, inputs, weights, dtype)]

    @contextlib.contextmanager
    def _mode(self) -> Iterator[None]:
        with precision(self._case.dtype), torch.set_grad_enabled(self._case.suite == "train"):
            yield

    def judge(self) -> list[dict[str, Any]]:
        with self._mode():
            return [asdict(verdict) | {"ok": verdict.ok} for verdict in self._judge()]

    def time(self, turn: int) -> Sample:
        inputs = self._work.sets[turn % len(self._work.sets)]
        if self._device.type == "cuda" or self._peak is None:
            self._peak = Peak(self._device)  # on a GPU sessions share the allocator, so each run is measured by itself
        with self._mode():
            seconds = timed(lambda: self._run(inputs), self._device)
        return Sample(seconds, self._peak.above())

    def close(self) -> None:
        if not self._shared:
            self._work.sets.clear()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


_session: list[Session] = []  # of a process that is one's


def _in_process(what: str | Callable[..., Session], *given: Any) -> Any:
    """Make the process's session, or call its method `what`; raises one line, as not every error can be pickled."""
    try:
        if isinstance(what, str):
            return getattr(_session[0], what)(*given)
        limit_to_available()
        return _session.append(what(*given))
    except Exception as error:
        raise ContestantFailed(one_line(error)) from None


class ProcessSession:
    """A session in its own process: its memory is its own, and a crash does not end the run.

    `make` and its arguments go there by pickle and give the session.
    """

    def __init__(self, make: Callable[..., Session], *given: Any) -> None:
        self._process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        try:
            self._ask(make, *given)
        except BaseException:
            self.close()
            raise

    def _ask(self, what: str | Callable[..., Session], *given: Any) -> Any:
        try:
            return self._process.submit(_in_process, what, *given).result()
        except BrokenProcessPool as error:
            raise ContestantFailed("its process was killed, most likely out of memory") from error

    def judge(self) -> list[dict[str, Any]]:
        return list(self._ask("judge"))

    def time(self, turn: int) -> Sample:
        return Sample(*self._ask("time", turn))

    def close(self) -> None:
        self._process.shutdown()


def open_session(case: Case, contestant: Contestant, device: torch.device, shared: Callable[[], Workload]) -> Session:
    """In this process on a GPU, whose start-up is slow and whose allocator reports the peak; else in another."""
    if device.type == "cuda":
        return LocalSession(case, contestant, device, shared())
    return ProcessSession(LocalSession, case, contestant, device)
