"""`arasfsr doctor`: what is installed, what this machine offers, and whether every backend computes correctly."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Describe the installation and check every backend.

    Each check's error must stay below its bar; the exit status is 1 if one does not.
    """
    import torch

    from arasfsr.commands.diagnosis import describe, devices, show
    from arasfsr.commands.options import choose_backend
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
