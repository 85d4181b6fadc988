"""One contestant on one case: prepared, judged, then run on demand; in this process, or in one of its own."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, NamedTuple, Protocol

import torch

from benchmarks import gate
from benchmarks.cases import Case
from benchmarks.ceilings import precision
from benchmarks.contestants import Contestant, Decode, decoder, gradients
from benchmarks.end_to_end import FileToFile
from benchmarks.memory import Peak, limit_to_available
from benchmarks.results import ROOT
from benchmarks.timing import timed
from benchmarks.workload import Inputs, Workload

GRACE_SECONDS = 30
"""For a session's process to clean up after itself."""


class Sample(NamedTuple):
    """One timed run."""

    seconds: float
    peak_bytes: int | None
    """Above what was resident before the first timed run; None where the system does not tell."""


class ContestantFailed(RuntimeError):
    """A contestant raised, ran out of memory or was killed; the message is one line."""


class Session(Protocol):
    """A contestant that is ready to run."""

    def judge(self) -> list[dict[str, Any]]:
        """Run once, which warms up and compiles, and judge the result: the gate's verdicts as dictionaries."""
        ...

    def time(self, turn: int) -> Sample:
        """Run on the set of inputs whose turn it is."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


def one_line(error: BaseException) -> str:
    """What was raised, in one line; running out of memory is named as such."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]
    memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        sign in str(error) for sign in ("can't allocate memory", "bad_alloc", "not enough memory", "out of memory")
    )
    return f"out of memory ({text})" if memory else text


class LocalSession:
    """A session in this process."""

    def __init__(
        self, case: Case, contestant: Contestant, device: torch.device, workload: Workload | None = None
    ) -> None:
        self._case, self._contestant, self._device = case, contestant, device
        self._shared = workload is not None
        self._work = workload or Workload.of(case, device)
        self._decode: Decode = decoder(contestant, device, case.suite == "train")
        self._files = FileToFile(case, contestant, device, self._decode) if case.suite == "end-to-end" else None
        self._peak: Peak | None = None

    def _run(self, inputs: Inputs) -> None:
        """What is timed."""
        weights = self._work.weights
        if self._files is not None:
            self._files()
            return
        out = self._decode(inputs, weights)
        if inputs.upstream is not None:
            gradients(out, inputs, weights, inputs.upstream)

    def _judge(self) -> Iterator[gate.Verdict]:
        inputs, weights, dtype = self._work.sets[0], self._work.weights, self._case.dtype
        if self._files is not None:
            yield self._files.judge()
            return
        out = self._decode(inputs, weights)
        yield gate.judge_output(out, inputs, weights, dtype)
        if inputs.upstream is not None:
            found = gradients(out, inputs, weights, gate.sampled_upstream(inputs))
            yield gate.judge_gradients(found, inputs, weights, dtype)

    @contextlib.contextmanager
    def _mode(self) -> Iterator[None]:
        """The case's precision, and gradients in training alone."""
        with precision(self._case.dtype), torch.set_grad_enabled(self._case.suite == "train"):
            yield

    def judge(self) -> list[dict[str, Any]]:
        with self._mode():
            verdicts = list(self._judge())
        return [asdict(verdict) | {"ok": verdict.ok} for verdict in verdicts]

    def time(self, turn: int) -> Sample:
        inputs = self._work.sets[turn % len(self._work.sets)]
        if self._device.type == "cuda" or self._peak is None:
            self._peak = Peak(self._device)  # on a GPU sessions share the allocator: each run has a peak of its own
        with self._mode():
            seconds = timed(lambda: self._run(inputs), self._device)
        return Sample(seconds, self._peak.above())

    def close(self) -> None:
        if not self._shared:
            self._work.sets.clear()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def serve() -> None:
    """A session's process: reads requests, writes ("ok", result) or ("failed", one line) to each, both pickled.

    The first is the session's case, contestant and device; then None asks for a judgement, a number for a timed run.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else prints must not come between the answers
    session: LocalSession | None = None
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            result: Any = None
            if session is None:
                limit_to_available()
                case, contestant, device = request
                session = LocalSession(case, contestant, torch.device(device))
            else:
                result = session.judge() if request is None else session.time(request)
            answer = ("ok", result)
        except Exception as error:
            answer = ("failed", one_line(error))
        pickle.dump(answer, answers)
        answers.flush()


class ProcessSession:
    """A session in a process of its own: its memory is its own, and nothing that happens to it harms the run."""

    def __init__(self, case: Case, contestant: Contestant, device: torch.device) -> None:
        command = [sys.executable, "-c", "from benchmarks.session import serve; serve()"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self._ask((case, contestant, str(device)))
        except BaseException:
            self.close()
            raise

    def _ask(self, request: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump(request, self._process.stdin)
            self._process.stdin.flush()
            kind, result = pickle.load(self._process.stdout)
        except (EOFError, OSError) as error:
            code = self._process.wait()
            killed = "; killed, most likely out of memory" if code == -signal.SIGKILL else ""
            raise ContestantFailed(f"its process ended with status {code}{killed}") from error
        if kind == "failed":
            raise ContestantFailed(result)
        return result

    def judge(self) -> list[dict[str, Any]]:
        verdicts: list[dict[str, Any]] = self._ask(None)
        return verdicts

    def time(self, turn: int) -> Sample:
        sample: Sample = self._ask(turn)
        return sample

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()  # the end of its requests lets it end
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def open_session(case: Case, contestant: Contestant, device: torch.device, shared: Workload | None = None) -> Session:
    """In this process on a GPU, whose start-up is slow and whose allocator tells the peak; else in one of its own."""
    if device.type == "cuda":
        return LocalSession(case, contestant, device, shared)
    return ProcessSession(case, contestant, device)
