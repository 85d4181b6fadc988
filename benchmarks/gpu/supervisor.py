"""Runs the plan within its time: every process in a group of its own, with a limit, killed whole; rows written at once.

Nothing here touches CUDA, so nothing that happens there ends the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO, Any, Protocol

from benchmarks.gpu.folders import LOG, PROBES, SUITES
from benchmarks.gpu.plan import FOLDER, WIDTH, Program, Request, Step, inquiry

ROOT = Path(__file__).parents[2]
RESERVE = 5.0
"""Seconds at the end for what has been found to be written."""

Start = Callable[[str], list[str]]
"""The command of a worker of that name."""


class Died(RuntimeError):
    """A process hung, or ended before its time; the message is one line."""


def first_error(output: bytes) -> str:
    """The first line that tells of an error, or else the last one, behind a colon; empty where there is none."""
    lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    found = [line for line in lines if re.search(r"error|exception|fatal|failed|has waited", line, re.I)]
    return f": {(found or lines[-1:])[0][:200]}" if lines else ""


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process with all that it began."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Sink(Protocol):
    """Where rows go."""

    def __call__(self, file: str, key: str, row: Mapping[str, Any]) -> None: ...


class Results:
    """Rows by file and key; a file is written anew with each row, so that it is whole at any moment."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.resolve()
        self.files: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def __call__(self, file: str, key: str, row: Mapping[str, Any]) -> None:
        with self._lock:
            self.files.setdefault(file, {})[key] = dict(row)
            temporary = self.folder / f".{file}"
            temporary.write_text(json.dumps(self.files[file], indent=1) + "\n")
            temporary.replace(self.folder / file)

    def tell(self, name: str, output: bytes, log: str = LOG) -> None:
        """What a process printed, to a log."""
        with self._lock, (self.folder / log).open("ab") as file:
            file.write(f"\n=== {name}\n".encode() + output)


