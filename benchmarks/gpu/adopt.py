"""`python -m benchmarks.gpu.adopt FOLDER`: the best cuts that a run's kernels.json holds, into the kernels' table."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from arasfsr.kernels.configs import MEASURED, key

from benchmarks.gpu.plan import WIDTH
from benchmarks.tune import best_of, write_entry

TUNED = key((9, 0), WIDTH, torch.bfloat16, "tf32")
"""The entry that the plan's candidates are of."""


def adopt(folder: Path, table: Path = MEASURED) -> None:
    """Put the best of a run's candidates into the table."""
    rows = json.loads((folder / "kernels.json").read_text())
    write_entry(table, TUNED, best_of(row for row in rows.values() if "cut" in row))
    print(f"{TUNED}: {json.loads(table.read_text())[TUNED]}")


if __name__ == "__main__":
    adopt(Path(sys.argv[1]))
