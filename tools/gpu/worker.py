"""The process that touches the GPU: `serve CONTESTANT DESCRIPTOR` answers the supervisor through a connection.

`once BACKEND CASE` runs the plan's headline or its training step for a profiler.
"""

from __future__ import annotations

import contextlib
import functools
import os
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from benchmarks import ceilings, profiling
from benchmarks.cases import Case
from benchmarks.contestants import Contestant
from benchmarks.results import machine
from benchmarks.run import complete, measure_case
from benchmarks.session import LocalSession, one_line
from benchmarks.timing import repetitions, timed
from tools.gpu import plan
from tools.gpu.files import PROBES, STARTED, SUITES
from tools.kernels import probes

Row = dict[str, Any]

SECONDS = 2.0
"""For the runs of a case, and for replays of its graph."""

FROM_CEILINGS = ("ceiling_dtype", "ceiling_flops", "share")
"""What of a row depends on the ceilings, which another worker measures; `publish` adds it."""


def device() -> torch.device:
    """Where everything runs: the GPU, or in tests the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class PreparedSession(LocalSession):
    """A session that is judged once, and kept until `release`."""

    @functools.cached_property
    def _verdicts(self) -> list[Row]:
        return super().judge()

    def judge(self) -> list[Row]:
        return self._verdicts

    def close(self) -> None:
        pass

    def release(self) -> None:
        super().close()


class Server:
    """One contestant; its methods are the plan's requests, whose rows go to `tell` with a file and a key."""

    def __init__(self, name: str, tell: Callable[[str, str, Row], None]) -> None:
        self._name, self._tell = name, tell
        self._backend = None if name.startswith("public") else name
        self._sessions: dict[Case, PreparedSession] = {}

    def ready(self) -> None:
        """Load libraries and start CUDA, so that the first case does not wait for it."""
        torch.zeros(1, device=device())

    def machine(self) -> None:
        self._tell(SUITES, "machine", machine(device()))

    def ceilings(self) -> None:
        self._tell(SUITES, "ceilings", {**ceilings.measure(device()), "machine": machine(device())})

    def probe(self, width: int, dtype: str) -> None:
        """Judge the kernels of that width and dtype on every probe."""
        assert self._backend is not None
        for probe in probes.probes(dtype):
            key = f"{self._backend} {width} {dtype}: {probe.name}"
            began = time.monotonic()
            self._tell(PROBES, key, {"ok": False, "error": STARTED})
            try:
                row = {**probes.judge(probe, self._backend, width, dtype, device()), "error": None}
            except Exception as error:
                row = {"ok": False, "error": one_line(error)}
            self._tell(PROBES, key, {**row, "seconds": round(time.monotonic() - began, 2)})
            end_if_unusable(row)

    def _contestant(self, case: Case) -> Contestant:
        return Contestant(self._name, case.dtype, self._backend, compiled=self._name.endswith("-compile"))

    def _session(self, case: Case) -> PreparedSession:
        if case not in self._sessions:
            self._sessions[case] = PreparedSession(case, self._contestant(case), device())
        return self._sessions[case]

    def _release(self, case: Case) -> None:
        if case in self._sessions:
            self._sessions.pop(case).release()

    def prepare(self, case: Case) -> None:
        """Compile and judge, so that `measure` begins at once; `measure` tells what is wrong."""
        with contextlib.suppress(Exception):
            self._session(case).judge()

    def measure(self, case: Case) -> None:
        """Judge a case, and time it if it is right: a row as of `benchmarks run`, for ours with replays of a graph."""
        unknown = dict.fromkeys(ceilings.TORCH_DTYPES, float("nan"))

        def store(row: Row) -> None:
            if case in self._sessions:
                config = self._sessions[case]._work.config
                row = complete(row, case, self._name, config, unknown, device().type)
            told = {name: value for name, value in row.items() if name not in FROM_CEILINGS}
            self._tell(SUITES, f"{case.name} {self._name}", {**told, "machine": machine(device())})

        def store_first(name: str, row: Row) -> None:
            if len(row.get("samples_s", ())) == 1:
                store(row)

        [row] = measure_case({self._name: lambda: self._session(case)}, store_first, SECONDS).values()
        try:
            if self._backend and case.suite == "query" and device().type == "cuda" and not row["error"]:
                store(row)
                row["replay_s"] = replays(self._session(case))
                row["bitwise"] = repeats(self._session(case), statistics.median(row["samples_s"]))
        except Exception as error:
            row["error"] = one_line(error)
        store(row)
        self._release(case)
        end_if_unusable(row)

    def profile(self, case: Case) -> None:
        """The own time of each kernel in a run, and of each operator on the host until everything is launched."""
        session = self._session(case)
        row: Row = {"host_s": host_seconds(session)}
        for name, host in (("kernels", False), ("operators", True)):
            entries = profiling.profiled(session.time, device(), host)[1]
            row[name] = [entry._asdict() for entry in entries[: profiling.ROWS]]
        self._tell(SUITES, f"kernels of {case.name} {self._name}", row)
        self._release(case)

    def judge(self, number: int) -> None:
        """Compile a candidate for the Triton kernels' table, and judge it."""
        from tools.kernels import tune

        problem = tune.Problem("bfloat16", device())
        name, row = tune.judged(problem, number)
        self._candidate = name, functools.partial(tune.timed_candidate, problem, number, row)
        self._tell(SUITES, f"cut: {name}", row)

    def tune(self, number: int) -> None:
        """Time the candidate that was judged."""
        name, timed_row = self._candidate
        self._tell(SUITES, f"cut: {name}", timed_row())


