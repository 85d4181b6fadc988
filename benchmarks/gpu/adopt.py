"""`python -m benchmarks.gpu.adopt FOLDER`: the best cuts that a run's kernels.json holds, into the kernels' table."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from arasfsr.kernels.configs import MEASURED, key

from benchmarks.gpu.plan import WIDTH
from benchmarks.tune import best_of, write_entry


def adopt(folder: Path, table: Path = MEASURED) -> None:
    """Put the best of a run's candidates into the table, as the entry of the GPU that ran them."""
    rows, run = (json.loads((folder / name).read_text()) for name in ("kernels.json", "run.json"))
    major, minor = map(int, run["machine"]["compute_capability"].split("."))
    name = key((major, minor), WIDTH, torch.bfloat16, "tf32")
    write_entry(table, name, best_of(row for row in rows.values() if "cut" in row))
    print(f"{name}: {json.loads(table.read_text())[name]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.adopt", description=__doc__)
    parser.add_argument("folder", type=Path, help="of a run")
    adopt(parser.parse_args().folder)
