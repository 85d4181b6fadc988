"""Peak memory: of this process on a CPU, of the allocator on a GPU, of a script in a process of its own."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")

PEAK_SOURCE = """
def peak():
    lines = open("/proc/self/status").read().splitlines()  # getrusage would count the parent's peak from before exec
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
"""
"""Defines `peak()`, the process's peak resident bytes so far, for scripts of `fresh_process`."""


def _status(field: str) -> int:
    """Bytes of an entry of /proc/self/status."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


class Peak:
    """Peak memory above what is resident now; on a CPU, of this whole process, which should do nothing else.

    On a CPU the kernel's high-water mark is set back to the present; where it cannot be (no Linux), `above` is None.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._base: int | None = None
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            self._base = torch.cuda.memory_allocated(device)
        elif _CLEAR.exists():
            ctypes.CDLL(None).malloc_trim(0)  # what the warm-up freed but the allocator kept is not the model's
            try:
                _CLEAR.write_text("5")
            except OSError:
                return
            self._base = _status("VmRSS")

    def above(self) -> int | None:
        """Bytes of the peak since then, above what was resident then."""
        if self._base is None:
            return None
        if self._device.type == "cuda":
            return max(0, torch.cuda.max_memory_allocated(self._device) - self._base)
        return max(0, _status("VmHWM") - self._base)


def limit_to_available() -> None:
    """Refuse this process allocations beyond the memory that is free now: an error instead of a killed machine."""
    if not Path("/proc/meminfo").exists():
        return
    import resource

    lines = Path("/proc/meminfo").read_text().splitlines()
    free = int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + int(0.9 * free), hard))


def fresh_process(code: str, *arguments: str) -> tuple[int, int]:
    """Peak resident bytes before and after the part that counts, which `code` prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{PEAK_SOURCE}{code}", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    before, after = done.stdout.split("\n")[-2].split()
    return int(before), int(after)
