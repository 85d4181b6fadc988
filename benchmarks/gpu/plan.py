"""The table of steps: in this order, with these limits."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.gpu import folders

GROUPS = ("right", "headline", "train", "more", "sanitize", "tune", "profile", "tests")
"""What `--only` takes, beside the steps' own names: parts of the plan."""

AUTOCAST = "public-autocast"
COMPILED = "public-autocast-compile"
OURS = ("cuda", "triton", "tiled")

HEADLINE: dict[str, Any] = {
    "suite": "query",
    "model": "full",
    "lr": (128, 128),
    "output": (1024, 1024),
    "batch": 1,
    "dtype": "bfloat16",
}
SMALL = {**HEADLINE, "lr": (64, 64), "output": (256, 256)}
TRAIN_LARGE = {**HEADLINE, "suite": "train", "lr": (64, 64)}
TRAIN_MIDDLE = {**TRAIN_LARGE, "output": (512, 512)}
TRAIN_RECIPE = {**TRAIN_LARGE, "lr": (48, 48), "output": (48, 48), "batch": 16, "scattered": True}


@dataclass(frozen=True)
class Request:
    """What a worker is asked. Workers of one contestant that run side by side have names such as cuda#2."""

    worker: str
    what: str
    arguments: dict[str, Any] = field(default_factory=dict)
    goes_on: bool = False
    """It needs what the worker has of an earlier request: where that has died, it is left out."""

    @property
    def contestant(self) -> str:
        return self.worker.split("#")[0]

    @property
    def dtype(self) -> str | None:
        """In which it computes, where it does."""
        dtype = self.arguments.get("dtype") or self.arguments.get("case", {}).get("dtype")
        return dtype if dtype is None else str(dtype)


FOLDER = "{results}"
"""Stands in a program's command for the folder of the results."""


@dataclass(frozen=True)
class Program:
    """A step that is a program of its own."""

    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    log: str = folders.LOG
    """The file of the results that its output is appended to."""
    grace: float = 0.0
    """Seconds before its limit at which it is interrupted, to write what it has."""


@dataclass(frozen=True)
class Step:
    """Requests that belong together, or a program."""

    name: str
    groups: tuple[str, ...]
    limit: float
    """Seconds for each request, or for the program."""
    requests: tuple[Request, ...] = ()
    program: Program | None = None
    together: bool = False
    """All requests at the same time."""
    background: bool = False
    """The next steps do not wait for it, but for those that are not in the background."""
    after: tuple[str, ...] = ()
    """Steps of the background that it waits for."""

    def wanted(self, only: Collection[str]) -> bool:
        """Whether it is among the parts that were named; with none named it is."""
        return not only or not {self.name, *self.groups}.isdisjoint(only)


WIDTH = 256
"""Of the decoder that is timed."""

PROBES = (
    *(("cuda", width, dtype) for width in (WIDTH, 64) for dtype in ("bfloat16", "float16", "tf32")),
    *(("triton", WIDTH, dtype) for dtype in ("bfloat16", "float16", "float32", "tf32")),
)
"""Backend, width and dtype of the kernels that are judged: width 256 in 16 bits is that of the sm_90a kernels."""

CANDIDATES = 17
"""Of `benchmarks.tune.LISTED`, which is not imported here: it would load torch."""

JUDGED = tuple(Request(f"triton#tune-{i}", "judge", {"number": i}) for i in range(CANDIDATES))
TUNED = tuple(replace(request, what="tune", goes_on=True) for request in JUDGED)

TESTS = (
    "tests/native/test_fused_cuda.py",
    *(f"tests/query/test_{name}.py" for name in ("cuda_device", "fused_tf32", "golden", "fused")),
)
"""The files whose GPU tests run, the CUDA kernels' own first."""


def _cases(what: str, case: dict[str, Any], contestants: tuple[str, ...]) -> tuple[Request, ...]:
    return tuple(Request(name, what, {"case": case}) for name in contestants)


def _worker(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "benchmarks.gpu.worker", *arguments)


