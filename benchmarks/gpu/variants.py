"""The list of Triton kernels that a GPU run asks for, each with all that its entry in Triton's cache depends on.

It is not written down by hand: a short table of calls goes through the launcher, which notes its launches here instead
of making them.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget

from arasfsr import ImplicitSR
from arasfsr.config import DecoderConfig, EncoderConfig, ModelConfig
from arasfsr.kernels.backward import backward
from arasfsr.kernels.forward import forward
from arasfsr.kernels.weight_gradient import weight_gradient
from arasfsr.nn.decoders.mlp import MLPWeights
from arasfsr.query.call import Grid, Queries, QueryCall
from arasfsr.query.fused.triton_launch import TritonLauncher
from arasfsr.query.operator import Problem, problem_of
from benchmarks.audit import usage
from benchmarks.cases import Case
from benchmarks.ceilings import TORCH_DTYPES, precision
from benchmarks.gpu import plan, probes
from benchmarks.gpu.probes import Probe
from benchmarks.workload import model_of

CAPABILITY = (9, 0)
"""Of the GPUs that a run is made for."""

KERNELS = {"forward": forward, "backward": backward, "weight_gradient": weight_gradient}

ALIGNMENT = 16
"""Bytes: of a pointer to a multiple of it, the compiler makes wider loads."""


@dataclass(frozen=True)
class Pointer:
    """What the compiler sees of a tensor."""

    dtype: torch.dtype
    aligned: bool

    @classmethod
    def of(cls, tensor: Tensor) -> Pointer:
        return cls(tensor.dtype, tensor.data_ptr() % ALIGNMENT == 0)

    def data_ptr(self) -> int:
        """An address as Triton asks for it."""
        return 0 if self.aligned else ALIGNMENT // 2


@dataclass(frozen=True)
class Variant:
    """A kernel and the arguments of a launch."""

    kernel: str
    arguments: tuple[tuple[str, Any], ...]
    label: str = field(default="", compare=False)
    """For people."""

    @property
    def width(self) -> int:
        """Of the rows."""
        return int(dict(self.arguments)["NP"])

    def compile(self) -> int:
        """Compile it for the device of Triton's driver, unless it is in Triton's cache; returns how much it spills."""
        compiled = self._warm_up()
        if not torch.cuda.is_available():
            return usage(compiled)[1] // 4
        compiled._init_handles()  # loads it and, before Triton 3.7, compiles what launches it
        return int(compiled.n_spills)

    def _warm_up(self) -> Any:
        return KERNELS[self.kernel].warmup(**dict(self.arguments), grid=(1,))

    def key(self) -> str:
        """Under which a process keeps it, as Triton makes it: types, alignments, constants and options."""
        keys: list[str] = []

        def note(*, key: str, **rest: Any) -> bool:
            keys.append(key)
            return True  # do not compile it

        before, triton.knobs.runtime.jit_cache_hook = triton.knobs.runtime.jit_cache_hook, note
        try:
            self._warm_up()
        finally:
            triton.knobs.runtime.jit_cache_hook = before
        return f"{self.kernel} {keys[0]}"

    def kind(self) -> tuple[Any, ...]:
        """What its products are; others of the kind have their queries from elsewhere, or another depth."""
        arguments = dict(self.arguments)
        switches = (arguments.get(name) for name in ("NP", "PRECISION", "MODULATED", "KEEP", "HALF"))
        return self.kernel, arguments["f"].dtype, *switches


class StandIn:
    """Triton's driver where there is no device: tells what to compile for."""

    def __init__(self, capability: tuple[int, int]) -> None:
        self._target = GPUTarget("cuda", 10 * capability[0] + capability[1], 32)

    def get_current_target(self) -> Any:
        return self._target

    def get_current_device(self) -> int:
        return -1  # none of the devices for which Triton keeps kernels

    def get_current_stream(self, device: int) -> int:
        return 0


@contextlib.contextmanager
def standing_in(capability: tuple[int, int]) -> Iterator[None]:
    """Triton compiles for that compute capability, whatever device there is."""
    before = triton.runtime.driver._active
    triton.runtime.driver.set_active(StandIn(capability))
    try:
        yield
    finally:
        triton.runtime.driver.set_active(before)


