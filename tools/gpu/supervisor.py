"""Runs the plan in time. Every process has a process group and a limit, and is killed with its group.

Nothing here touches CUDA, so nothing that happens there ends the run.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import IO

from tools.gpu.files import PROBES, STARTED, SUITES, Results
from tools.gpu.plan import FOLDER, Request, Step, inquiry

ROOT = Path(__file__).parents[2]
RESERVE = 5.0
"""Seconds at the end for writing what has been found."""

Start = Callable[[str], list[str]]
"""The command of a worker of that name; its connection's file descriptor is appended."""


class Died(RuntimeError):
    """A process was stopped at its limit, or failed; the message is one line."""


def first_error(output: bytes) -> str:
    """The first line that names an error, or else the last one, after a colon; empty if there is none."""
    lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    found = [line for line in lines if re.search(r"error|exception|fatal|failed|has waited", line, re.I)]
    return f": {(found or lines[-1:])[0][:200]}" if lines else ""


def printed(log: IO[bytes]) -> bytes:
    """What processes wrote to a file so far."""
    return os.pread(log.fileno(), 1 << 26, 0)


def start_group(
    command: list[str], log: IO[bytes], environment: Mapping[str, str] | None = None, descriptors: Collection[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own, which writes to a log and inherits these file descriptors."""
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        pass_fds=descriptors,
        start_new_session=True,
    )


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and everything that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Worker:
    """A process that answers requests with rows, through a connection."""

    def __init__(self, command: list[str]) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115
        with theirs:
            descriptor = theirs.fileno()
            self.process = start_group([*command, str(descriptor)], self.log, descriptors=[descriptor])

    def ask(self, request: Request, seconds: float, results: Results) -> None:
        """Pass a request's rows on as they come.

        Raises Died, with the process ended, if it ends or is not done after `seconds`.
        """
        deadline = time.monotonic() + seconds
        try:
            self._connection.send((request.what, request.arguments))
            while self._connection.poll(max(0.0, deadline - time.monotonic())):
                row = self._connection.recv()
                if row is None:  # done
                    return
                results(*row)
        except (EOFError, OSError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(2)
            kill_group(self.process)
            code = self.process.returncode
            how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
            raise Died(f"its process ended {how}{first_error(printed(self.log))}") from error
        kill_group(self.process)
        raise Died(f"not done after {seconds:.0f} s")


def worker_command(name: str) -> list[str]:
    """The command of a contestant's worker."""
    return [sys.executable, "-m", "tools.gpu.worker", "serve", name.split("#")[0]]


class Supervisor:
    """One run of the plan."""

    def __init__(
        self, results: Results, seconds: float, say: Callable[[str], None] = print, start: Start = worker_command
    ) -> None:
        self.results, self._say, self._start = results, say, start
        self._began = time.monotonic()
        self._deadline = self._began + seconds - RESERVE
        self._pool = ThreadPoolExecutor(64)
        self._background: dict[str, list[Future[None]]] = {}
        self._workers: dict[str, Worker] = {}
        self._programs: set[subprocess.Popen[bytes]] = set()
        self._steps: dict[str, dict[str, str | float]] = {}
        self._noting = threading.Lock()
        self._inquired: set[str] = set()

    def noted(self, what: str) -> dict[str, str | float]:
        """What "failed", or was "left out", by step and worker, with the reason in one line."""
        return {name: told[what] for name, told in self._steps.items() if what in told}

    def run(self, steps: Iterable[Step]) -> None:
        """Run the steps in order, as far as time allows; an interrupt ends them, and all that they started."""
        try:
            for step in steps:
                if not step.background:
                    self._wait(self._background)  # what is timed has the machine to itself
                if self._left() < 1:
                    self._note(step.name, "left out", "no time was left")
                    continue
                self._say(f"{time.monotonic() - self._began:6.1f} s  {step.name}")
                tasks: list[Callable[[], None]] = [partial(self._request, step, each) for each in step.requests]
                tasks += [partial(self._program, step)] if step.command else []
                if step.background:
                    self._background[step.name] = [self._pool.submit(task) for task in tasks]
                else:
                    for task in tasks:
                        task()
            self._wait(self._background)
        except KeyboardInterrupt:
            self._note("the run", "failed", "interrupted")
        finally:
            self._deadline = 0.0
            self._kill_all()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._kill_all()  # what a thread was just starting
            for name, worker in self._workers.items():
                self.results.log(name, printed(worker.log))

    def _kill_all(self) -> None:
        for process in (*self._programs, *(worker.process for worker in list(self._workers.values()))):
            kill_group(process)

    def _wait(self, names: Iterable[str]) -> None:
        """Until these background steps are over, or the time is."""
        wait([f for name in names for f in self._background.get(name, ())], timeout=max(0.0, self._left()))

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _note(self, name: str, what: str, told: str | float) -> None:
        with self._noting:
            self._steps.setdefault(name, {})[what] = told
            self.results(SUITES, "steps", self._steps)
        if what != "seconds":
            self._say(f"{what}: {name}: {told}")

    def _within(self, name: str, step: Step, run: Callable[[float], None]) -> None:
        """Run something with the seconds that it has, and note how it ended."""
        if self._left() < 1:
            self._note(name, "left out", "no time was left")
            return
        began = time.monotonic()
        try:
            run(min(step.limit, self._left()))
        except (Died, OSError) as error:
            self._note(name, "failed", str(error))
        finally:
            self._note(name, "seconds", round(time.monotonic() - began, 2))

    def _request(self, step: Step, request: Request) -> None:
        self._wait(step.after)
        name = f"{step.name} {request.worker}"
        probe = None if request.what == "probe" else self._wrong_probe(request)
        if probe:
            self._note(name, "left out", f"a probe of that kernel is not right: {probe}")
            if request.kernel not in self._inquired:
                self._inquired.add(request.kernel)
                for why in inquiry(probe, step.limit):
                    self._program(why)
        elif request.goes_on and not self._alive(request.worker):
            self._note(name, "left out", "its worker has died")
        else:
            self._within(name, step, partial(self._ask, name, request))

    def _wrong_probe(self, request: Request) -> str | None:
        """The first probe of its kernel that was not right."""
        rows = list(self.results.files.get(PROBES, {}).items() if request.kernel else ())
        return next((name for name, row in rows if name.startswith(request.kernel) and not row["ok"]), None)

    def _alive(self, name: str) -> bool:
        return name in self._workers and self._workers[name].process.poll() is None

    def _ask(self, name: str, request: Request, seconds: float) -> None:
        if not self._alive(request.worker):
            self._workers[request.worker] = Worker(self._start(request.worker))
        try:
            self._workers[request.worker].ask(request, seconds, self.results)
        except Died:
            self.results.log(name, printed(self._workers.pop(request.worker).log))
            if request.what == "probe" and not self._wrong_probe(request):  # it died before the first
                self.results(PROBES, request.kernel, {"ok": False, "error": STARTED})
            raise

    def _program(self, step: Step) -> None:
        self._wait(step.after)
        self._within(step.name, step, partial(self._run, step))

    def _run(self, step: Step, seconds: float) -> None:
        """Run a step's program; raises Died if it fails."""
        command = [part.replace(FOLDER, str(self.results.folder)) for part in step.command]
        grace = min(step.grace, seconds / 2)
        with tempfile.TemporaryFile() as output:
            process = start_group(command, output, step.environment)
            self._programs.add(process)
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(seconds - grace)
                if grace and process.poll() is None:
                    process.send_signal(signal.SIGINT)
                status = process.wait(grace)
                told = f"ended with status {status}, see {step.log}"
            except subprocess.TimeoutExpired:
                status, told = 1, f"not done after {seconds:.0f} s"
            finally:
                self._programs.discard(process)
                kill_group(process)
                self.results.log(step.name, printed(output), step.log)
            if status:
                raise Died(f"{told}{first_error(printed(output))}")