def _module(name: str, *arguments: str) -> Program:
    return Program((sys.executable, "-m", f"benchmarks.gpu.{name}", *arguments))


NO_CACHE = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
"""So that every tensor is an allocation of its own, whose bounds a sanitizer sees."""

OUR_KERNELS = {"cuda": "kns=arasfsr", "triton": "kns=forward,kns=backward,kns=weight_gradient"}
"""What a sanitizer looks at, by parts of mangled names."""


def _sanitizer(tool: str, backend: str, *run: str) -> Program:
    command = ("compute-sanitizer", "--tool", tool, "--print-limit", "20", "--error-exitcode", "1")
    return Program((*command, "--kernel-name", OUR_KERNELS[backend], *_worker(*run)), NO_CACHE, folders.MEMCHECK)


def inquiry(probe: str, limit: float) -> Iterator[Step]:
    """What finds out why a probe, a key of probes.json, is not right, in the time of what need not be measured."""
    backend = probe.split()[0]
    watching = os.environ.get("ARASFSR_WATCHDOG_EXTENSION")
    if backend == "cuda" and watching:
        program = Program(_worker("probe", probe), {"ARASFSR_EXTENSION": watching}, folders.MEMCHECK)
        yield Step(f"watching {probe}", ("right",), min(limit, 20), program=program)
    yield Step(f"memcheck of {probe}", ("right",), limit, program=_sanitizer("memcheck", backend, "probe", probe))


def _ncu(backend: str, pattern: str, case: str) -> Step:
    """Counters of one launch in words, and its instructions that wait most; the pattern is of the kernel's name."""
    kernel = pattern.strip("^$")
    report = f"/tmp/{backend}-{kernel}.ncu-rep"
    collect = f"ncu --clock-control none --set full --import-source no -f -o {report} -k 'regex:{pattern}' -c 1"
    run = " ".join(_worker("once", backend, case))
    source = f"ncu -i {report} --page source --csv --print-source sass | {sys.executable} -m benchmarks.gpu.hottest"
    command = f"{collect} {run} && ncu -i {report} --page details && {source}"
    return Step(f"ncu {backend} {kernel}", ("profile",), 40, program=Program(("bash", "-c", command), log=folders.NCU))


def _tests() -> Program:
    command = (sys.executable, "-m", "pytest", "-m", "gpu", "-n", "8", "--timeout=45", "-p", "no:cacheprovider")
    compiled_ahead = ("-k", "not (triton and any_shape)")  # whose kernels, of shapes drawn at random, nobody can list
    return Program((*command, *compiled_ahead, f"--junit-xml={FOLDER}/{folders.TESTS}", *TESTS), grace=8)


EXTENSION = "extension"
AHEAD = "compiling Triton's kernels"


def _preparation() -> Iterator[Step]:
    """What no time is taken of, all at the same time: whether the kernels are right, and what compiles for later."""
    ready = tuple(Request(name, "ready") for name in (*OURS, AUTOCAST, "public"))
    compiled = ((COMPILED, HEADLINE), (f"{COMPILED}#train", TRAIN_MIDDLE))
    public = tuple(Request(name, "prepare", {"case": case}) for name, case in compiled)
    yield Step(EXTENSION, GROUPS, 150, program=_module("build"), background=True)
    yield Step(
        AHEAD,
        ("right", "headline", "train", "tests"),
        110,
        program=_module("ahead", "--processes", "10"),
        background=True,
    )
    yield Step("starting workers", ("right", "headline"), 60, ready, together=True, background=True)
    yield Step("compiling the public way", ("headline", "train"), 110, public, together=True, background=True)
    for backend, first in (("cuda", EXTENSION), ("triton", AHEAD)):
        probes = tuple(
            Request(f"{backend}#{width}-{dtype}", "probe", {"width": width, "dtype": dtype})
            for which, width, dtype in PROBES
            if which == backend
        )
        yield Step(f"{backend} right", ("right",), 75, probes, together=True, background=True, after=(first,))
    yield Step("machine", GROUPS, 60, (Request("tiled", "machine"),), together=True, background=True)