class Worker:
    """A process that takes requests, a JSON line each, and answers with rows until a line that says it is done."""

    def __init__(self, command: list[str]) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, start_new_session=True
        )
        self._buffer = b""

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: Request, seconds: float, sink: Sink) -> None:
        """Rows of a request, to `sink` as they come.

        Raises Died, with the process ended, where it ends, or is not done after `seconds`.
        """
        deadline = time.monotonic() + seconds
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"what": request.what, **request.arguments}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._death() from error
        while True:
            line = self._line(deadline, seconds)
            if "done" in line:
                return
            sink(line["file"], line["key"], line["row"])

    def _line(self, deadline: float, seconds: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self.kill()
                raise Died(f"not done after {seconds:.0f} s")
            part = os.read(self._process.stdout.fileno(), 1 << 16)
            if not part:
                raise self._death()
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def _death(self) -> Died:
        self.kill()
        code = self._process.returncode
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
        return Died(f"its process ended {how}{first_error(self.printed())}")

    def printed(self) -> bytes:
        """What it has printed beside its answers."""
        return os.pread(self.errors.fileno(), 1 << 24, 0)

    def kill(self) -> None:
        """End it, with all that it began."""
        kill_group(self._process)


def worker_command(name: str) -> list[str]:
    """The command of a contestant's worker."""
    return [sys.executable, "-m", "benchmarks.gpu.worker", "serve", name.split("#")[0]]


class Supervisor:
    """One run of the plan."""

    def __init__(
        self, results: Results, seconds: float, say: Callable[[str], None] = print, start: Start = worker_command
    ) -> None:
        self.results, self._say, self._start = results, say, start
        self._began = time.monotonic()
        self._deadline = self._began + seconds - RESERVE
        self._workers: dict[str, Worker] = {}
        self._busy: dict[str, threading.Lock] = {}
        self._pool = ThreadPoolExecutor(64)
        self._background: dict[str, list[Future[None]]] = {}
        self._steps: dict[str, dict[str, Any]] = {}
        self._noting = threading.Lock()
        self._lost: set[tuple[str, str | None]] = set()
        """Contestants with the dtypes in which a worker that probes died."""
        self._inquired: set[tuple[str, str | None]] = set()
        self._programs: set[subprocess.Popen[bytes]] = set()
        self._over = False

    @property
    def failed(self) -> dict[str, str]:
        """What failed: step and worker, with the reason in one line."""
        return {name: told["failed"] for name, told in self._steps.items() if "failed" in told}

    @property
    def left_out(self) -> dict[str, str]:
        """What was not begun, with the reason."""
        return {name: told["left out"] for name, told in self._steps.items() if "left out" in told}

    def run(self, steps: Iterable[Step]) -> None:
        """The steps in order, as far as the time allows; an interrupt ends them, and all that they have begun."""
        try:
            for step in steps:
                if self._left() < 1:
                    self._note(step.name, "left out", "no time was left")
                    continue
                self._say(f"{time.monotonic() - self._began:6.1f} s  {step.name}")
                if step.background:
                    self._background[step.name] = self._begin(step)
                else:  # what is timed is alone on the machine
                    self._wait(self._background)
                    for future in self._begin(step) if step.together else ():
                        future.result()
                    if not step.together:
                        self._in_turn(step)
            self._wait(self._background)
        except KeyboardInterrupt:
            self._note("the run", "failed", "interrupted")
        finally:
            self._over = True
            for program in list(self._programs):
                kill_group(program)
            for name, worker in list(self._workers.items()):
                worker.kill()
                self.results.tell(name, worker.printed())
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _left(self) -> float:
        return 0.0 if self._over else self._deadline - time.monotonic()

    def _wait(self, names: Iterable[str]) -> None:
        """Until these steps of the background are over, or the time is."""
        wait([f for name in names for f in self._background.get(name, ())], timeout=max(0.0, self._left()))

    def _note(self, name: str, what: str, told: str | float) -> None:
        with self._noting:
            self._steps.setdefault(name, {})[what] = told
            self.results(SUITES, "steps", self._steps)
        if what != "seconds":
            self._say(f"{what}: {name}: {told}")

    def _begin(self, step: Step) -> list[Future[None]]:
        """Its requests at the same time, or its program, in other threads."""
        if step.program is not None:
            return [self._pool.submit(self._run_program, step)]
        return [self._pool.submit(self._request, step, request) for request in step.requests]

    def _in_turn(self, step: Step) -> None:
        if step.program is not None:
            self._run_program(step)
        for request in step.requests:
            self._request(step, request)

    def _request(self, step: Step, request: Request) -> None:
        self._wait(step.after)
        name = f"{step.name} {request.worker}"
        kernel = request.contestant, request.dtype
        wrong = [] if request.what == "probe" else self._not_right(*kernel)
        if wrong:
            self._note(name, "left out", f"a probe of that kernel is not right: {wrong[0]}")
            if kernel not in self._inquired:
                self._inquired.add(kernel)
                for why in inquiry(wrong[0], step.limit):
                    self._run_program(why)
            return
        lock = self._busy.setdefault(request.worker, threading.Lock())
        if not lock.acquire(timeout=max(0.0, min(step.limit, self._left()))):
            self._note(name, "left out", "its worker was busy")
            return
        began = time.monotonic()
        seconds = min(step.limit, self._left())
        try:
            if self._left() < 1:
                self._note(name, "left out", "no time was left")
                return
            if request.goes_on and not self._alive(request.worker):
                self._note(name, "left out", "its worker has died")
                return
            self._worker(request.worker).ask(request, seconds, self.results)
        except Died as error:
            self._note(name, "failed", str(error))
            self.results.tell(name, self._workers.pop(request.worker).printed())
            if request.what == "probe" and request.arguments.get("width") == WIDTH:
                self._lost.add(kernel)
        finally:
            lock.release()
            self._note(name, "seconds", round(time.monotonic() - began, 2))

    def _not_right(self, contestant: str, dtype: str | None) -> list[str]:
        """Probes of a contestant's kernels in a dtype, at the width that is timed, that were not right."""
        rows = self.results.files.get(PROBES, {})
        wrong = [name for name, row in rows.items() if not row["ok"]]
        wrong = [name for name in wrong if name.startswith(f"{contestant} {WIDTH} {dtype}:")]
        return wrong or [f"{contestant} {WIDTH} {dtype}: "] * ((contestant, dtype) in self._lost)

    def _alive(self, name: str) -> bool:
        return name in self._workers and self._workers[name].alive

    def _worker(self, name: str) -> Worker:
        if not self._alive(name):
            self._workers[name] = Worker(self._start(name))
        return self._workers[name]

    def _run_program(self, step: Step) -> None:
        self._wait(step.after)
        program, seconds = step.program, min(step.limit, self._left())
        assert program is not None
        if self._left() < 1:
            self._note(step.name, "left out", "no time was left")
            return
        began = time.monotonic()
        with tempfile.TemporaryFile() as output:
            told = self._run(program, output, seconds)
            printed = os.pread(output.fileno(), 1 << 26, 0)
        self.results.tell(step.name, printed, program.log)
        if told is not None:
            self._note(step.name, "failed", f"{told}{first_error(printed)}")
        self._note(step.name, "seconds", round(time.monotonic() - began, 2))

    def _run(self, program: Program, output: IO[bytes], seconds: float) -> str | None:
        """Run a program: why it failed, in one line, or None."""
        try:
            process = subprocess.Popen(
                [part.replace(FOLDER, str(self.results.folder)) for part in program.command],
                cwd=ROOT,
                env={**os.environ, **program.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return str(error)
        self._programs.add(process)
        try:
            status = _wait_for(process, seconds, program.grace)
        except subprocess.TimeoutExpired:
            return f"not done after {seconds:.0f} s"
        finally:
            self._programs.discard(process)
            kill_group(process)
        return f"ended with status {status}, see {program.log}" if status else None


def _wait_for(process: subprocess.Popen[bytes], seconds: float, grace: float) -> int:
    """Its status; interrupts it `grace` seconds before its time is over."""
    if grace:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(seconds - grace)
        process.send_signal(signal.SIGINT)
    return process.wait(grace or seconds)
