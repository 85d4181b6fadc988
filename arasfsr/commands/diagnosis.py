"""The report of `arasfsr doctor`: installation, machine, and checks of the backends."""

from __future__ import annotations

import importlib
import os
import platform
from typing import Any

import numpy
import PIL
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from arasfsr._version import __version__
from arasfsr.bundled import bundled_models
from arasfsr.query import backends, proven
from arasfsr.query.fused import cuda_core
from arasfsr.testing import Check

OPTIONAL_MODULES = ("triton", "cv2", "tifffile")
"""Optional modules, needed only by some backends and file formats."""

ABSENT = "absent"


def describe() -> dict[str, Any]:
    """Versions, platform, devices, models, backends and what auto chooses, optional modules, native extension."""
    return {
        "versions": {
            "arasfsr": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "pillow": PIL.__version__,
            "cuda of torch": torch.version.cuda or ABSENT,
        },
        "optional": {name: probe(name) for name in OPTIONAL_MODULES},
        "extension": extension(),
        "platform": platform.platform(),
        "devices": {
            "cpu": f"{torch.get_num_threads()} of {os.cpu_count()} threads, {torch.backends.cpu.get_cpu_capability()}",
            **{f"cuda:{index}": _cuda_device(index) for index in range(torch.cuda.device_count())},
        },
        "models": bundled_models(),
        "backends": backends(),
        "auto": {"cpu": "tiled", **{f"cuda:{index}": automatic(index) for index in range(torch.cuda.device_count())}},
    }


def probe(name: str) -> str:
    """The version of an optional module, "absent", or "broken" with the import error."""
    try:
        module = importlib.import_module(name)
    except Exception as error:  # a broken installation may raise anything
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            return ABSENT
        return f"broken: {type(error).__name__}: {error}"
    return str(getattr(module, "__version__", "present"))


def extension() -> str:
    """The native extension's ABI and architectures, or why it does not load."""
    try:
        core = cuda_core.load()
    except ImportError as error:
        return str(error)
    return f"ABI {core.abi()}, code for {core.architectures()}"


def _cuda_device(index: int) -> str:
    properties = torch.cuda.get_device_properties(index)
    return (
        f"{properties.name}, compute capability {properties.major}.{properties.minor}, "
        f"{properties.total_memory / 2**30:.1f} GiB"
    )


def automatic(index: int) -> str:
    """What backend="auto" chooses on a CUDA device, by arithmetic."""
    kind, reasons = proven.architecture(index), backends()
    arithmetics: dict[str, list[str]] = {}
    for arithmetic, names in proven.of_architecture(kind).items():
        for name in names:
            if reasons[name] is None:
                arithmetics.setdefault(name, []).append(arithmetic)
                break
    if not arithmetics:
        return f"tiled: no fused backend that runs here is proven on {kind}"
    chosen = [f"{name} in {' and '.join(several)}" for name, several in arithmetics.items()]
    return ", ".join([*chosen, "else tiled"])


def devices() -> list[str]:
    """Devices to check: the CPU, and the current GPU if there is one."""
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def show(report: dict[str, Any], checks: list[Check], ok: bool) -> None:
    """Print the report and the checks."""
    console = Console(highlight=False)

    def line(name: str, value: str) -> None:
        console.print(f"{name:<18} {value}", markup=False, soft_wrap=True)

    for name, version in (report["versions"] | report["optional"]).items():
        line(name, version)
    line("native extension", report["extension"])
    line("platform", report["platform"])
    for name, device in report["devices"].items():
        line(name, device)
    line("busy machine", "if other programs compute too, set OMP_NUM_THREADS=1, or fewer threads than cores")
    line("bundled models", ", ".join(report["models"]) or "none")
    for name, reason in report["backends"].items():
        line(f"backend {name}", "available" if reason is None else f"not available: {reason}")
    for device, chosen in report["auto"].items():
        line(f"auto on {device}", chosen)
    console.print(_table(checks))
    for check in checks:
        if check.problem is not None:
            line("FAILED", f"{' '.join(_identity(check))}: {check.problem}")
    console.print("all checks passed" if ok else f"{sum(not check.ok for check in checks)} checks FAILED")


def _identity(check: Check) -> tuple[str, ...]:
    return check.device, check.backend, check.model, check.dtype, check.quantity


def _table(checks: list[Check]) -> Table:
    table = Table(title="Relative RMS error against float64 reference", title_justify="left", box=box.SIMPLE)
    for column in ("device", "backend", "model", "dtype", "quantity"):
        table.add_column(column)
    for column in ("error", "bar"):
        table.add_column(column, justify="right")
    table.add_column("")
    for check in checks:
        numbers = ("-" if value is None else f"{value:.1e}" for value in (check.error, check.bar))
        verdict, style = ("ok", "") if check.ok else ("FAILED", "bold red")
        table.add_row(*_identity(check), *numbers, verdict, style=style)
    return table
