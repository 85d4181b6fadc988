"""The page that comes out of a run: verdicts, headline, training, what failed."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

Files = Mapping[str, Mapping[str, Any]]


def page(files: Files) -> Iterator[str]:
    """Lines of the page."""
    run = files.get("run.json", {})
    machine = run.get("machine", {})
    yield f"{machine.get('gpu', 'no GPU')}, driver {machine.get('driver')}, torch {machine.get('torch')}, " + (
        f"Triton {machine.get('triton')}, commit {machine.get('commit')}"
    )
    yield from _probes(files.get("probes.json", {}))
    yield from _cases(files.get("suites.json", {}))
    yield from _kernels(files.get("kernels.json", {}))
    for title in ("failed", "left out"):
        for name, reason in run.get(title, {}).items():
            yield f"{title}: {name}: {reason}"
    for name, row in run.items():
        if name.startswith(("failed ", "prepared ")):
            yield f"{name}: {row.get('error') or row.get('told')}"


def _probes(rows: Mapping[str, Any]) -> Iterator[str]:
    kinds: dict[str, list[tuple[str, Any]]] = {}
    for name, row in rows.items():
        kind, _, probe = name.partition(": ")
        kinds.setdefault(kind, []).append((probe, row))
    for kind, found in kinds.items():
        right = sum(row["ok"] for _, row in found)
        worst = [
            max((v["error"] / v["limit"] for v in row.get("verdicts", ())), default=float("nan")) for _, row in found
        ]
        yield f"probe {kind}: {right} of {len(found)} right, worst error {max(worst, default=0):.2f} of its limit"
        yield from (f"    {probe}: {_why(row)}" for probe, row in found if not row["ok"])


def _why(row: Mapping[str, Any]) -> str:
    if row.get("error"):
        return str(row["error"])
    parts = [
        f"{v['quantity']} errs by {v['error']:.2e}, limit {v['limit']:.2e}" for v in row["verdicts"] if not v["ok"]
    ]
    parts += [name for name in ("bitwise", "bitwise_gradients") if not row[name]]
    return "; not ".join(["not right", *parts])


def _cases(rows: Mapping[str, Any]) -> Iterator[str]:
    ceilings = rows.get("ceilings", {})
    if ceilings:
        rates = ", ".join(f"{name} {rate / 1e12:.0f} TFLOP/s" for name, rate in ceilings["flops"].items())
        yield f"ceilings: {rates}, copy {ceilings['bytes_per_second'] / 1e12:.2f} TB/s"
    for name, row in rows.items():
        if "case" not in row or not row.get("samples_s"):
            continue
        seconds = statistics.median(row["samples_s"])
        rate = ceilings.get("flops", {}).get(row["dtype"])
        share = f" {2 * row['macs'] / seconds / rate:6.1%}" if rate else ""
        replay = f" replay {1e3 * statistics.median(row['replay_s']):8.3f}" if row.get("replay_s") else ""
        peak = f" peak {(row.get('peak_bytes') or 0) / 1e6:6.0f} MB"
        bitwise = "" if row.get("bitwise", True) else " NOT BITWISE"
        yield f"{name}: {1e3 * seconds:8.3f} ms{share}{replay}{peak}{bitwise} {row['error'] or ''}"


def _kernels(rows: Mapping[str, Any]) -> Iterator[str]:
    for name, row in rows.items():
        if "cut" in row:
            yield f"tuning {name}: {row['error'] or format(1e3 * row['seconds'], '.3f') + ' ms'}"
            continue
        yield f"kernels of {name}:"
        yield from (f"    {1e3 * k['seconds']:8.3f} ms {k['calls']:4} {k['name'][:90]}" for k in row["kernels"][:12])
