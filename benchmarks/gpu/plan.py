"""The table of steps: in this order, with these limits."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

GROUPS = ("right", "headline", "train", "profile", "more", "tune", "sanitize", "tests")
"""What `--only` takes: parts of the plan."""

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
    """What a worker is asked. Workers of one contestant that do something side by side have names such as cuda#2."""

    worker: str
    what: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def contestant(self) -> str:
        return self.worker.split("#")[0]

    @property
    def dtype(self) -> str | None:
        """In which it computes, where it does."""
        dtype = self.arguments.get("dtype") or self.arguments.get("case", {}).get("dtype")
        return dtype if dtype is None else str(dtype)


@dataclass(frozen=True)
class Program:
    """A step that is a program of its own; its output goes to the log."""

    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """Requests that belong together, or a program."""

    name: str
    group: str
    limit: float
    """Seconds for each request, or for the program."""
    requests: tuple[Request, ...] = ()
    program: Program | None = None
    together: bool = False
    """All requests at the same time."""
    background: bool = False
    """The next steps do not wait for it; a later request to the same worker does."""


BEGUN = "begun"
"""The error of a row whose end has not been seen yet."""

WIDTH = 256
"""Of the decoder that is timed."""

PROBES = (
    *(("cuda", width, dtype) for width in (WIDTH, 64) for dtype in ("bfloat16", "float16", "tf32")),
    *(("triton", WIDTH, dtype) for dtype in ("bfloat16", "float16", "float32", "tf32")),
)
"""Backend, width and dtype of the kernels that are judged: width 256 in 16 bits is that of the sm_90a kernels."""


CANDIDATES = 17
"""Of `benchmarks.tune.LISTED`, which is not imported here: it would load torch."""


def _cases(what: str, case: dict[str, Any], contestants: tuple[str, ...]) -> tuple[Request, ...]:
    return tuple(Request(name, what, {"case": case}) for name in contestants)


def _run(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "benchmarks.gpu.worker", *arguments)


def _ncu(backend: str, kernel: str, case: str) -> Step:
    """Counters of one launch, in words in the log; of each instruction where it waits, in a table."""
    report = f"/tmp/{backend}-{kernel}.ncu-rep"
    collect = f"ncu --clock-control none --set full --import-source no -f -o {report} -k regex:{kernel} -c 1"
    run = " ".join(_run("once", f"{backend}-{case}"))
    source = f'ncu -i {report} --page source --csv --print-source sass | gzip >> "$ARASFSR_GPU_RESULTS/ncu.csv.gz"'
    command = f"{collect} {run} && ncu -i {report} --page details && {source}"
    return Step(f"ncu {backend} {kernel}", "profile", 75, program=Program(("bash", "-c", command)))


NO_CACHE = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
"""So that every tensor is an allocation of its own, whose bounds a sanitizer sees."""


def _sanitizer(tool: str, backend: str) -> Step:
    command = ("compute-sanitizer", "--tool", tool, "--print-limit", "20", "--error-exitcode", "1")
    program = Program((*command, *_run("once", f"probe-{backend}")), NO_CACHE)
    return Step(f"{tool} {backend}", "sanitize", 75, program=program)


TESTS = tuple(f"tests/test_{name}.py" for name in ("fused_cuda", "cuda_device", "fused_tf32", "golden", "fused"))


def _tests(backend: str) -> Step:
    command = (sys.executable, "-m", "pytest", "-m", "gpu", "-n", "6", "--timeout", "45", "-p", "no:cacheprovider")
    return Step(f"tests of {backend}", "tests", 90, program=Program((*command, "-k", backend, *TESTS)), background=True)


