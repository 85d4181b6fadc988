"""Peak memory: of this process on a CPU, of the allocator on a GPU."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterable
from pathlib import Path

import torch

_PROC = Path("/proc/self")


def _bytes(file: Path, field: str) -> int:
    return int(next(line for line in file.read_text().splitlines() if line.startswith(f"{field}:")).split()[1]) * 1024


class Peak:
    """Peak memory above what is resident now; on a CPU, of this whole process.

    On a CPU the kernel's high-water mark is reset; where it cannot be (no Linux), `above` is None.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._base: int | None = None
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            self._base = torch.cuda.memory_allocated(device)
        elif (_PROC / "clear_refs").exists():
            ctypes.CDLL(None).malloc_trim(0)  # what the warm-up freed but the allocator kept is not the model's
            with contextlib.suppress(OSError):
                (_PROC / "clear_refs").write_text("5")
                self._base = _bytes(_PROC / "status", "VmRSS")

    def above(self) -> int | None:
        """Bytes of the peak since then, above what was resident then."""
        if self._base is None:
            return None
        cuda = self._device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(self._device) if cuda else _bytes(_PROC / "status", "VmHWM")
        return max(0, peak - self._base)


def highest(peaks: Iterable[int | None]) -> int | None:
    """The largest of the known peaks; None where there is none."""
    return max((peak for peak in peaks if peak is not None), default=None)


def limit_to_available() -> None:
    """Refuse this process allocations beyond the memory that is free now: an error instead of a killed machine."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        import resource

        most = _bytes(_PROC / "status", "VmSize") + int(0.9 * _bytes(meminfo, "MemAvailable"))
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
