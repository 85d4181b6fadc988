"""Where results lie and what they say of the machine that made them."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from arasfsr import __version__
from arasfsr.files import replacing

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
SUITES_FILE = "suites.json"  # of `python -m benchmarks run`, in a machine's folder
CPU = torch.device("cpu")


def processor() -> str:
    """The CPU as the system names it, with family and model where it says them: names alone can be vague."""
    cpuinfo = Path("/proc/cpuinfo")
    first = cpuinfo.read_text().split("\n\n")[0] if cpuinfo.is_file() else ""
    facts = dict(re.findall(r"^(\S[^:]*?)\s*: (.*?)\s*$", first, re.M))
    name = facts.get("model name") or platform.processor() or platform.machine()
    return f"{name} (family {facts['cpu family']}, model {facts['model']})" if "cpu family" in facts else name


def device_name(device: torch.device = CPU) -> str:
    """A folder name for the results of a GPU, or of this machine's CPU with its threads."""
    cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if cuda else f"{processor()} {torch.get_num_threads()} threads"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


@functools.cache
def machine(device: torch.device = CPU) -> dict[str, Any]:
    """What decides a measurement, apart from the code, and the code's commit and the run's date."""
    commit = os.environ.get("ARASFSR_COMMIT") or _output("git", "describe", "--always", "--dirty", "--abbrev=12")
    facts = {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "bfloat16_units": bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "arasfsr": __version__,
        "commit": commit or "unknown",
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "gpu": properties.name,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "gpu_bytes": properties.total_memory,
            "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") or "unknown",
            "cuda": torch.version.cuda,
            "triton": metadata.version("triton") if importlib.util.find_spec("triton") else None,
        }
    return facts


def _output(*command: str) -> str:
    """First line of what a program prints, empty where it is missing or fails."""
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip().split("\n")[0]


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def write_text(path: Path, text: str) -> Path:
    with replacing(path) as temporary:
        temporary.write_text(text)
    return path


def write_results(path: Path, name: str, result: dict[str, Any], device: torch.device = CPU) -> None:
    """Add or replace one result, with the machine that made it, in a JSON file that is whole at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = load(path) if path.is_file() else {}
    write_text(path, json.dumps({**content, name: {**result, "machine": machine(device)}}, indent=1) + "\n")


def read_rows(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of a file of `python -m benchmarks run`, by "CASE CONTESTANT"; ValueError where it is no such file."""
    try:
        content = load(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: no file of results ({error})") from error
    if not isinstance(content, dict) or "ceilings" not in content:
        raise ValueError(f"{path}: no results of `python -m benchmarks run` (no ceilings in it)")
    return {name: row for name, row in content.items() if "case" in row}