def right() -> Iterator[Step]:
    """What tells whether the kernels are right, and what is compiled for later: all at the same time, before any time
    is taken."""
    compiled = ((COMPILED, HEADLINE), (f"{COMPILED}#train", TRAIN_MIDDLE))
    ahead = tuple(Request(name, "prepare", {"case": case}) for name, case in compiled)
    ready = tuple(Request(name, "ready") for name in (*OURS, AUTOCAST, "public"))
    yield Step("starting workers", "right", 60, ready, together=True, background=True)
    yield Step("compiling the public way", "headline", 80, ahead, together=True, background=True)
    for backend in ("cuda", "triton"):
        probes = tuple(
            Request(f"{backend}#{width}-{dtype}", "probe", {"width": width, "dtype": dtype})
            for which, width, dtype in PROBES
            if which == backend
        )
        yield Step(f"{backend} right", "right", 75, probes, together=True, background=True)
    ahead = tuple(replace(request, arguments={**request.arguments, "ahead": True}) for request in TUNED)
    yield Step("compiling to tune", "tune", 75, ahead, together=True, background=True)
    for backend in ("cuda", "triton"):
        yield _tests(backend)


TUNED = tuple(Request(f"triton#tune-{i}", "tune", {"number": i}) for i in range(CANDIDATES))


def steps() -> Iterator[Step]:
    """The plan."""
    yield from right()
    yield Step("machine", "right", 30, (Request("tiled", "machine"),))
    yield Step("ceilings", "headline", 30, (Request("tiled", "ceilings"),))
    yield Step("tuning", "tune", 10, TUNED)
    adopt = Program(("bash", "-c", f'{sys.executable} -m benchmarks.gpu.adopt "$ARASFSR_GPU_RESULTS"'))
    yield Step("adopting what was tuned", "tune", 20, program=adopt)
    yield Step("headline", "headline", 30, _cases("measure", HEADLINE, ("cuda", "triton", "tiled", AUTOCAST, COMPILED)))
    yield Step("training", "train", 30, _cases("measure", TRAIN_LARGE, OURS))
    yield Step("profile", "profile", 30, _cases("profile", HEADLINE, ("cuda", "triton")))
    yield Step("profile of training", "profile", 30, _cases("profile", TRAIN_LARGE, ("cuda", "triton")))
    yield Step("growth to 8192", "more", 40, _cases("measure", {**HEADLINE, "output": (8192, 8192)}, ("cuda",)))
    yield Step("64 to 256", "more", 20, _cases("measure", SMALL, (*OURS, AUTOCAST)))
    yield Step("batch 8", "more", 30, _cases("measure", {**HEADLINE, "batch": 8}, OURS))
    yield Step("training 512", "train", 40, _cases("measure", TRAIN_MIDDLE, (*OURS, AUTOCAST)))
    yield Step("training 512 compiled", "train", 30, _cases("measure", TRAIN_MIDDLE, (f"{COMPILED}#train",)))
    yield Step("training recipe", "train", 30, _cases("measure", TRAIN_RECIPE, (*OURS, AUTOCAST)))
    for dtype in ("tf32", "float32"):
        contestants = ("triton", "tiled", "public") if dtype == "float32" else (*OURS, "public")
        yield Step(dtype, "more", 40, _cases("measure", {**HEADLINE, "dtype": dtype}, contestants))
    yield Step("float16", "more", 20, _cases("measure", {**HEADLINE, "dtype": "float16"}, ("cuda", "triton")))
    for side in (2048, 4096):
        yield Step(f"growth to {side}", "more", 40, _cases("measure", {**HEADLINE, "output": (side, side)}, ("cuda",)))
    yield _ncu("cuda", "forward90", "headline")
    yield _ncu("cuda", "backward90", "train")
    for tool, backend in (("memcheck", "cuda"), ("memcheck", "triton"), ("racecheck", "cuda"), ("synccheck", "cuda")):
        yield _sanitizer(tool, backend)


def table() -> list[str]:
    """The plan for people, a line a step."""
    lines = [f"{'step':24} {'part':9} {'limit':>6}  what"]
    for step in steps():
        what = " ".join(step.program.command) if step.program else ", ".join(sorted({r.worker for r in step.requests}))
        how = " (at the same time)" * step.together + " (in the background)" * step.background
        lines.append(f"{step.name:24} {step.group:9} {step.limit:5.0f}s  {what}{how}")
    return lines
