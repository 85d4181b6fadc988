"""`python -m benchmarks.gpu.publish DEVICE`: what the runs on one GPU have found, to where the tables and auto read it.

Writes suites.json beside the runs' folders, with shares of the ceilings that were measured, and
arasfsr/query/proven.json. Later runs' rows replace earlier ones; a probe that a run began and did not finish is judged
by an earlier run.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arasfsr.query.proven import PROVEN
from benchmarks.ceilings import share
from benchmarks.gpu import plan
from benchmarks.gpu.folders import SUITES, latest, runs
from benchmarks.gpu.worker import case_of

Rows = Mapping[str, Mapping[str, Any]]


def proven(probes: Rows, suites: Rows) -> dict[str, list[str]]:
    """By arithmetic the fused backends with every probe right and a headline faster than tiled's, the fastest first."""
    found: dict[str, list[str]] = {}
    for dtype in ("bfloat16", "float16", "tf32", "float32"):
        case = case_of({**plan.HEADLINE, "dtype": dtype}).name
        times = {name: _seconds(suites.get(f"{case} {name}", {})) for name in ("cuda", "triton", "tiled")}
        right = [name for name in ("cuda", "triton") if _right(probes, name, dtype)]
        faster = [name for name in right if times[name] < times["tiled"]]
        if faster:
            found[dtype] = sorted(faster, key=times.__getitem__)
    return found


def _right(probes: Rows, backend: str, dtype: str) -> bool:
    """Whether every probe of a backend in a dtype was right, at every width that the plan has."""
    widths = [width for name, width, which in plan.PROBES if (name, which) == (backend, dtype)]

    def of(width: int) -> list[bool]:
        return [row["ok"] for key, row in probes.items() if key.startswith(f"{backend} {width} {dtype}:")]

    return bool(widths) and all(of(width) and all(of(width)) for width in widths)


def _seconds(row: Mapping[str, Any]) -> float:
    """A row's median; of one that failed or is not there, more than any."""
    samples = row.get("samples_s")
    return statistics.median(samples) if samples and not row.get("error") else float("inf")


def settled(suites: Rows) -> dict[str, Any]:
    """The rows that were timed, with their shares of the ceilings in `suites`."""
    flops = suites["ceilings"]["flops"]
    found: dict[str, Any] = {"ceilings": suites["ceilings"]}
    for name, row in suites.items():
        if row.get("quartiles_s"):
            rate = flops[row["dtype"]]
            part = share(row["macs"], row["quartiles_s"][1], rate)
            found[name] = {**row, "ceiling_dtype": row["dtype"], "ceiling_flops": rate, "share": part}
    return found


def publish(device: Path, proven_file: Path = PROVEN) -> None:
    """Write both files, beside what proven.json says of other kinds of GPU."""
    found = runs(device)
    probes, suites = latest(run.probes for run in found), latest(run.rows for run in found)
    if not probes or "ceilings" not in suites:
        raise ValueError(f"no run in {device} with probes and ceilings; a device's folder holds a folder a run")
    architecture = "sm" + suites["machine"]["compute_capability"].replace(".", "")
    kinds = {**json.loads(proven_file.read_text()), architecture: proven(probes, suites)}
    timed = settled(suites)
    (device / SUITES).write_text(json.dumps(timed, indent=1) + "\n")
    proven_file.write_text(json.dumps(kinds, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.publish", description=__doc__)
    parser.add_argument("device", type=Path, help="the folder of a GPU, which holds one a run")
    try:
        publish(parser.parse_args().device)
    except ValueError as error:
        parser.error(str(error))
