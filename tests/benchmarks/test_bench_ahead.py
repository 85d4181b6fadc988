"""The Triton kernels that a GPU run compiles ahead are exactly those that it asks for; those that fail are named."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", reason="Triton is made for Linux only")

from launches import as_on_a_gpu

from arasfsr.query.fused import triton as backend
from benchmarks import gate
from benchmarks.cases import Case
from tools.gpu import files, plan, worker
from tools.kernels import probes
from tools.kernels.ahead import compile_all
from tools.kernels.listed import CAPABILITY, for_a_run, kinds, of_plan, variants_of
from tools.kernels.variants import KERNELS, TRAIN, Call, Variant, distinct

if backend.interpreted():
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)

FEW = 300
"""Queries of the largest probe here: two tiles, as more queries have more."""


def small(case: Case) -> Case:
    """A case of the plan as a picture of a few pixels."""
    return replace(case, lr=(6, 5), output=(16, 12), batch=min(case.batch, 2))


def asked_by_the_plan(monkeypatch: pytest.MonkeyPatch) -> list[Variant]:
    """What the plan's requests to the triton backend launch, and its programs."""
    monkeypatch.setattr(probes, "PROBES", tuple(replace(p, queries=min(p.queries, FEW)) for p in probes.PROBES))
    monkeypatch.setattr(probes, "judge", functools.partial(probes.judge, draws=1, repeats=1))
    for module in (gate, probes):  # nothing is computed that could be judged
        for judge in ("judge_output", "judge_gradients"):
            monkeypatch.setattr(module, judge, lambda *arguments: gate.Verdict("nothing", 0.0, 1.0))
    errors: set[str | None] = set()
    with as_on_a_gpu() as found:
        server = worker.Server("triton", lambda file, key, row: errors.add(row.get("error")))
        for step in plan.steps():
            for request in step.requests:
                if request.contestant == "triton" and request.what not in ("judge", "tune"):
                    smaller = {"case": small(request.case)} if request.case else request.arguments
                    getattr(server, request.what)(**smaller)
            told = " ".join(step.command)
            if re.search("worker once triton headline", told):
                worker.once("triton", "headline")
            if re.search("tools.kernels.probes triton$", told):
                probes.main("triton")
    assert errors <= {None, files.STARTED}
    return found


def test_exactly_what_the_plan_asks_for_is_compiled_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, listed = distinct(asked_by_the_plan(monkeypatch)), distinct(variants_of(of_plan()))
    assert [asked[key] for key in asked.keys() - listed.keys()] == []
    assert [listed[key].label for key in listed.keys() - asked.keys()] == []


@pytest.mark.parametrize("size", [1, 16, 17, 2**31 - 1])
def test_sizes_make_no_kernel_of_their_own(size: int) -> None:
    def resized(variant: Variant) -> Variant:
        sizes = {p.name for p in KERNELS[variant.kernel].params if not p.is_constexpr}
        arguments = ((n, size if n in sizes and isinstance(v, int) else v) for n, v in variant.arguments)
        return replace(variant, arguments=tuple(arguments))

    found = Call("bfloat16", 64, queries="own", cells=True, parts=TRAIN).variants(CAPABILITY)
    assert len(found) == 5
    assert [resized(variant).key() for variant in found] == [variant.key() for variant in found]


def test_the_plans_sizes_fit_into_32_bits() -> None:
    cases = [request.case for step in plan.steps() for request in step.requests if request.case]
    assert max(4 * case.batch * case.output[0] * case.output[1] for case in cases) < 2**31


def test_what_differs_for_the_compiler_has_its_own_key() -> None:
    [variant] = Call("bfloat16", 64).variants(CAPABILITY)
    changes = {"LAYERS": 3, "num_warps": 4, "image": None, "queries": 2**31}
    changed = [replace(variant, arguments=(*{**dict(variant.arguments), n: v}.items(),)) for n, v in changes.items()]
    assert len({each.key() for each in (variant, *changed)}) == 1 + len(changes)


def test_a_compiled_kernel_has_the_key_that_it_had() -> None:
    [variant] = Call("bfloat16", 16, layers=2).variants(CAPABILITY)
    before = variant.key()
    variant.compile()
    assert variant.key() == before


def test_probes_in_bfloat16_come_first() -> None:
    labels = [variant.label for variant in for_a_run()]
    assert labels[0] == "forward bfloat16 256 x 4, grid"
    halves = [index for index, label in enumerate(labels) if "bfloat16 256" in label]
    assert halves == [*range(len(halves))]


def test_one_of_a_kind_stands_for_those_with_other_queries() -> None:
    calls = [Call("bfloat16", 64, queries=queries, skip=skip) for queries in ("grid", "own") for skip in (True, False)]
    found = variants_of([*calls, Call("float16", 64), Call("bfloat16", 64, modulated=False)])
    assert kinds(found) == [found[0], found[-2], found[-1]]


def group_lives(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_interrupt_ends_all_processes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.kernels.ahead", "--processes", "2", "--kinds"]
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = iter(process.stdout)
        assert "kernels, listed in" in next(lines)
        next(lines)  # the first that is compiled
        os.killpg(process.pid, signal.SIGINT)
        process.wait(10)
        assert process.stderr.read() == "interrupted\n"
    assert process.returncode == 130
    deadline = time.monotonic() + 10  # an assembler ends with its kernel
    while time.monotonic() < deadline and group_lives(process.pid):
        time.sleep(0.1)
    assert not group_lives(process.pid)


@dataclass(frozen=True)
class StandIn:
    """Does what its label says when it is compiled."""

    label: str
    width: int = plan.WIDTH

    def spills(self) -> int:
        if self.label == "dies":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.label == "raises":
            raise ValueError("no such layout\nand more")
        return int(self.label == "spills")


def test_what_fails_or_dies_is_named_and_the_others_are_compiled() -> None:
    lines: list[str] = []
    wanted: Any = [StandIn(label) for label in ("one", "dies", "raises", "spills", "two")]
    assert compile_all([*wanted, StandIn("spills", 64)], 2, lines.append) == 3
    told = {line.split("s  ")[1] for line in lines}
    failed = {"dies: its process ended with status -11", "raises: ValueError: no such layout"}
    assert told == {"one", "two", "spills", "spills: 1 registers spill", *failed}
