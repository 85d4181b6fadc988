"""`python -m tools.gpu --minutes N`: check the kernels and time them on this GPU, into --out or $OUT."""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.gpu import files, plan, summary
from tools.gpu.supervisor import RESERVE, Start, Supervisor, worker_command
from tools.kernels import build, pack


def main(arguments: Sequence[str] | None = None, start: Start = worker_command) -> int:
    """The command; returns 1 if a step failed."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.pack is not None:
        try:
            print(pack.pack(given.pack, given.python, given.architecture))
        except (build.BuildError, OSError) as error:
            parser.exit(1, f"--pack: {error}\n")
        return 0
    taken = (*plan.GROUPS, *(step.name for step in plan.steps()))
    for name in given.only:
        if name not in taken:
            parser.error(f"--only must be {', '.join(plan.GROUPS)}, or a step that --plan lists, got {name!r}")
    if not RESERVE / 60 < given.minutes < math.inf:
        parser.error(f"--minutes must be above {RESERVE / 60:.2f} and finite, got {given.minutes:g}")
    if given.plan:
        print("\n".join(plan.table(given.only)))
        return 0
    if not given.out:
        parser.error("--out or $OUT must name a folder for the results")
    try:
        build.capabilities()
        results = files.Results(Path(given.out))
    except build.BuildError as error:
        parser.error(f"a run needs a GPU: {error}")
    except OSError as error:
        parser.error(f"--out must be a folder that can be made: {error}")
    supervisor = Supervisor(results, 60 * given.minutes, start=start)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # it ends the run as an interrupt does
    try:
        supervisor.run(step for step in plan.steps() if step.wanted(given.only))
    finally:
        signal.signal(signal.SIGTERM, before)
    page = "\n".join(summary.page(results.folder))
    (results.folder / files.SUMMARY).write_text(page + "\n")
    print(page)
    return int(bool(supervisor.noted("failed")))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.gpu", description=__doc__)
    parser.add_argument("--minutes", type=float, default=7.0, help="for everything together (7)")
    parser.add_argument("--out", default=os.environ.get("OUT"), help="a folder for the results ($OUT)")
    only = f"parts of the plan ({', '.join(plan.GROUPS)}), or steps by name"
    parser.add_argument("--only", nargs="+", action="extend", default=[], metavar="PART", help=only)
    parser.add_argument("--plan", action="store_true", help="print the plan, or the parts named, and do nothing")
    packing = parser.add_argument_group("instead of a run", "prepare a folder for a machine without nvcc and network")
    packing.add_argument("--pack", type=Path, metavar="DIR", help="the folder; there, source DIR/start.sh")
    packing.add_argument("--python", default="python3.12", help="an interpreter of that machine's version (python3.12)")
    packing.add_argument("--architecture", default="90a-real", help="of its GPU, as CMake writes it (90a-real)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