def _times() -> Iterator[Step]:
    yield Step("ceilings", ("headline",), 30, (Request("tiled", "ceilings"),))
    yield Step("headline", ("headline",), 30, _cases("measure", HEADLINE, (*OURS, AUTOCAST, COMPILED)))
    yield Step("profile", ("profile",), 30, _cases("profile", HEADLINE, ("cuda", "triton")))
    yield Step("64 to 256", ("more",), 20, _cases("measure", SMALL, (*OURS, AUTOCAST)))
    for dtype, contestants in (("float32", ("triton", "tiled", "public")), ("tf32", OURS), ("float16", OURS)):
        yield Step(dtype, ("more",), 20, _cases("measure", {**HEADLINE, "dtype": dtype}, contestants))
    yield Step("training recipe", ("train",), 25, _cases("measure", TRAIN_RECIPE, (*OURS, AUTOCAST)))
    yield Step("training 512", ("train",), 25, _cases("measure", TRAIN_MIDDLE, (*OURS, AUTOCAST)))
    yield Step("training 512 compiled", ("train",), 25, _cases("measure", TRAIN_MIDDLE, (f"{COMPILED}#train",)))
    yield Step("training 1024", ("train",), 25, _cases("measure", TRAIN_LARGE, OURS))
    yield Step("profile of training", ("profile",), 30, _cases("profile", TRAIN_LARGE, ("cuda", "triton")))
    yield Step("profile of training 512", ("profile",), 30, _cases("profile", TRAIN_MIDDLE, ("cuda",)))
    float32 = {**TRAIN_MIDDLE, "dtype": "float32"}
    yield Step("training in float32", ("train",), 25, _cases("measure", float32, ("triton", "tiled")))
    yield Step("batch 8", ("more",), 30, _cases("measure", {**HEADLINE, "batch": 8}, ("cuda", "triton")))
    yield from map(_growth, (2048, 4096))


def _growth(side: int) -> Step:
    case = {**HEADLINE, "output": (side, side)}
    return Step(f"growth to {side}", ("more",), 40, _cases("measure", case, ("cuda",)))


def _tuning() -> Iterator[Step]:
    """Sanitizers beside what compiles and judges the candidates, which are then timed one by one."""
    for tool, backend in (("memcheck", "cuda"), ("memcheck", "triton"), ("racecheck", "cuda"), ("synccheck", "cuda")):
        program = _sanitizer(tool, backend, "probes", backend)
        yield Step(f"{tool} {backend}", ("sanitize",), 50, program=program, background=True)
    yield Step("judging cuts", ("tune",), 50, JUDGED, together=True, background=True)
    yield Step("tuning", ("tune",), 10, TUNED)
    yield Step("adopting what was tuned", ("tune",), 20, program=_module("adopt", FOLDER))
    yield Step("headline, tuned", ("tune",), 30, _cases("measure", HEADLINE, ("triton#tuned",)))


def steps() -> Iterator[Step]:
    """The plan."""
    yield from _preparation()
    yield from _times()
    yield from _tuning()
    yield _ncu("cuda", "forward90", "headline")
    yield _ncu("triton", "^forward$", "headline")
    yield _ncu("cuda", "backward90", "train")
    yield Step("tests", ("tests",), 90, program=_tests())
    yield _growth(8192)


def table(only: Collection[str] = ()) -> list[str]:
    """The plan for people, a line a step, and how long it may take at most."""
    lines = [f"{'step':27} {'part':9} {'limit':>6}  what"]
    alone = 0.0
    for step in steps():
        if not step.wanted(only):
            continue
        what = ", ".join(request.worker for request in step.requests)
        if step.program:
            what = " ".join(step.program.command).replace(sys.executable, "python")
        how = " (at the same time)" * step.together + " (in the background)" * step.background
        part = "all" if step.groups == GROUPS else step.groups[0]
        lines.append(f"{step.name:27} {part:9} {step.limit:5.0f}s  {what}{how}")
        alone += 0 if step.background else step.limit * max(1, len(step.requests))
    return [*lines, f"At most {alone:.0f} s beside the background; --minutes leaves out what does not fit."]
