"""What the GPU run compiles ahead: the kernels that it asks for later, and what happens to those that fail."""

from __future__ import annotations

import functools
import os
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("triton", reason="Triton is made for Linux only")

from launches import as_on_a_gpu

from arasfsr.query import triton as backend
from benchmarks.gpu import ahead, plan, probes, worker
from benchmarks.gpu.variants import CAPABILITY, Call, Variant, distinct, of_plan, standing_in, variants_of

if backend.interpreted():
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)

FEW = 300
"""Queries of the largest probe here: two parts of its tiles, as more are."""


def small(case: dict[str, Any]) -> dict[str, Any]:
    """A case of the plan as a picture of a few pixels."""
    return {**case, "lr": (6, 5), "output": (16, 12), "batch": min(case["batch"], 2)}


def asked_by_the_plan(monkeypatch: pytest.MonkeyPatch) -> list[Variant]:
    """What the plan's requests to the triton backend launch, and its programs."""
    monkeypatch.setattr(probes, "PROBES", tuple(replace(p, queries=min(p.queries, FEW)) for p in probes.PROBES))
    monkeypatch.setattr(probes, "judge", functools.partial(probes.judge, draws=1, repeats=1))
    errors = []
    with as_on_a_gpu() as found:
        server = worker.Server("triton")
        for step in plan.steps():
            for request in step.requests:
                arguments = dict(request.arguments)
                if request.contestant == "triton" and request.what != "tune":
                    if "case" in arguments:
                        arguments["case"] = small(arguments["case"])
                    rows = server.answer({"what": request.what, **arguments})
                    errors += [row["error"] for _, _, row in rows if "error" in row]
            if step.program:
                for name in re.findall(r"\bonce (\S*triton\S*)", " ".join(step.program.command)):
                    worker.once(name)
    assert {error for error in errors if error and error != plan.BEGUN and "red gate" not in error} == set()
    return found


def test_what_the_plan_asks_for_is_compiled_ahead_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    with standing_in(CAPABILITY):
        asked, listed = distinct(asked_by_the_plan(monkeypatch)), distinct(variants_of(of_plan()))
    assert [asked[key] for key in asked.keys() - listed.keys()] == []
    assert [listed[key].label for key in listed.keys() - asked.keys()] == []
