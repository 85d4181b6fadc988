"""Compiles Triton kernels as the launcher would ask for them, for any GPU, whether there is one or not.

What a call of the operator launches is not written down by hand: a small call goes through the launcher, which lists
its launches here instead of making them.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget

from arasfsr import ImplicitSR
from arasfsr.config import DecoderConfig, EncoderConfig, ModelConfig
from arasfsr.kernels.backward import backward
from arasfsr.kernels.configs import ROCM, Config, launch_options
from arasfsr.kernels.forward import forward
from arasfsr.kernels.weight_gradient import weight_gradient
from arasfsr.nn.decoders.mlp import MLPWeights
from arasfsr.query.call import Grid, Queries, QueryCall
from arasfsr.query.fused.triton_launch import TritonLauncher
from arasfsr.query.operator import Problem, problem_of
from benchmarks.ceilings import TORCH_DTYPES, precision
from tools.kernels import machine_code

KERNELS = {"forward": forward, "backward": backward, "weight_gradient": weight_gradient}

ALIGNMENT = 16
"""Bytes: the compiler makes wider loads of pointers that are a multiple of it."""

Capability = tuple[int, int]
"""Compute capability, or ROCM for AMD's gfx942."""


@dataclass(frozen=True)
class Pointer:
    """What the compiler sees of a tensor."""

    dtype: torch.dtype
    aligned: bool

    def data_ptr(self) -> int:
        """An address as Triton asks for it."""
        return 0 if self.aligned else ALIGNMENT // 2


@dataclass(frozen=True)
class Variant:
    """A kernel and the arguments of a launch, for one kind of GPU."""

    kernel: str
    arguments: tuple[tuple[str, Any], ...]
    capability: Capability
    label: str = field(default="", compare=False)
    """For people."""

    @classmethod
    def of(cls, kernel: Any, arguments: dict[str, Any], capability: Capability, label: str = "") -> Variant:
        """From a launch's arguments, whose tensors become Pointers."""

        def seen(value: Any) -> Any:
            return Pointer(value.dtype, value.data_ptr() % ALIGNMENT == 0) if isinstance(value, Tensor) else value

        return cls(kernel.fn.__name__, tuple((n, seen(value)) for n, value in arguments.items()), capability, label)

    @property
    def width(self) -> int:
        """The padded width."""
        return int(dict(self.arguments)["NP"])

    def compile(self) -> Any:
        """Compile it, unless Triton's cache has it; on its GPU, load it too. Returns Triton's compiled kernel."""
        if self._on_its_gpu():
            compiled = self._warm_up()
            compiled._init_handles()  # loads it and, before Triton 3.7, compiles its launcher
            return compiled
        with _without_a_gpu(self.capability):
            return self._warm_up()

    def spills(self) -> int:
        """Compile it; returns how many registers spill."""
        compiled = self.compile()
        return int(compiled.n_spills) if self._on_its_gpu() else machine_code.of_triton(compiled).stack // 4

    def _on_its_gpu(self) -> bool:
        return torch.cuda.is_available() and torch.cuda.get_device_capability() == self.capability

    def _warm_up(self) -> Any:
        return KERNELS[self.kernel].warmup(**dict(self.arguments), grid=(1,))

    def key(self) -> str:
        """Triton's own key of the compiled kernel: types, alignments, constants and options."""
        keys: list[str] = []

        def hook(*, key: str, **rest: Any) -> bool:
            keys.append(key)
            return True  # do not compile it

        before, triton.knobs.runtime.jit_cache_hook = triton.knobs.runtime.jit_cache_hook, hook
        try:
            with _without_a_gpu(self.capability), _nothing_compiled(KERNELS[self.kernel]):
                self._warm_up()
        finally:
            triton.knobs.runtime.jit_cache_hook = before
        return f"{self.kernel} {keys[0]}"

    def kind(self) -> tuple[Any, ...]:
        """What its matrix products depend on; queries and depth may differ."""
        arguments = dict(self.arguments)
        switches = (arguments.get(name) for name in ("NP", "PRECISION", "MODULATED", "KEEP", "HALF"))
        return self.kernel, arguments["f"].dtype, *switches


def distinct(variants: Iterable[Variant]) -> dict[str, Variant]:
    """By key, the first of each."""
    found: dict[str, Variant] = {}
    for variant in variants:
        found.setdefault(variant.key(), variant)
    return found


class _Driver:
    """Triton's driver where the GPU is not there: names what to compile for."""

    def __init__(self, capability: Capability) -> None:
        number = 10 * capability[0] + capability[1]
        self._target = GPUTarget("hip", "gfx942", 64) if capability == ROCM else GPUTarget("cuda", number, 32)
        self._device = -1 - number  # Triton keeps target and kernels by device

    def get_current_target(self) -> Any:
        return self._target

    def get_current_device(self) -> int:
        return self._device

    def get_current_stream(self, device: int) -> int:
        return 0


