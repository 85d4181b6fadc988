"""Runs the plan within its time: every process in a group of its own, with a limit, killed whole; rows written at once.

Nothing here touches CUDA, so nothing that happens there ends the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO, Any, Protocol

from benchmarks.gpu.plan import WIDTH, Request, Step

ROOT = Path(__file__).parents[2]
RESERVE = 5.0
"""Seconds at the end for what has been found to be written."""

Start = Callable[[str], list[str]]
"""The command of a worker of that name."""


class Died(RuntimeError):
    """A process hung, or ended before its time; the message is one line."""


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process with all that it began."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Sink(Protocol):
    """Where rows go."""

    def __call__(self, file: str, key: str, row: Mapping[str, Any]) -> None: ...


class Results:
    """Rows by file and key, each appended to rows.jsonl at once, and the files as JSON whenever asked."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.files: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self.log = folder / "all.log"
        self._rows = (folder / "rows.jsonl").open("a")

    def __call__(self, file: str, key: str, row: Mapping[str, Any]) -> None:
        with self._lock:
            self.files.setdefault(file, {})[key] = dict(row)
            self._rows.write(json.dumps({"file": file, "key": key, "row": row}) + "\n")
            self._rows.flush()

    def tell(self, name: str, output: bytes) -> None:
        """What a program printed, to the log."""
        with self._lock, self.log.open("ab") as file:
            file.write(f"\n=== {name}\n".encode() + output)

    def write(self) -> None:
        """The files as they are now."""
        with self._lock:
            for name, content in self.files.items():
                (self.folder / name).write_text(json.dumps(content, indent=1) + "\n")


class Worker:
    """A process that takes requests, a JSON line each, and answers with rows until a line that says it is done."""

    def __init__(self, command: list[str], log: Path) -> None:
        with log.open("a") as file:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, start_new_session=True
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
        return Died(f"its process ended {how}")

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
        self.failed: dict[str, str] = {}
        """What failed: step and worker, with the reason in one line."""
        self.left_out: dict[str, str] = {}
        self._broken: set[tuple[str, str | None]] = set()
        """Contestants with the dtypes in which a probe of theirs hung or died."""

    def run(self, steps: Iterable[Step]) -> None:
        """The steps in order, as far as the time allows."""
        background: list[Future[None]] = []
        try:
            for step in steps:
                left = self._left()
                if left < 1:
                    self._leave_out(step.name, "no time was left")
                    continue
                self._say(f"{time.monotonic() - self._began:6.1f} s  {step.name}")
                if not step.background:
                    wait(background, timeout=max(0.0, self._left()))  # what is timed is alone on the machine
                futures = self._step(step)
                if step.background:
                    background += futures
                self.results.write()
        finally:
            for worker in list(self._workers.values()):
                worker.kill()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self.results("run.json", "failed", self.failed)
            self.results("run.json", "left out", self.left_out)
            self.results.write()

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _leave_out(self, name: str, reason: str) -> None:
        self.left_out[name] = reason
        self._say(f"left out: {name} ({reason})")

    def _step(self, step: Step) -> list[Future[None]]:
        if step.program is not None:
            if step.background:
                return [self._pool.submit(self._program, step)]
            self._program(step)
            return []
        if not step.together:
            for request in step.requests:
                self._request(step, request)
            return []
        futures = [self._pool.submit(self._request, step, request) for request in step.requests]
        if not step.background:
            for future in futures:
                future.result()
        return futures

    def _request(self, step: Step, request: Request) -> None:
        name = f"{step.name} {request.worker}"
        if request.what != "probe" and (request.contestant, request.dtype) in self._broken:
            self._leave_out(name, "a probe of that kernel hung or died")
            return
        lock = self._busy.setdefault(request.worker, threading.Lock())
        if not lock.acquire(timeout=max(0.0, min(step.limit, self._left()))):
            self._leave_out(name, "its worker was busy")
            return
        began = time.monotonic()
        try:
            if self._left() < 1:
                self._leave_out(name, "no time was left")
                return
            self._worker(request.worker).ask(request, min(step.limit, self._left()), self.results)
        except Died as error:
            self.failed[name] = str(error)
            self._say(f"{name}: {error}")
            self._workers.pop(request.worker, None)
            if request.what == "probe" and request.arguments.get("width") == WIDTH:
                self._broken.add((request.contestant, request.dtype))
        finally:
            lock.release()
            self.results("run.json", f"seconds of {name}", {"seconds": round(time.monotonic() - began, 2)})

    def _worker(self, name: str) -> Worker:
        worker = self._workers.get(name)
        if worker is None or not worker.alive:
            worker = self._workers[name] = Worker(self._start(name), self.results.log)
        return worker

    def _program(self, step: Step) -> None:
        program = step.program
        assert program is not None
        seconds = min(step.limit, self._left())
        environment = {**os.environ, "ARASFSR_GPU_RESULTS": str(self.results.folder), **program.environment}
        began = time.monotonic()
        with tempfile.TemporaryFile() as output:
            told = _run(program.command, environment, output, seconds)
            output.seek(0)
            self.results.tell(step.name, output.read())
        if told is not None:
            self.failed[step.name] = told
            self._say(f"{step.name}: {told}")
        self.results("run.json", f"seconds of {step.name}", {"seconds": round(time.monotonic() - began, 2)})


def _run(command: Sequence[str], environment: dict[str, str], output: IO[bytes], seconds: float) -> str | None:
    """Run a program: why it failed, in one line, or None."""
    try:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return str(error)
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return f"not done after {seconds:.0f} s"
    finally:
        kill_group(process)
    return f"ended with status {status}, see all.log" if status else None
