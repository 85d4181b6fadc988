"""The table of steps: in this order, with these limits. Nothing here imports torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.cases import Case
from tools.gpu import files

GROUPS = ("right", "headline", "train", "more", "sanitize", "tune", "profile", "tests")
"""Parts of the plan, for `--only`."""

AUTOCAST = "public-autocast"
COMPILED = "public-autocast-compile"
OURS = ("cuda", "triton", "tiled")

HEADLINE = Case("query", "full", (128, 128), (1024, 1024), 1, "bfloat16")
SMALL = replace(HEADLINE, lr=(64, 64), output=(256, 256))
TRAIN_LARGE = replace(HEADLINE, suite="train", lr=(64, 64))
TRAIN_MIDDLE = replace(TRAIN_LARGE, output=(512, 512))
TRAIN_RECIPE = replace(TRAIN_LARGE, lr=(48, 48), output=(48, 48), batch=16, scattered=True)

WIDTH = 256
"""Of the decoder that is timed."""

PROBES = (
    *(("cuda", width, dtype) for width in (WIDTH, 64) for dtype in ("bfloat16", "float16", "tf32")),
    *(("triton", WIDTH, dtype) for dtype in ("bfloat16", "float16", "float32", "tf32")),
)
"""Backend, width and dtype of the kernels that are probed: width 256 in 16 bits has sm_90a kernels."""


@dataclass(frozen=True)
class Request:
    """A method of `worker.Server` to call, and its arguments."""

    worker: str
    """A contestant; several workers of one contestant have names such as cuda#2."""
    what: str
    arguments: dict[str, Any] = field(default_factory=dict)
    goes_on: bool = False
    """It needs the worker's state from an earlier request: if the worker has died since, it is left out."""

    @property
    def contestant(self) -> str:
        return self.worker.split("#")[0]

    @property
    def case(self) -> Case | None:
        return self.arguments.get("case")

    @property
    def kernel(self) -> str:
        """How the names of its kernel's probes begin; empty if it runs none."""
        dtype = self.case.dtype if self.case else self.arguments.get("dtype")
        return f"{self.contestant} {self.arguments.get('width', WIDTH)} {dtype}: " if dtype else ""


FOLDER = "{results}"
"""Stands for the folder of the results in a command."""


@dataclass(frozen=True)
class Step:
    """Requests that belong together, or a program."""

    name: str
    groups: tuple[str, ...]
    limit: float
    """Seconds for each request, or for the program."""
    requests: tuple[Request, ...] = ()
    command: tuple[str, ...] = ()
    """Of the program."""
    environment: dict[str, str] = field(default_factory=dict)
    log: str = files.LOG
    """The file of the results that the program's output is appended to."""
    grace: float = 0.0
    """Seconds before its limit at which the program is interrupted, to write what it has."""
    background: bool = False
    """Runs beside other background steps, all requests at the same time: no worker may be in two of them."""
    after: tuple[str, ...] = ()
    """Background steps that it waits for."""

    def wanted(self, only: Collection[str]) -> bool:
        """Whether `--only` names it or one of its groups, or nothing."""
        return not only or not {self.name, *self.groups}.isdisjoint(only)


CANDIDATES = 17
"""Length of `tools.kernels.tune.LISTED`, which would import torch."""

JUDGED = tuple(Request(f"triton#tune-{i}", "judge", {"number": i}) for i in range(CANDIDATES))
TUNED = tuple(replace(request, what="tune", goes_on=True) for request in JUDGED)