def end_if_unusable(row: Row) -> None:
    """End the process after an error that leaves the CUDA context unusable; the next request gets a new process."""
    error = row.get("error") or ""
    if "CUDA error" in error or "AcceleratorError" in error:
        os._exit(3)


def host_seconds(session: LocalSession) -> list[float]:
    """Seconds until everything is launched, for each set of inputs."""
    found = []
    for inputs in session._work.sets:
        began = time.perf_counter()
        with session._mode():
            session._run(inputs)
        found.append(time.perf_counter() - began)
        if device().type == "cuda":
            torch.cuda.synchronize()
    return found


def replays(session: LocalSession) -> list[float]:
    """Seconds of replays of a CUDA graph: the call without the host's work."""
    inputs = session._work.sets[0]
    with session._mode():
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            session._run(inputs)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            session._run(inputs)
        graph.replay()
        first = timed(graph.replay, device())
        return [first, *(timed(graph.replay, device()) for _ in range(repetitions(first, SECONDS)))]


def repeats(session: LocalSession, seconds: float) -> bool:
    """Whether up to 20 runs give the same bits, every other one beside matrix products on another stream."""
    inputs, weights = session._work.sets[0], session._work.weights

    def run() -> Tensor:
        return session._decode(inputs, weights)

    with session._mode():
        wanted, same = run(), True
        side, square = torch.cuda.Stream(), torch.randn(2048, 2048, device="cuda")
        for number in range(repetitions(seconds, SECONDS) + 5):
            if number % 2:
                with torch.cuda.stream(side):
                    square @ square
            same &= torch.equal(run(), wanted)
        torch.cuda.synchronize()
    return same


def serve(name: str, descriptor: str) -> None:
    """Answer requests: rows as (file, key, row), then None."""
    connection = Connection(int(descriptor))
    server = Server(name, lambda *row: connection.send(row))
    with contextlib.suppress(EOFError):
        while True:
            what, arguments = connection.recv()
            getattr(server, what)(**arguments)
            connection.send(None)


def once(backend: str, which: str) -> None:
    """Run the plan's headline or its training step a few times, and print the times."""
    case = {"headline": plan.HEADLINE, "train": plan.TRAIN_LARGE}[which]
    session = LocalSession(case, Contestant(backend, case.dtype, backend), device())
    times = sorted(session.time(turn).seconds for turn in range(10))
    print(f"{backend} {which}: {1e3 * statistics.median(times):.3f} ms, at least {1e3 * times[0]:.3f}", flush=True)


if __name__ == "__main__":
    sys.exit({"serve": serve, "once": once}[sys.argv[1]](*sys.argv[2:]))
