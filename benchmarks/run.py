"""The harness: ceilings, then the cases that fit the time, every contestant in turn, each result written at once."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from arasfsr.config import ModelConfig
from benchmarks import ceilings as measured
from benchmarks.cases import Case
from benchmarks.contestants import contestants, unavailable
from benchmarks.counts import macs
from benchmarks.memory import highest
from benchmarks.results import read_rows, write_results
from benchmarks.session import ContestantFailed, Session, one_line, open_session
from benchmarks.timing import quartiles, repetitions
from benchmarks.workload import Workload, model_of

CASE_SECONDS = 60.0  # what a case's repetitions may take, all contestants together, beyond the least number of them
EFFICIENCY = {True: 0.6, False: 0.35}  # the part of the ceiling that ours and the literal method should reach
START_SECONDS = {"cpu": 8.0, "cuda": 1.0}  # to begin with a contestant: its process on a CPU, its inputs and the gate
COMPILE_SECONDS = {"cpu": 30.0, "cuda": 12.0}  # one shape of the literal method


@functools.cache
def config_of(model: str) -> ModelConfig:
    return model_of(model).config


def estimate(case: Case, flops: Mapping[str, float], device: torch.device, only: tuple[str, ...] = ()) -> float:
    """Seconds that a case takes with all its contestants, from its counts and the ceilings."""
    kind, total = device.type, 0.0
    for each in contestants(case.dtype, device, only):
        literal = each.backend in (None, "reference")
        rate = flops[case.dtype] if literal else measured.ceiling(flops, case.dtype, kind)[1]
        seconds = 2 * macs(case, config_of(case.model), literal) / (rate * EFFICIENCY[not literal])
        shapes = each.compiled * (1 if case.suite == "train" else 2)
        total += START_SECONDS[kind] + (1 + repetitions(seconds, 0.0)) * seconds + shapes * COMPILE_SECONDS[kind]
    return total


def measure_case(
    sessions: Mapping[str, Callable[[], Session]],
    store: Callable[[str, dict[str, Any]], None],
    seconds: float = CASE_SECONDS,
    deadline: float = float("inf"),
) -> dict[str, dict[str, Any]]:
    """Judge and time the contestants of a case in turn; `store` gets a contestant's row whenever it has grown.

    A contestant that fails, or whose gate is red, has a row that says so and no speed. After the `deadline` (of
    time.monotonic) no further round begins.
    """
    rows: dict[str, dict[str, Any]] = {name: {"gate": None, "error": None} for name in sessions}
    ready: dict[str, Session] = {}
    quota: dict[str, int] = {}

    def fail(name: str, error: Exception) -> None:
        text = str(error) if isinstance(error, ContestantFailed) else one_line(error)
        rows[name] = {"gate": rows[name]["gate"], "error": text}
        store(name, rows[name])
        quota.pop(name, None)
        if name in ready:
            ready.pop(name).close()

    try:
        for name, open_one in sessions.items():
            try:
                ready[name] = open_one()
                rows[name]["gate"] = ready[name].judge()
                if any(not verdict["ok"] for verdict in rows[name]["gate"]):
                    raise ContestantFailed("; ".join(_red(each) for each in rows[name]["gate"] if not each["ok"]))
                quota[name] = 1
            except Exception as error:
                fail(name, error)
        turn = 0
        while turn < max(quota.values(), default=0) and (turn == 0 or time.monotonic() < deadline):
            for name in [name for name in quota if turn < quota[name]]:
                try:
                    sample = ready[name].time(turn)
                except Exception as error:
                    fail(name, error)
                    continue
                rows[name].setdefault("samples_s", []).append(sample.seconds)
                rows[name].setdefault("peaks_bytes", []).append(sample.peak_bytes)
                if turn == 0:
                    quota[name] = repetitions(sample.seconds, seconds / len(ready))
                store(name, rows[name])
            turn += 1
    finally:
        for session in ready.values():
            session.close()
    return rows


def _red(verdict: Mapping[str, Any]) -> str:
    cosine = "" if verdict["cosine"] is None else f", cosine {verdict['cosine']:.6f}"
    return f"red gate: {verdict['quantity']} errs by {verdict['error']:.2e}, limit {verdict['limit']:.2e}{cosine}"


def complete(
    row: Mapping[str, Any], case: Case, contestant: str, config: ModelConfig, flops: Mapping[str, float], kind: str
) -> dict[str, Any]:
    """A row for the results: what was measured on a device of that kind, and what follows from it."""
    counted = {"macs": macs(case, config), "macs_literal": macs(case, config, literal=True)}
    full = {**asdict(case), "case": case.name, "contestant": contestant, **counted, **row}
    if row.get("samples_s"):
        times = quartiles(row["samples_s"])
        full["quartiles_s"] = list(times)
        full["peak_bytes"] = highest(row["peaks_bytes"])
        full["ceiling_dtype"], full["ceiling_flops"] = measured.ceiling(flops, case.dtype, kind)
        full["share"] = measured.share(full["macs"], times.median, full["ceiling_flops"])
    return full


def run_cases(
    cases: Iterable[Case],
    device: torch.device,
    path: Path,
    minutes: float | None = None,
    only: tuple[str, ...] = (),
    say: Callable[[str], None] = print,
    ceilings: dict[str, Any] | None = None,
    missing: bool = False,
    seconds: float = CASE_SECONDS,
) -> dict[str, str]:
    """Measure the cases that fit into `minutes`, in order, into the JSON file `path`; with `missing` only those that it
    does not hold yet, with every contestant. A case's repetitions beyond the least take at most `seconds`.

    Returns why cases were left out, by name.
    """
    deadline = float("inf") if minutes is None else time.monotonic() + 60 * minutes
    ceilings = ceilings or measured.measure(device)
    flops, kind = ceilings["flops"], device.type
    left: dict[str, str] = {}
    write_results(path, "ceilings", ceilings, device)
    say(f"ceilings: {', '.join(f'{dtype} {rate / 1e9:,.0f} GFLOP/s' for dtype, rate in flops.items())}")
    held = set(read_rows(path)) if missing else set()
    estimated = took = 0.0  # of the cases so far: what they should have taken, and what they did
    for case in cases:
        if case.dtype not in measured.dtypes(device):
            left[case.name] = f"no {case.dtype} on {kind}"
            continue
        found = contestants(case.dtype, device, only)
        if found and all(f"{case.name} {each.name}" in held for each in found):
            continue
        cost, began = estimate(case, flops, device, only), time.monotonic()
        needed = cost * took / estimated if estimated else cost
        if began + needed > deadline:
            left[case.name] = f"about {needed:.0f} s, {max(0.0, deadline - began):.0f} s were left"
            continue
        shared = functools.cache(functools.partial(Workload.of, case, device))
        sessions = {each.name: functools.partial(open_session, case, each, device, shared) for each in found}

        def store(name: str, row: dict[str, Any], case: Case = case) -> None:
            full = complete(row, case, name, config_of(case.model), flops, kind)
            write_results(path, f"{case.name} {name}", full, device)

        for name, row in measure_case(sessions, store, seconds, deadline).items():
            runs = row.get("samples_s", ())
            spread = "{1:.4g} s ({0:.4g} to {2:.4g}, {3} runs)".format(*quartiles(runs), len(runs)) if runs else ""
            say(f"{case.name} {name}: {row['error'] or spread}")
        estimated, took = estimated + cost, took + time.monotonic() - began
    for name, reason in unavailable(device).items():
        say(f"backend {name} is not in it: {reason}")
    for name, reason in left.items():
        say(f"left out: {name} ({reason})")
    write_results(path, "left out", {"cases": left, "minutes": minutes}, device)
    return left