class Listing(TritonLauncher):
    """Notes the launches that a device of that compute capability would see."""

    def __init__(
        self, problem: Problem, capability: tuple[int, int], found: dict[Variant, None], label: str = ""
    ) -> None:
        self._of, self._found, self.label = capability, found, label
        super().__init__(problem)

    def _capability(self) -> tuple[int, int]:
        return self._of

    def _processors(self) -> int:
        return 1

    def _start(self, kernel: Any, grid: tuple[int, ...], arguments: dict[str, Any]) -> None:
        half = {0: ", of f", 1: ", of f * s"}.get(arguments.get("HALF", -1), "")
        self._found[noted(kernel, arguments, self.label + half)] = None


def noted(kernel: Any, arguments: dict[str, Any], label: str = "") -> Variant:
    """A launch as a variant."""
    seen = ((name, Pointer.of(value) if isinstance(value, Tensor) else value) for name, value in arguments.items())
    return Variant(kernel.fn.__name__, tuple(seen), label)


RENDER = ("render",)
TRAIN = ("render", "keep", "backward", "weights")
"""Kernels of a call: `keep` is the forward that keeps its activations for the backward."""


@dataclass(frozen=True)
class Call:
    """A call of the operator, as far as the compiler sees it."""

    dtype: str
    """As `Case.dtype`."""
    width: int = plan.WIDTH
    layers: int = DecoderConfig().layers
    modulated: bool = True
    queries: str = "grid"
    """Of a "grid", "shared" by all images, or each image's "own"."""
    cells: bool = False
    """Every query has one of its own."""
    skip: bool = True
    aligned: bool = True
    """The coordinates start at a multiple of ALIGNMENT."""
    parts: tuple[str, ...] = RENDER
    coord: bool = False
    """The backward gives a gradient to coordinates."""

    @property
    def name(self) -> str:
        switches = {"cells": self.cells, "plain": not self.modulated, "no skip": not self.skip}
        switches |= {"gradient to coordinates": self.coord, "not aligned": not self.aligned}
        told = (f"{self.dtype} {self.width} x {self.layers}", self.queries, *(n for n, on in switches.items() if on))
        return ", ".join(told)

    def _arguments(self) -> Problem:
        """The smallest of that kind."""
        images, size = 2, (2, 3)
        features, image = torch.zeros(images, CHANNELS, 2, 2), torch.zeros(images, 3, 2, 2) if self.skip else None
        queries = torch.zeros(images if self.queries == "own" else 1, size[0] * size[1] + 1, 2)
        coord = queries[:, 1:].clone() if self.aligned else queries[:, 1:]
        cell = torch.zeros_like(coord)
        call = QueryCall(
            features,
            image,
            Queries(None, Grid(size, (0, 0, *size))) if self.queries == "grid" else Queries(coord, None),
            cell if self.cells else cell[:1, :1],
            _weights(self.width, self.layers, self.modulated),
            TORCH_DTYPES[self.dtype],
        )
        return problem_of(call)

    def variants(self, capability: tuple[int, int]) -> Iterator[Variant]:
        """What a device of that compute capability would be asked for."""
        found: dict[Variant, None] = {}
        with torch.no_grad(), precision(self.dtype):
            launcher = Listing(self._arguments(), capability, found, self.name)
            count = launcher.problem.count
            if "render" in self.parts:
                launcher.label = f"render {self.name}"
                launcher.render()
            if "keep" in self.parts:
                launcher.label = f"keep {self.name}"
                kept = launcher.keep(0, count)
            if "backward" in self.parts:
                launcher.label = f"backward {self.name}"
                gradient = torch.zeros(launcher.problem.images, count, 3)
                gradients = launcher.content_gradients(kept, gradient, self.coord)
            if "weights" in self.parts:
                launcher.label = f"weights {self.name}"
                launcher.add_weight_gradients(*launcher.weight_sums(), kept, gradients)
        yield from found


CHANNELS = 4
"""Of the features; no kernel reads them."""


@functools.cache
def _weights(width: int, layers: int, modulated: bool) -> MLPWeights:
    config = ModelConfig(
        encoder=EncoderConfig(blocks=0, features=CHANNELS),
        frequency=None,
        decoder=DecoderConfig(width=width, layers=layers, modulated=modulated),
    )
    weights = ImplicitSR(config).decoder.weights()
    assert isinstance(weights, MLPWeights)
    return weights