TESTS = (
    "tests/native/test_fused_cuda.py",
    *(f"tests/query/test_{name}.py" for name in ("cuda_device", "fused_tf32", "golden", "fused")),
)
"""The files whose GPU tests run, those of the CUDA kernels first."""


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def _sanitizer(name: str, group: str, limit: float, tool: str, probes: str, **options: Any) -> Step:
    kernels = {"cuda": "kns=arasfsr", "triton": "kns=forward,kns=backward,kns=weight_gradient"}  # of mangled names
    sanitizer = ("compute-sanitizer", "--tool", tool, "--print-limit", "20", "--error-exitcode", "1")
    command = (*sanitizer, "--kernel-name", kernels[probes.split()[0]], *_python("tools.kernels.probes", probes))
    environment = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}  # every tensor is an allocation, whose bounds are checked
    return Step(name, (group,), limit, (), command, environment, files.MEMCHECK, **options)


def inquiry(probe: str, limit: float) -> Iterator[Step]:
    """Steps that find out why a probe, a key of probes.json, is not right, in place of measuring its kernel."""
    watchdog = os.environ.get("ARASFSR_WATCHDOG_EXTENSION")
    if probe.startswith("cuda") and watchdog:
        command, environment = _python("tools.kernels.probes", probe), {"ARASFSR_EXTENSION": watchdog}
        yield Step(f"watchdog on {probe}", ("right",), min(limit, 20), (), command, environment, files.MEMCHECK)
    yield _sanitizer(f"memcheck of {probe}", "right", limit, "memcheck", probe)


def _ncu(backend: str, pattern: str, case: str) -> Step:
    """Counters of one launch, and its instructions that stall most; `pattern` is the kernel's name."""
    kernel = pattern.strip("^$")
    report = f"/tmp/{backend}-{kernel}.ncu-rep"
    collect = f"ncu --clock-control none --set full --import-source no -f -o {report} -k 'regex:{pattern}' -c 1"
    run = " ".join(_python("tools.gpu.worker", "once", backend, case))
    stalls = f"ncu -i {report} --page source --csv --print-source sass | {sys.executable} -m tools.kernels.stalls"
    command = ("bash", "-c", f"{collect} {run} && ncu -i {report} --page details && {stalls}")
    return Step(f"ncu {backend} {kernel}", ("profile",), 40, command=command, log=files.NCU)


def _tests() -> Step:
    command = _python("pytest", "-m", "gpu", "-n", "8", "--timeout=45", "-p", "no:cacheprovider")
    compiled_ahead = ("-k", "not (triton and any_shape)")  # random shapes, whose kernels are not listed
    command = (*command, *compiled_ahead, f"--junit-xml={FOLDER}/{files.TESTS}", *TESTS)
    return Step("tests", ("tests",), 90, command=command, grace=8)


EXTENSION = "extension"
AHEAD = "compiling Triton's kernels"


def _preparation() -> Iterator[Step]:
    """All at the same time, since nothing is timed: whether the kernels are right, and compiling."""
    ready = tuple(Request(name, "ready") for name in ("cuda", "triton", AUTOCAST, "public"))
    public = ((COMPILED, HEADLINE), (f"{COMPILED}#train", TRAIN_MIDDLE))
    compiled = tuple(Request(name, "prepare", {"case": case}) for name, case in public)
    build, ahead = _python("tools.kernels.build"), _python("tools.kernels.ahead", "--processes", "10")
    yield Step(EXTENSION, GROUPS, 150, command=build, background=True)
    yield Step(AHEAD, ("right", "headline", "train", "tests"), 110, command=ahead, background=True)
    yield Step("starting workers", ("right", "headline"), 60, ready, background=True)
    yield Step("compiling the authors' implementation", ("headline", "train"), 110, compiled, background=True)
    for backend, first in (("cuda", EXTENSION), ("triton", AHEAD)):
        probes = tuple(
            Request(f"{backend}#{width}-{dtype}", "probe", {"width": width, "dtype": dtype})
            for which, width, dtype in PROBES
            if which == backend
        )
        yield Step(f"{backend} right", ("right",), 75, probes, background=True, after=(first,))
    yield Step("machine", GROUPS, 60, (Request("tiled", "machine"),), background=True)


