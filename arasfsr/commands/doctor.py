"""`arasfsr doctor`: describe the installation and the machine, and check every backend."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from arasfsr.commands.options import VERBOSE, choose_backend


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print only one JSON object.")] = False,
    verbose: Annotated[bool, VERBOSE] = False,
) -> None:
    """Describe the installation and check every backend.

    The exit status is 1 if the error of any check is above its bar.
    """
    import torch

    from arasfsr.commands.diagnosis import describe, devices, show
    from arasfsr.testing import run_checks

    choose_backend()
    checks = [check for device in devices() for check in run_checks(torch.device(device))]
    ok = all(check.ok for check in checks)
    report = describe()
    if as_json:
        results = [{**asdict(check), "ok": check.ok} for check in checks]
        typer.echo(json.dumps({**report, "checks": results, "ok": ok}, indent=2))
    else:
        show(report, checks, ok)
    if not ok:
        raise typer.Exit(1)