@contextlib.contextmanager
def _without_a_gpu(capability: Capability) -> Iterator[None]:
    attributes = vars(triton.runtime.driver)  # `active` alone would look for a GPU since Triton 3.5
    before = attributes.get("_active", attributes.get("active"))
    triton.runtime.driver.set_active(_Driver(capability))
    try:
        yield
    finally:
        triton.runtime.driver.set_active(before)


@contextlib.contextmanager
def _nothing_compiled(kernel: Any) -> Iterator[None]:
    """Hides what this process has compiled of a kernel, for which Triton would not ask its hook."""
    compiled = kernel.device_caches[triton.runtime.driver.active.get_current_device()][0]
    before = dict(compiled)
    compiled.clear()
    try:
        yield
    finally:
        compiled.update(before)


class Listing(TritonLauncher):
    """Lists the launches that a GPU of that capability would see, without making them."""

    def __init__(self, problem: Problem, of: Capability, found: dict[Variant, None], call: Call | None = None) -> None:
        self._of, self._found, self._call = of, found, call
        super().__init__(problem)

    def _capability(self) -> Capability:
        return self._of

    def _processors(self) -> int:
        return 1

    def _launch(self, kernel: Any, grid: tuple[int, ...], config: Config, **arguments: Any) -> None:
        part = "keep" if arguments.get("KEEP") else kernel.fn.__name__
        half = ("", ", of f", ", of f * s")[arguments.get("HALF", -1) + 1]
        options = launch_options(config, self._of == ROCM)
        label = f"{part} {self._call}{half}"
        self._found[Variant.of(kernel, {**arguments, **self._common, **options}, self._of, label)] = None


FORWARD = ("forward",)
TRAIN = ("forward", "keep", "backward", "weight_gradient")
"""Kernels of a call: `keep` is the forward that keeps its activations for the backward."""


@dataclass(frozen=True)
class Call:
    """A call of the operator, as far as the compiler sees it."""

    dtype: str
    """As `Case.dtype`."""
    width: int = DecoderConfig().width
    layers: int = DecoderConfig().layers
    modulated: bool = True
    queries: str = "grid"
    """A "grid", "shared" by all images, or "own": different for each image."""
    cells: bool = False
    """Every query has its own cell."""
    skip: bool = True
    aligned: bool = True
    """The coordinates start at a multiple of ALIGNMENT."""
    parts: tuple[str, ...] = FORWARD
    coord: bool = False
    """The backward returns a gradient to coordinates."""

    def __str__(self) -> str:
        switches = {"cells": self.cells, "plain": not self.modulated, "no skip": not self.skip}
        switches |= {"gradient to coordinates": self.coord, "not aligned": not self.aligned}
        return ", ".join([f"{self.dtype} {self.width} x {self.layers}", self.queries, *filter(switches.get, switches)])

    def variants(self, capability: Capability) -> list[Variant]:
        """What it launches on a GPU of that capability."""
        found: dict[Variant, None] = {}
        with torch.no_grad(), precision(self.dtype):
            launcher = Listing(self._arguments(), capability, found, self)
            count, images = launcher.problem.count, launcher.problem.images
            if "forward" in self.parts:
                launcher.render(launcher.new_output())
            if "keep" in self.parts:
                kept = launcher.new_kept(0, count)
                launcher.keep(kept)
            if "backward" in self.parts:
                gradients = launcher.new_gradients(kept, self.coord)
                launcher.content_gradients(kept, torch.zeros(images, count, 3), gradients)
            if "weight_gradient" in self.parts:
                launcher.add_weight_gradients(*launcher.weight_sums(), kept, gradients)
        return [*found]

    def _arguments(self) -> Problem:
        """The smallest of that kind."""
        images, size = 2, (2, 3)
        features, image = torch.zeros(images, CHANNELS, 2, 2), torch.zeros(images, 3, 2, 2) if self.skip else None
        queries = torch.zeros(images if self.queries == "own" else 1, size[0] * size[1] + 1, 2)
        coord = queries[:, 1:].clone() if self.aligned else queries[:, 1:]
        cell = torch.zeros_like(coord)
        grid = Grid(size, (0, 0, *size)) if self.queries == "grid" else None
        weights = _weights(self.width, self.layers, self.modulated)
        one_cell, dtype = cell if self.cells else cell[:1, :1], TORCH_DTYPES[self.dtype]
        return problem_of(QueryCall(features, image, Queries(None if grid else coord, grid), one_cell, weights, dtype))


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
