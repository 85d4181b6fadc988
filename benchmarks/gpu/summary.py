"""The page that comes out of a run: what is right, how fast it is, what failed."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu import folders
from benchmarks.gpu.folders import BEGUN
from benchmarks.gpu.plan import AUTOCAST, OURS
from benchmarks.junit import outcome

Rows = Mapping[str, Mapping[str, Any]]

MOST = 6
"""Kernels of a case, and failed tests, that are named."""


def page(folder: Path) -> Iterator[str]:
    """Lines of the page, of the files in a run's folder."""
    rows = folders.read(folder)
    machine = rows.get("machine", {})
    yield f"{machine.get('gpu', 'no GPU')}, driver {machine.get('driver')}, torch {machine.get('torch')}, " + (
        f"Triton {machine.get('triton')}, commit {machine.get('commit')}"
    )
    yield from _section("Right?", [*verdicts(folders.read_probes(folder)), *sanitized(folder), *tested(folder)])
    yield from _section("Speed", [*_ceilings(rows.get("ceilings", {})), *_cases(rows)])
    yield from _section("Kernels", _kernels(rows))
    yield from _section("Tuning", _tuning(rows))
    steps = rows.get("steps", {})
    for what in ("failed", "left out"):
        found = [f"{name}: {told[what]}" for name, told in steps.items() if what in told]
        yield from _section(what.capitalize(), found)


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    found = [f"  {line}" for line in lines]
    if found:
        yield from ("", title, *found)


def verdicts(rows: Rows) -> Iterator[str]:
    """A line a kernel, and one for each probe that it was not right on."""
    for kernel, probes in folders.by_kernel(rows).items():
        right, shares = sum(row["ok"] for row in probes.values()), folders.shares(probes)
        worst = f", worst error {max(shares):.2f} of its limit" if shares else ""
        told = "RIGHT" if right == len(probes) else "NOT RIGHT"
        yield f"{kernel}: {told} on {right} of {len(probes)} probes{worst}"
        yield from (f"    {probe}: {_why(row)}" for probe, row in probes.items() if not row["ok"])


def _why(row: Mapping[str, Any]) -> str:
    if row.get("error"):
        return "did not end" if row["error"] == BEGUN else str(row["error"])
    parts = [
        f"{v['quantity']} errs by {v['error']:.2e}, limit {v['limit']:.2e}" for v in row["verdicts"] if not v["ok"]
    ]
    parts += [name for name in ("bitwise", "bitwise_gradients") if not row[name]]
    return "; not ".join(["not right", *parts])


def sanitized(folder: Path) -> Iterator[str]:
    """What each sanitizer has found, and how many probes it has seen."""
    path = folder / folders.MEMCHECK
    if not path.is_file():
        return
    for part in path.read_text(errors="replace").split("\n=== ")[1:]:
        name, _, output = part.partition("\n")
        told = re.findall(r"========= ((?:ERROR|RACECHECK) SUMMARY: .*)", output) or ["not ended"]
        yield f"{name}: {told[-1]}; {len(re.findall('^right$', output, re.M))} probes were right"


def tested(folder: Path) -> Iterator[str]:
    """How many of the GPU tests passed, and which failed."""
    path = folder / folders.TESTS
    if path.is_file():
        found = outcome(path)
        yield f"tests: {found['passed']} passed, {found['skipped']} skipped, {len(found['failed'])} failed"
        yield from (f"    {name}" for name in found["failed"][:MOST])


def _ceilings(ceilings: Mapping[str, Any]) -> Iterator[str]:
    if ceilings:
        rates = ", ".join(f"{name} {rate / 1e12:.0f} TFLOP/s" for name, rate in ceilings["flops"].items())
        yield f"ceilings: {rates}, copy {ceilings['bytes_per_second'] / 1e12:.2f} TB/s"


def _cases(rows: Rows) -> Iterator[str]:
    """What went wrong; then a line a case and contestant: time, part of the ceiling, replay, against the public way,
    peak memory."""
    flops = rows.get("ceilings", {}).get("flops", {})
    yield from (f"{name}: {row['error']}" for name, row in rows.items() if "gate" in row and row["error"])
    medians = {name: statistics.median(row["samples_s"]) for name, row in rows.items() if row.get("samples_s")}
    for name, seconds in medians.items():
        row = rows[name]
        case, contestant = row["case"], row["contestant"]
        public = medians.get(f"{case} {AUTOCAST}") or medians.get(f"{case} public")
        rate = flops.get(row["dtype"])
        parts = [f"{1e3 * seconds:.3f} ms"]
        if rate:
            parts.append(f"{2 * row['macs'] / seconds / rate:.1%} of the ceiling")
        if public and contestant in OURS:
            parts.append(f"{public / seconds:.1f} x the public way")
        if row.get("replay_s"):
            parts.append(f"replay {1e3 * statistics.median(row['replay_s']):.3f} ms")
        if row.get("peak_bytes"):
            parts.append(f"peak {row['peak_bytes'] / 1e6:.0f} MB")
        if not row.get("bitwise", True):
            parts.append("NOT BITWISE")
        yield f"{name}: {', '.join(parts)}"


def _entry(entry: Mapping[str, Any]) -> str:
    return f"{1e3 * entry['seconds']:8.3f} ms {entry['calls']:4} {entry['name'][:90]}"


def _kernels(rows: Rows) -> Iterator[str]:
    """The longest kernels of each profile."""
    for name, row in rows.items():
        if name.startswith("kernels of "):
            yield name.removeprefix("kernels of ")
            yield from (f"  {_entry(kernel)}" for kernel in row["kernels"][:MOST])
            if row.get("host_s"):
                yield f"  the host is busy for {1e3 * statistics.median(row['host_s']):.3f} ms, most of all with"
                yield from (f"    {_entry(operator)}" for operator in row["operators"][:MOST])


def _tuning(rows: Rows) -> Iterator[str]:
    """Of each kernel its own cut and the fastest; and what was not right."""
    cuts = {name.removeprefix("cut: "): row for name, row in rows.items() if "cut" in row}
    for kernel in dict.fromkeys(row["kernel"] for row in cuts.values()):
        found = {name: row["seconds"] for name, row in cuts.items() if row["kernel"] == kernel and row["seconds"]}
        if found:
            best = min(found, key=found.__getitem__)
            own = f"{1e3 * found[kernel]:.3f} ms" if kernel in found else "not timed"
            yield f"{kernel}: as it is {own}, at best {1e3 * found[best]:.3f} ms ({best})"
    yield from (f"{name}: {row['error']}" for name, row in cuts.items() if row["error"])
