"""`python -m tools.gpu.publish DEVICE`: put what the runs on a GPU found where the tables and `auto` read it.

Writes suites.json beside the runs' folders, with shares of the ceilings, and arasfsr/query/proven.json. Rows of later
runs replace those of earlier ones, except probes that did not end.

`--cuts RUN` instead puts a run's best cuts into its measured.json and the kernels' table.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from arasfsr.kernels import configs
from arasfsr.query.proven import PROVEN
from benchmarks.ceilings import share
from tools.gpu import plan
from tools.gpu.files import MEASURED, SUITES, Rows, latest, read, runs
from tools.gpu.history import median
from tools.kernels.tune import best_of, write_entry


def proven(probes: Rows, suites: Rows) -> dict[str, list[str]]:
    """By dtype, the fused backends with every probe right that are faster than tiled on the headline, fastest first."""
    found: dict[str, list[str]] = {}
    for dtype in ("bfloat16", "float16", "tf32", "float32"):
        case = replace(plan.HEADLINE, dtype=dtype).name
        times = {name: median(suites.get(f"{case} {name}", {})) for name in plan.OURS}
        right = [name for name in ("cuda", "triton") if _right(probes, name, dtype)]
        faster = [name for name in right if times[name] < times["tiled"]]
        if faster:
            found[dtype] = sorted(faster, key=times.__getitem__)
    return found


def _right(probes: Rows, backend: str, dtype: str) -> bool:
    """Whether every probe was right, at every width that the plan has."""
    kernels = [f"{name} {width} {which}: " for name, width, which in plan.PROBES if (name, which) == (backend, dtype)]
    by_kernel = [[row["ok"] for key, row in probes.items() if key.startswith(kernel)] for kernel in kernels]
    return bool(kernels) and all(found and all(found) for found in by_kernel)


def timed(suites: Rows) -> Rows:
    """The rows that were timed, with their shares of the measured ceilings."""
    found = {"ceilings": suites["ceilings"]}
    for name, row in suites.items():
        if row.get("quartiles_s"):
            rate = suites["ceilings"]["flops"][row["dtype"]]
            part = share(row["macs"], row["quartiles_s"][1], rate)
            found[name] = {**row, "ceiling_dtype": row["dtype"], "ceiling_flops": rate, "share": part}
    return found


def publish(device: Path, proven_file: Path = PROVEN) -> None:
    """Write both files, keeping what proven.json says of other GPUs. Raises ValueError without a complete run."""
    found = runs(device)
    probes, suites = latest(run.probes for run in found), latest(run.rows for run in found)
    if not probes or "ceilings" not in suites:
        raise ValueError(f"{device} must hold the folder of a run with probes and ceilings")
    architecture = "sm" + suites["machine"]["compute_capability"].replace(".", "")
    by_architecture = {**json.loads(proven_file.read_text()), architecture: proven(probes, suites)}
    (device / SUITES).write_text(json.dumps(timed(suites), indent=1) + "\n")
    proven_file.write_text(json.dumps(by_architecture, indent=1, sort_keys=True) + "\n")


def publish_cuts(run: Path, table: Path = configs.MEASURED) -> None:
    """Write the best of a run's candidates into both tables. Raises ValueError if no forward was right and timed."""
    rows = read(run).rows
    major, minor = map(int, rows["machine"]["compute_capability"].split("."))
    name = configs.key((major, minor), plan.WIDTH, torch.bfloat16, "tf32")
    entry = best_of(row for row in rows.values() if "cut" in row)
    for path in (run / MEASURED, table):
        write_entry(path, name, entry)
    print(f"{name}: {entry}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.gpu.publish", description=__doc__)
    parser.add_argument("folder", type=Path, help="of a GPU, with a folder for each run; with --cuts, of a run")
    parser.add_argument("--cuts", action="store_true", help="publish the run's best cuts")
    given = parser.parse_args()
    try:
        (publish_cuts if given.cuts else publish)(given.folder)
    except ValueError as error:
        parser.error(str(error))
