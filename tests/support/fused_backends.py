"""The fused backends that run in this process, as pytest parameters, and why the others do not.

They run on a CUDA device, in Triton's interpreter (TRITON_INTERPRET=1) or in the native core's emulation
(ARASFSR_EMULATED). Without a CUDA device, test_interpreter.py and test_emulation.py run their tests on the CPU, in
processes of their own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from models import random_queries
from torch import Tensor

from arasfsr.query import BACKENDS
from arasfsr.query.fused import cuda, triton

DTYPES = {"triton": triton.DTYPES, "cuda": cuda.DTYPES}
"""What each fused backend computes in."""

_ASKED_ON_HOST = {"triton": triton.interpreted(), "cuda": cuda.emulated()}

ON_HOST = any(_ASKED_ON_HOST.values())
"""Whether kernels run on the CPU here."""

_TESTED = [name for name, asked in _ASKED_ON_HOST.items() if asked or not ON_HOST]
"""The fused backends that this process is to test."""

UNAVAILABLE = {name: reason for name in _TESTED if (reason := BACKENDS[name].reason(None)) is not None}
"""Those of them that do not run, and why."""

FUSED = [name for name in _TESTED if name not in UNAVAILABLE]
"""Those of them that do."""

ROWS = os.environ.get("ARASFSR_TEST_ROWS")
"""Where set, the cuda backend pads its rows at least to that length: to reach a kernel whatever a model's width is."""

CUDA_ROWS = (int(ROWS),) if ROWS else (64,) if ON_HOST else (64, 256)
"""The lengths that its tests run with: on a GPU the portable kernels' and that of compute capability 9.0's."""


def skip_module_without(*names: str) -> None:
    """Skip the calling test module, with the reason of each, unless one of these backends runs here."""
    __tracebackhide__ = True  # so that the skip's place is that module
    if not {*names} & {*FUSED}:
        reasons = (f"{name}: {BACKENDS[name].reason(None) or 'not tested in this process'}" for name in names)
        pytest.skip(f"{'; '.join(reasons)} (docs/development.md says how to run it on a CPU)", allow_module_level=True)


def _parameters(name: str, *more: object) -> list[Any]:
    """A fused backend and what else is given, for each length of rows that its tests run with."""
    short = [str(each).removeprefix("torch.") for each in more]
    if name in UNAVAILABLE:
        skip = pytest.mark.skip(f"{name}: {UNAVAILABLE[name]}")
        return [pytest.param(name, *more, id="-".join((name, *short)), marks=skip)]
    if name != "cuda":
        return [pytest.param(name, *more, id="-".join((name, *short)))]
    return [
        pytest.param(name, *more, id="-".join((f"cuda{rows}", *short)), marks=pytest.mark.rows(rows))
        for rows in CUDA_ROWS
    ]


def _each(dtypes: Callable[[str], Iterable[torch.dtype]]) -> pytest.MarkDecorator:
    """Parametrizes a test by a fused backend and each of some dtypes."""
    parameters = [case for name in _TESTED for dtype in dtypes(name) for case in _parameters(name, dtype)]
    return pytest.mark.parametrize(("fused", "dtype"), parameters)


each_fused = pytest.mark.parametrize("fused", [case for name in _TESTED for case in _parameters(name)])
"""A fused backend."""

each_dtype = _each(lambda name: DTYPES[name])
"""A fused backend and each dtype that it takes."""

half_only = _each(lambda name: [] if torch.float32 in DTYPES[name] else DTYPES[name])
"""A fused backend that does not compute in float32, and each dtype that it takes."""

finest_dtype = _each(lambda name: [min(DTYPES[name], key=lambda dtype: torch.finfo(dtype).eps)])
"""A fused backend and the dtype in which an error of its own shows best."""

refused_dtype = _each(lambda name: [dtype for dtype in (torch.float64, torch.float32) if dtype not in DTYPES[name]])
"""A fused backend and each dtype that others take but not this one."""

FLOAT32_FUSED = [case for name in _TESTED if torch.float32 in DTYPES[name] for case in _parameters(name)]
"""The fused backends that compute in float32, as parameters."""


def device_of(backend: str) -> torch.device:
    """Where a backend's tests run."""
    return torch.device("cuda" if backend in FUSED and torch.cuda.is_available() and not ON_HOST else "cpu")


def fused_arguments(fused: str, batch: int = 2, queries: int = 70, lr: tuple[int, int] = (5, 7)) -> tuple[Tensor, ...]:
    """An image, coordinates and a cell for each query, where the backend's tests run."""
    device = device_of(fused)
    return tuple(part.to(device) for part in (torch.rand(batch, 3, *lr) * 2 - 1, *random_queries(batch, queries)))
