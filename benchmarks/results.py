"""Where results lie and what they say of the machine that made them."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from arasfsr import __version__
from arasfsr.atomic import replacing

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"


def processor() -> str:
    """The CPU as the system names it, with family and model where it says them: names alone can be vague."""
    facts: dict[str, str] = {}
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = facts.get("model name") or platform.processor() or platform.machine()
    kind = f" (family {facts['cpu family']}, model {facts['model']})" if "cpu family" in facts else ""
    return f"{name}{kind}"


def device_name() -> str:
    """A folder name for this machine's results."""
    return re.sub(r"[^a-z0-9]+", "-", f"{processor()} {torch.get_num_threads()} threads".lower()).strip("-")


def machine() -> dict[str, Any]:
    """What decides a measurement, apart from the code."""
    return {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "bfloat16_units": bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "arasfsr": __version__,
        "commit": _commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def write_results(path: Path, name: str, result: dict[str, Any]) -> None:
    """Add or replace one result, with the machine that made it, in a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.loads(path.read_text()) if path.is_file() else {}
    content[name] = {**result, "machine": machine()}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
