"""The summary of a run: what is right, how fast it is, what failed."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tools.gpu import files
from tools.gpu.files import Rows
from tools.gpu.plan import AUTOCAST, OURS
from tools.junit import outcome

MOST = 6
"""Kernels of a case, and failed tests, that are named."""


def page(folder: Path) -> Iterator[str]:
    """Lines of the summary, from the files in a run's folder."""
    _, rows, probes = files.read(folder)
    machine, steps = rows.get("machine", {}), rows.get("steps", {})
    yield f"{machine.get('gpu', 'no GPU')}, driver {machine.get('driver')}, torch {machine.get('torch')}, " + (
        f"Triton {machine.get('triton')}, commit {machine.get('commit')}"
    )
    sections = {
        "Right?": [*_verdicts(probes), *tools(folder)],
        "Speed": [*_ceilings(rows.get("ceilings", {})), *_cases(rows)],
        "Kernels": _kernels(rows),
        "Tuning": _tuning(rows),
        "Failed": [f"{name}: {told['failed']}" for name, told in steps.items() if "failed" in told],
        "Left out": [f"{name}: {told['left out']}" for name, told in steps.items() if "left out" in told],
    }
    for title, lines in sections.items():
        found = [f"  {line}" for line in lines]
        yield from ("", title, *found) if found else ()


def _verdicts(rows: Rows) -> Iterator[str]:
    """A line for each kernel, and for each probe on which it is not right."""
    for kernel, probes in files.by_kernel(rows).items():
        right, worst = sum(row["ok"] for row in probes.values()), files.worst_error(probes)
        told = "RIGHT" if right == len(probes) else "NOT RIGHT"
        tail = "" if worst is None else f", worst error {worst:.2f} of its limit"
        yield f"{kernel}: {told} on {right} of {len(probes)} probes{tail}"
        yield from (f"    {probe or 'its process'}: {_why(row)}" for probe, row in probes.items() if not row["ok"])


def _why(row: Mapping[str, Any]) -> str:
    if row.get("error"):
        return "did not end" if row["error"] == files.STARTED else str(row["error"])
    parts = [
        f"{v['quantity']} errs by {v['error']:.2e}, limit {v['limit']:.2e}" for v in row["verdicts"] if not v["ok"]
    ]
    parts += [name for name in ("bitwise", "bitwise_gradients") if not row[name]]
    return "; not ".join(["not right", *parts])


def tools(folder: Path) -> Iterator[str]:
    """What each sanitizer found, and how the GPU tests ended."""
    log, tests = folder / files.MEMCHECK, folder / files.TESTS
    for part in log.read_text(errors="replace").split("\n=== ")[1:] if log.is_file() else ():
        name, _, output = part.partition("\n")
        told = re.findall(r"========= ((?:ERROR|RACECHECK) SUMMARY: .*)", output) or ["did not end"]
        yield f"{name}: {told[-1]}; {len(re.findall('^right$', output, re.M))} probes were right"
    if tests.is_file():
        found = outcome(tests)
        yield f"tests: {found['passed']} passed, {found['skipped']} skipped, {len(found['failed'])} failed"
        yield from (f"    {name}" for name in found["failed"][:MOST])


def _ceilings(ceilings: Mapping[str, Any]) -> Iterator[str]:
    if ceilings:
        rates = ", ".join(f"{name} {rate / 1e12:.0f} TFLOP/s" for name, rate in ceilings["flops"].items())
        yield f"ceilings: {rates}, copy {ceilings['bytes_per_second'] / 1e12:.2f} TB/s"


def _cases(rows: Rows) -> Iterator[str]:
    """What failed; then a line for each case and contestant that was timed."""
    flops = rows.get("ceilings", {}).get("flops", {})
    yield from (f"{name}: {row['error']}" for name, row in rows.items() if "gate" in row and row["error"])
    medians = {name: statistics.median(row["samples_s"]) for name, row in rows.items() if row.get("samples_s")}
    for name, seconds in medians.items():
        row = rows[name]
        public = medians.get(f"{row['case']} {AUTOCAST}") or medians.get(f"{row['case']} public")
        rate = flops.get(row["dtype"])
        parts = [f"{1e3 * seconds:.3f} ms"]
        if rate:
            parts.append(f"{2 * row['macs'] / seconds / rate:.1%} of the ceiling")
        if public and row["contestant"] in OURS:
            parts.append(f"{public / seconds:.1f} x as fast as the authors' implementation")
        if row.get("replay_s"):
            parts.append(f"replay {1e3 * statistics.median(row['replay_s']):.3f} ms")
        if row.get("peak_bytes"):
            parts.append(f"peak {row['peak_bytes'] / 1e6:.0f} MB")
        if not row.get("bitwise", True):
            parts.append("NOT BITWISE")
        yield f"{name}: {', '.join(parts)}"


def _kernels(rows: Rows) -> Iterator[str]:
    """The longest kernels of each profile, and the host's longest operators."""

    def entry(each: Mapping[str, Any]) -> str:
        return f"{1e3 * each['seconds']:8.3f} ms {each['calls']:4} {each['name'][:90]}"

    for name, row in rows.items():
        if name.startswith("kernels of "):
            yield name.removeprefix("kernels of ")
            yield from (f"  {entry(kernel)}" for kernel in row["kernels"][:MOST])
            if row.get("host_s"):
                yield f"  the host is busy for {1e3 * statistics.median(row['host_s']):.3f} ms, mainly with"
                yield from (f"    {entry(operator)}" for operator in row["operators"][:MOST])


def _tuning(rows: Rows) -> Iterator[str]:
    """For each kernel its current cut and the fastest; then what is not right."""
    cuts = {name.removeprefix("cut: "): row for name, row in rows.items() if "cut" in row}
    for kernel in dict.fromkeys(row["kernel"] for row in cuts.values()):
        found = {name: row["seconds"] for name, row in cuts.items() if row["kernel"] == kernel and row["seconds"]}
        if found:
            best = min(found, key=found.__getitem__)
            current = f"{1e3 * found[kernel]:.3f} ms" if kernel in found else "not timed"
            yield f"{kernel}: currently {current}, at best {1e3 * found[best]:.3f} ms ({best})"
    yield from (f"{name}: {row['error']}" for name, row in cuts.items() if row["error"])
