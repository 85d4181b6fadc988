"""The process that touches the GPU: `serve CONTESTANT` answers the supervisor; the others are for tools around it.

`once BACKEND CASE` runs the plan's headline or its training step for a profiler; `probes BACKEND` runs small problems
for a sanitizer, `probe NAME` the one of that name in probes.json, or all of its kernel where it names none.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks import ceilings, profiling
from benchmarks.cases import Case
from benchmarks.contestants import Contestant
from benchmarks.gpu import plan, probes
from benchmarks.gpu.folders import BEGUN, PROBES, SUITES
from benchmarks.results import machine
from benchmarks.run import complete
from benchmarks.session import LocalSession, Sample, one_line
from benchmarks.timing import timed

Row = tuple[str, str, dict[str, Any]]
"""File of the results, key and content."""

RUNS = 15
MOST_SECONDS = 2.0
"""For the runs of a case, as much for replays of its graph, and for runs that have to repeat bitwise."""

OF_CEILINGS = ("ceiling_dtype", "ceiling_flops", "share")
"""What of a row follows from the ceilings, which another worker measures: `publish` adds it."""


def device() -> torch.device:
    """Where everything runs: the GPU, or in tests the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def case_of(given: dict[str, Any]) -> Case:
    """A case as the plan has it."""
    arguments: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    return Case(**arguments)


def repetitions(seconds: float) -> int:
    """How many runs of that length."""
    return max(3, min(RUNS, int(MOST_SECONDS / max(seconds, 1e-9))))


class Server:
    """What a worker keeps from one request to the next."""

    def __init__(self, name: str) -> None:
        self._backend = None if name.startswith("public") else name
        self._name = name
        self._prepared: dict[Case, tuple[LocalSession, list[dict[str, Any]]]] = {}
        self._judged: dict[int, tuple[Any, str, dict[str, Any]]] = {}

    def _contestant(self, dtype: str) -> Contestant:
        name = self._name
        return Contestant(name, dtype, self._backend, compiled=name.endswith("-compile"))

    def answer(self, request: dict[str, Any]) -> Iterator[Row]:
        """Rows of a request."""
        what = request.pop("what")
        handlers: dict[str, Callable[..., Iterator[Row]]] = {
            "ready": self.ready,
            "machine": self.machine,
            "ceilings": self.ceilings,
            "probe": self.probe,
            "prepare": self.prepare,
            "measure": self.measure,
            "profile": self.profile,
            "judge": self.judge,
            "tune": self.tune,
        }
        yield from handlers[what](**request)

    def ready(self) -> Iterator[Row]:
        """Load what there is to load, so that the first case need not wait for it."""
        torch.zeros(1, device=device())
        yield from ()

    def machine(self) -> Iterator[Row]:
        yield SUITES, "machine", machine(device())

    def ceilings(self) -> Iterator[Row]:
        yield SUITES, "ceilings", {**ceilings.measure(device()), "machine": machine(device())}

    def probe(self, width: int, dtype: str) -> Iterator[Row]:
        assert self._backend is not None
        for probe in probes.probes(dtype):
            key = f"{self._backend} {width} {dtype}: {probe.name}"
            began = time.monotonic()
            yield PROBES, key, {"ok": False, "error": BEGUN}
            try:
                row = {**probes.judge(probe, self._backend, width, dtype, device()), "error": None}
            except Exception as error:
                row = {"ok": False, "error": one_line(error)}
            yield PROBES, key, {**row, "seconds": round(time.monotonic() - began, 2)}
            end_if_unusable(row)

    def _session(self, case: Case) -> tuple[LocalSession, list[dict[str, Any]]]:
        if case not in self._prepared:
            session = LocalSession(case, self._contestant(case.dtype), device())
            self._prepared[case] = session, session.judge()
        return self._prepared[case]

    def prepare(self, case: dict[str, Any]) -> Iterator[Row]:
        """Compile and judge, so that measuring begins at once."""
        began = time.monotonic()
        found = case_of(case)
        try:
            self._session(found)
            told = "ready"
        except Exception as error:
            told = one_line(error)
        row = {"told": told, "seconds": round(time.monotonic() - began, 2)}
        yield SUITES, f"prepared {self._name} {found.name}", row

    def measure(self, case: dict[str, Any]) -> Iterator[Row]:
        """Judge a case, and time it where it is right: rows as in the suites, with replays of a graph of ours."""
        found = case_of(case)
        key = f"{found.name} {self._name}"
        row: dict[str, Any] = {"gate": None, "error": BEGUN}

        def told() -> Row:
            config = session._work.config
            unknown = dict.fromkeys(ceilings.TORCH_DTYPES, float("nan"))
            full = complete(row, found, self._contestant(found.dtype), config, unknown, device().type)
            rest = {name: value for name, value in full.items() if name not in OF_CEILINGS}
            return SUITES, key, {**rest, "machine": machine(device())}

        try:
            session, row["gate"] = self._session(found)
            red = [verdict for verdict in row["gate"] if not verdict["ok"]]
            row["error"] = f"red gate: {red}" if red else None
            if red:
                yield told()
                return
            samples: list[Sample] = []
            for turn in range(RUNS):
                samples.append(session.time(turn))
                if turn + 1 >= repetitions(samples[0].seconds):
                    break
            row |= {"samples_s": [s.seconds for s in samples], "peaks_bytes": [s.peak_bytes for s in samples]}
            yield told()
            if self._backend is not None and found.suite == "query" and device().type == "cuda":
                with session._mode():
                    row["replay_s"] = replays(session)
                    row["bitwise"] = repeats(session, min(20, repetitions(samples[0].seconds) + 5))
                yield told()
        except Exception as error:
            row["error"] = one_line(error)
            yield SUITES, key, row
            end_if_unusable(row)
        finally:
            self._forget(found)

    def _forget(self, case: Case) -> None:
        if case in self._prepared:
            self._prepared.pop(case)[0].close()
        if device().type == "cuda":
            torch.cuda.empty_cache()

    def profile(self, case: dict[str, Any]) -> Iterator[Row]:
        """Every kernel's own time in a run, and what the host does until all is launched, operator by operator."""
        found = case_of(case)
        try:
            session, _ = self._session(found)
            row: dict[str, Any] = {"host_s": calls(session)}
            for name, host in (("kernels", False), ("operators", True)):
                entries = profiling.kernels(lambda turn: session.time(turn), device(), host)
                row[name] = [entry._asdict() for entry in entries[: profiling.ROWS]]
            yield SUITES, f"kernels of {found.name} {self._name}", row
        finally:
            self._forget(found)

    def judge(self, number: int) -> Iterator[Row]:
        """Compile one of the candidates of the Triton kernels' table, and judge it."""
        from benchmarks import tune

        problem = tune.Problem("bfloat16", device())
        name, row = tune.judged(problem, number)
        self._judged[number] = problem, name, row
        yield SUITES, f"cut: {name}", row

    def tune(self, number: int) -> Iterator[Row]:
        """Time a candidate that has been judged."""
        from benchmarks import tune

        problem, name, row = self._judged[number]
        yield SUITES, f"cut: {name}", tune.timed_candidate(problem, number, row)


