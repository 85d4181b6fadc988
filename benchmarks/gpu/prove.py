"""`python -m benchmarks.gpu.prove FOLDER...`: what runs on one kind of GPU have proven, into arasfsr/query/proven.json.

Of several runs' folders the later ones' rows go before the earlier ones'.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arasfsr.query.proven import PROVEN
from benchmarks.gpu.plan import HEADLINE, PROBES
from benchmarks.gpu.worker import case_of

Rows = Mapping[str, Mapping[str, Any]]


def proven(probes: Rows, suites: Rows) -> dict[str, list[str]]:
    """By arithmetic the fused backends with every probe right and a headline faster than tiled's, the fastest first."""
    found: dict[str, list[str]] = {}
    for dtype in ("bfloat16", "float16", "tf32", "float32"):
        case = case_of({**HEADLINE, "dtype": dtype}).name
        times = {name: _seconds(suites.get(f"{case} {name}", {})) for name in ("cuda", "triton", "tiled")}
        right = [name for name in ("cuda", "triton") if _right(probes, name, dtype)]
        faster = [name for name in right if times[name] < times["tiled"]]
        if faster:
            found[dtype] = sorted(faster, key=times.__getitem__)
    return found


def _right(probes: Rows, backend: str, dtype: str) -> bool:
    """Whether every probe of a backend in a dtype was right, at every width that the plan has."""
    widths = [width for name, width, which in PROBES if (name, which) == (backend, dtype)]

    def of(width: int) -> list[bool]:
        return [row["ok"] for key, row in probes.items() if key.startswith(f"{backend} {width} {dtype}:")]

    return bool(widths) and all(of(width) and all(of(width)) for width in widths)


def _seconds(row: Mapping[str, Any]) -> float:
    """A row's median; of one that failed or is not there, more than any."""
    samples = row.get("samples_s")
    return statistics.median(samples) if samples and not row.get("error") else float("inf")


def prove(folders: Sequence[Path], target: Path = PROVEN) -> None:
    """Write what the runs have proven, beside what the file says of other kinds of GPU."""
    merged: dict[str, dict[str, Any]] = {"probes.json": {}, "suites.json": {}, "run.json": {}}
    for folder in folders:
        for name, rows in merged.items():
            if (folder / name).is_file():
                rows.update(json.loads((folder / name).read_text()))
    architecture = "sm" + merged["run.json"]["machine"]["compute_capability"].replace(".", "")
    own = proven(merged["probes.json"], merged["suites.json"])
    found = {**json.loads(target.read_text()), architecture: own}
    target.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    prove([Path(name) for name in sys.argv[1:]])