def of_probe(probe: Probe, width: int, dtype: str) -> Call:
    """What a probe calls."""
    queries = "own" if probe.own else "shared" if probe.queries else "grid"
    cells = probe.own and probe.queries > 1  # one a picture goes into the LR map
    return Call(dtype, width, modulated=probe.modulated, queries=queries, cells=cells, parts=TRAIN)


def of_case(case: Case) -> Call:
    """What a case calls."""
    config = model_of(case.model).config
    decoder, training = config.decoder, case.suite == "train"
    of_coordinates = "own" if case.scattered and case.batch > 1 else "shared"
    return Call(
        case.dtype,
        decoder.width,
        decoder.layers,
        decoder.modulated,
        of_coordinates if case.scattered or training else "grid",
        case.scattered,
        config.skip,
        parts=TRAIN if training else RENDER,
    )


def of_plan() -> list[Call]:
    """Probes and cases of the plan, those in bfloat16 first, whose results are waited for; then the sanitizers'."""
    probed = [
        of_probe(probe, width, dtype)
        for name, width, dtype in plan.PROBES
        if name == "triton"
        for probe in probes.probes(dtype)
    ]
    timed, sanitized = [], []
    for step in plan.steps():
        timed += [
            of_case(Case(**request.arguments["case"]))
            for request in step.requests
            if request.contestant == "triton" and "case" in request.arguments
        ]
        if step.program and step.program.command[-2:] == ("probes", "triton"):
            sanitized += [of_probe(probe, width, "bfloat16") for width, probe in probes.sanitized()]
    return [*sorted([*probed, *timed], key=lambda call: call.dtype != "bfloat16"), *sanitized]


def of_tests() -> Iterator[Call]:
    """The GPU tests of the plan, but for tests/query/test_fused_tf32.py's of shapes drawn at random."""
    small = Call("float32", 48, 3)
    yield from (small, replace(small, skip=False))
    by_query = replace(small, queries="own", cells=True)
    yield from (replace(by_query, dtype=dtype) for dtype in ("bfloat16", "float16"))
    yield replace(by_query, skip=False)
    yield from (replace(by_query, coord=coord, parts=TRAIN) for coord in (False, True))
    shared = replace(small, queries="shared", parts=TRAIN)
    yield from (shared, replace(shared, cells=True), replace(shared, cells=True, aligned=False, parts=RENDER))
    smallest = Call("float32", 16, 2, parts=TRAIN)
    yield from (smallest, replace(smallest, queries="own", cells=True, coord=True))
    for dtype in TORCH_DTYPES:
        for modulated in (True, False):
            yield Call(dtype, 96, modulated=modulated, queries="own", cells=True, skip=False)
        yield Call(dtype, 64, queries="own", cells=True, parts=TRAIN, coord=True)
        if dtype != "tf32":
            yield from (Call(dtype, 64), Call(dtype, 64, queries="own", cells=True, skip=False))
    yield Call("tf32", 96, queries="shared", cells=True, parts=("keep", "backward"))
    for dtype in ("float32", "tf32"):  # the golden cases
        golden = Call(dtype, 64, queries="own", cells=True, parts=TRAIN)
        yield from (golden, replace(golden, modulated=False, skip=False))
    yield Call("float32", 64, modulated=False, skip=False)


def variants(capability: tuple[int, int] = CAPABILITY) -> list[Variant]:
    """The list: what is waited for first comes first, nothing twice."""
    with standing_in(capability):
        return [*distinct(variants_of([*of_plan(), *of_tests()], capability)).values()]


def variants_of(calls: Iterable[Call], capability: tuple[int, int] = CAPABILITY) -> Iterator[Variant]:
    """What calls launch."""
    for call in dict.fromkeys(calls):
        yield from call.variants(capability)


def distinct(found: Iterable[Variant]) -> dict[str, Variant]:
    """The first of each key, for the device of Triton's driver."""
    keys: dict[str, Variant] = {}
    for variant in found:
        keys.setdefault(variant.key(), variant)
    return keys


def kinds(found: Iterable[Variant]) -> list[Variant]:
    """The first of each kind."""
    first: dict[tuple[Any, ...], Variant] = {}
    for variant in found:
        first.setdefault(variant.kind(), variant)
    return [*first.values()]
