"""The Triton kernels that a GPU run and its tests ask for, and those that are audited."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from arasfsr.kernels.configs import ROCM
from benchmarks.cases import Case
from benchmarks.ceilings import TORCH_DTYPES
from benchmarks.workload import model_of
from tools.gpu import plan
from tools.kernels import probes
from tools.kernels.probes import Probe
from tools.kernels.variants import FORWARD, TRAIN, Call, Capability, Variant, distinct

CAPABILITY = (9, 0)
"""Of the GPUs that a run is made for."""

AUDITED = {"sm_80": (8, 0), "sm_90": (9, 0), "sm_100": (10, 0), "gfx942": ROCM}
"""Architectures whose kernels are audited."""


def for_a_run(capability: Capability = CAPABILITY) -> list[Variant]:
    """What a GPU run asks for, each once, in the order in which it is waited for."""
    return [*distinct(variants_of([*of_plan(), *of_tests()], capability)).values()]


def variants_of(calls: Iterable[Call], capability: Capability = CAPABILITY) -> list[Variant]:
    """What calls launch."""
    return [variant for call in dict.fromkeys(calls) for variant in call.variants(capability)]


def kinds(variants: Iterable[Variant]) -> list[Variant]:
    """The first of each kind."""
    found: dict[tuple[Any, ...], Variant] = {}
    for variant in variants:
        found.setdefault(variant.kind(), variant)
    return [*found.values()]


def of_audit(architecture: str) -> list[Call]:
    """Every kernel at the paper's size in each arithmetic, the forward's switches, and a small width."""
    full = Call("bfloat16", parts=TRAIN, coord=True)
    if architecture == "gfx942":
        return [full]
    own, plain = replace(full, queries="own", cells=True), replace(full, modulated=False)
    return [
        *(full, replace(full, dtype="tf32"), replace(full, dtype="float32"), replace(full, width=64)),
        *(replace(call, parts=FORWARD, coord=False) for call in (own, plain)),
    ]


def of_probe(probe: Probe, width: int, dtype: str) -> Call:
    """What a probe calls."""
    queries = "own" if probe.own else "shared" if probe.queries else "grid"
    cells = probe.own and probe.queries > 1  # a single cell per image goes into the LR map
    return Call(dtype, width, modulated=probe.modulated, queries=queries, cells=cells, parts=TRAIN)


def of_case(case: Case) -> Call:
    """What a case calls."""
    config, training = model_of(case.model).config, case.suite == "train"
    queries = "grid"
    if case.scattered or training:
        queries = "own" if case.scattered and case.batch > 1 else "shared"
    return Call(
        case.dtype,
        config.decoder.width,
        config.decoder.layers,
        config.decoder.modulated,
        queries,
        case.scattered,
        config.skip,
        parts=TRAIN if training else FORWARD,
    )


def of_plan() -> list[Call]:
    """Probes and cases of the plan, bfloat16 first, whose results are waited for; then the sanitizers' probes."""
    kernels = [(width, dtype) for backend, width, dtype in plan.PROBES if backend == "triton"]
    found = [of_probe(probe, width, dtype) for width, dtype in kernels for probe in probes.probes(dtype)]
    requests = [request for step in plan.steps() for request in step.requests if request.contestant == "triton"]
    found += [of_case(request.case) for request in requests if request.case]
    sanitized = [of_probe(probe, width, dtype) for _, width, dtype, probe in probes.named("triton")]
    return [*sorted(found, key=lambda call: call.dtype != "bfloat16"), *sanitized]


def of_tests() -> Iterator[Call]:
    """The GPU tests of the plan, without the random shapes of tests/query/test_fused_tf32.py."""
    small = Call("float32", 48, 3)
    yield from (small, replace(small, skip=False))
    by_query = replace(small, queries="own", cells=True)
    yield from (replace(by_query, dtype=dtype) for dtype in ("bfloat16", "float16"))
    yield replace(by_query, skip=False)
    yield from (replace(by_query, coord=coord, parts=TRAIN) for coord in (False, True))
    shared = replace(small, queries="shared", parts=TRAIN)
    yield from (shared, replace(shared, cells=True), replace(shared, cells=True, aligned=False, parts=FORWARD))
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