def _each(name: str, group: str, limit: float, case: Case, *contestants: str, what: str = "measure") -> Step:
    """A case with several contestants, one after the other."""
    return Step(name, (group,), limit, tuple(Request(each, what, {"case": case}) for each in contestants))


def _growth(side: int) -> Step:
    return _each(f"growth to {side}", "more", 40, replace(HEADLINE, output=(side, side)), "cuda")


def _times() -> Iterator[Step]:
    yield Step("ceilings", ("headline",), 30, (Request("tiled", "ceilings"),))
    yield _each("headline", "headline", 30, HEADLINE, *OURS, AUTOCAST, COMPILED)
    yield _each("profile", "profile", 30, HEADLINE, "cuda", "triton", what="profile")
    yield _each("64 to 256", "more", 20, SMALL, *OURS, AUTOCAST)
    yield _each("float32", "more", 20, replace(HEADLINE, dtype="float32"), "triton", "tiled", "public")
    for dtype in ("tf32", "float16"):
        yield _each(dtype, "more", 20, replace(HEADLINE, dtype=dtype), *OURS)
    yield _each("training recipe", "train", 25, TRAIN_RECIPE, *OURS, AUTOCAST)
    yield _each("training 512", "train", 25, TRAIN_MIDDLE, *OURS, AUTOCAST)
    yield _each("training 512 compiled", "train", 25, TRAIN_MIDDLE, f"{COMPILED}#train")
    yield _each("training 1024", "train", 25, TRAIN_LARGE, *OURS)
    yield _each("profile of training", "profile", 30, TRAIN_LARGE, "cuda", "triton", what="profile")
    yield _each("profile of training 512", "profile", 30, TRAIN_MIDDLE, "cuda", what="profile")
    yield _each("training in float32", "train", 25, replace(TRAIN_MIDDLE, dtype="float32"), "triton", "tiled")
    yield _each("batch 8", "more", 30, replace(HEADLINE, batch=8), "cuda", "triton")
    yield from map(_growth, (2048, 4096))


def _tuning() -> Iterator[Step]:
    """Sanitizers while the candidates are compiled and judged; then the candidates are timed one by one."""
    for tool, backend in (("memcheck", "cuda"), ("memcheck", "triton"), ("racecheck", "cuda"), ("synccheck", "cuda")):
        yield _sanitizer(f"{tool} {backend}", "sanitize", 50, tool, backend, background=True)
    yield Step("judging cuts", ("tune",), 50, JUDGED, background=True)
    yield Step("tuning", ("tune",), 10, TUNED)
    adopt = _python("tools.gpu.publish", "--cuts", FOLDER)
    yield Step("adopting what was tuned", ("tune",), 20, command=adopt)
    yield _each("headline, tuned", "tune", 30, HEADLINE, "triton#tuned")


def steps() -> Iterator[Step]:
    """The plan."""
    yield from _preparation()
    yield from _times()
    yield from _tuning()
    yield _ncu("cuda", "forward90", "headline")
    yield _ncu("triton", "^forward$", "headline")
    yield _ncu("cuda", "backward90", "train")
    yield _tests()
    yield _growth(8192)


def table(only: Collection[str] = ()) -> list[str]:
    """The plan for people: a line a step, and how long it may take at most."""
    lines = [f"{'step':27} {'part':9} {'limit':>6}  what"]
    alone = 0.0
    for step in filter(lambda step: step.wanted(only), steps()):
        what = ", ".join(request.worker for request in step.requests)
        what += " ".join(step.command).replace(sys.executable, "python")
        part = "all" if step.groups == GROUPS else step.groups[0]
        lines.append(f"{step.name:27} {part:9} {step.limit:5.0f}s  {what}{' (in the background)' * step.background}")
        alone += 0 if step.background else step.limit * max(1, len(step.requests))
    return [*lines, f"At most {alone:.0f} s besides the background; --minutes leaves out what does not fit."]
