"""`python -m benchmarks.gpu --minutes N`: check the kernels and time them on this GPU, into --out or $OUT."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu import pack, plan, summary
from benchmarks.gpu.supervisor import Results, Supervisor


def main(arguments: Sequence[str] | None = None) -> int:
    """The command with these arguments, or the process's; returns 1 where a step failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--minutes", type=float, default=7.0, help="for everything together (7)")
    parser.add_argument("--out", type=Path, default=os.environ.get("OUT"), help="a folder for the results ($OUT)")
    parts = dict.fromkeys((*plan.GROUPS, *(step.name for step in plan.steps())))
    parser.add_argument(
        "--only", action="append", metavar="PART", help="a part or step of the plan; several may be named"
    )
    parser.add_argument("--plan", action="store_true", help="print the plan and do nothing")
    packing = parser.add_argument_group("instead of a run", "what a machine without a network lacks, into a folder")
    packing.add_argument("--pack", type=Path, metavar="DIR", help="the folder; DIR/start.sh is for the other machine")
    packing.add_argument("--python", default="python3.12", help="an interpreter of its Python's version (python3.12)")
    packing.add_argument("--architecture", default="90a-real", help="its GPU's, as CMake writes it (90a-real)")
    given = parser.parse_args(arguments)
    if given.pack is not None:
        try:
            print(pack.pack(given.pack, given.python, given.architecture))
        except (pack.PackError, OSError) as error:
            parser.exit(1, f"--pack: {error}\n")
        return 0
    if given.plan:
        print("\n".join(plan.table()))
        return 0
    unknown = [name for name in given.only or () if name not in parts]
    if unknown:
        parser.error(f"unknown part {unknown[0]!r}; taken are {', '.join(parts)}")
    if given.out is None:
        parser.error("no folder for the results; name one by --out or $OUT")
    results = Results(given.out)
    supervisor = Supervisor(results, 60 * given.minutes)
    supervisor.run(step for step in plan.steps() if not given.only or {step.group, step.name} & {*given.only})
    page = "\n".join(summary.page(results.files))
    (given.out / "summary.txt").write_text(page + "\n")
    print(page)
    return int(bool(supervisor.failed))


if __name__ == "__main__":
    sys.exit(main())