def end_if_unusable(row: dict[str, Any]) -> None:
    """End the process after an error that leaves the CUDA context in ruins: whoever asks next gets a new one."""
    error = row.get("error") or ""
    if "CUDA error" in error or "AcceleratorError" in error:
        os._exit(3)


def calls(session: LocalSession) -> list[float]:
    """Seconds that the host is busy with a run: until everything is launched."""
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
    """Seconds of a graph's replays: the call without what the host does for it."""
    inputs = session._work.sets[0]
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        session._run(inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        session._run(inputs)
    graph.replay()
    first = timed(graph.replay, device())
    return [first, *(timed(graph.replay, device()) for _ in range(repetitions(first)))]


def repeats(session: LocalSession, runs: int) -> bool:
    """Whether runs give the same bits, half of them beside matrix products on another stream."""
    inputs, weights = session._work.sets[0], session._work.weights

    def run() -> Tensor:
        return session._decode(inputs, weights)

    wanted = run()
    side, square = torch.cuda.Stream(), torch.randn(2048, 2048, device="cuda")
    same = True
    for number in range(runs):
        if number % 2:
            with torch.cuda.stream(side):
                square @ square
        same &= torch.equal(run(), wanted)
    torch.cuda.synchronize()
    return same


def serve(name: str) -> None:
    """Requests from standard input, rows to standard output, a line each."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else prints must not come between the answers
    server = Server(name)
    for line in sys.stdin:
        for file, key, row in server.answer(json.loads(line)):
            print(json.dumps({"file": file, "key": key, "row": row}), file=answers, flush=True)
        print(json.dumps({"done": True}), file=answers, flush=True)


def once(backend: str, which: str) -> None:
    """A few runs of the plan's headline or of its training step, and their times."""
    case = case_of({"headline": plan.HEADLINE, "train": plan.TRAIN_LARGE}[which])
    session = LocalSession(case, Contestant(backend, case.dtype, backend), device())
    times = sorted(session.time(turn).seconds for turn in range(10))
    print(f"{backend} {which}: {1e3 * times[len(times) // 2]:.3f} ms, at least {1e3 * times[0]:.3f}", flush=True)


def probe(name: str) -> int:
    """The probe of that name: how many were not right."""
    kernel, _, wanted = name.partition(": ")
    backend, width, dtype = kernel.split()
    chosen = [each for each in probes.probes(dtype) if wanted in ("", each.name)]
    bad = int(not chosen)
    if bad:
        print(f"no probe has the name {wanted!r}; taken are {'; '.join(each.name for each in probes.probes(dtype))}")
    for each in chosen:
        print(f"{kernel}: {each.name} ...", flush=True)
        verdict = probes.judge(each, backend, int(width), dtype, device(), draws=1, repeats=1)
        print("right" if verdict["ok"] else f"not right: {verdict}", flush=True)
        bad += not verdict["ok"]
    return bad


def sanitized_probes(backend: str) -> int:
    """The probes that a sanitizer looks at, in bfloat16: how many were not right."""
    return sum(probe(f"{backend} {width} bfloat16: {each.name}") for width, each in probes.sanitized())


if __name__ == "__main__":
    run: dict[str, Callable[..., int | None]] = {
        "serve": serve,
        "once": once,
        "probe": probe,
        "probes": sanitized_probes,
    }
    if len(sys.argv) < 3 or sys.argv[1] not in run:
        sys.exit(__doc__)
    sys.exit(run[sys.argv[1]](*sys.argv[2:]))
