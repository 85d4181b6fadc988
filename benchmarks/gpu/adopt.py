"""`python -m benchmarks.gpu.adopt FOLDER`: the best cuts of a run, into its measured.json and the kernels' table."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from arasfsr.kernels.configs import MEASURED, key
from benchmarks.gpu.folders import SUITES
from benchmarks.gpu.plan import WIDTH
from benchmarks.tune import best_of, write_entry


def adopt(folder: Path, table: Path = MEASURED) -> None:
    """Put the best of a run's candidates into the tables, as the entry of the GPU that ran them."""
    rows = json.loads((folder / SUITES).read_text())
    major, minor = map(int, rows["machine"]["compute_capability"].split("."))
    name = key((major, minor), WIDTH, torch.bfloat16, "tf32")
    entry = best_of(row for row in rows.values() if "cut" in row)
    for path in (folder / MEASURED.name, table):
        write_entry(path, name, entry)
    print(f"{name}: {entry}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.adopt", description=__doc__)
    parser.add_argument("folder", type=Path, help="of a run")
    adopt(parser.parse_args().folder)
