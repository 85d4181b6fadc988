"""Choice of the backend for a call."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from arasfsr.errors import ArgumentError, BackendUnavailable
from arasfsr.query import proven, reference
from arasfsr.query.call import QueryCall
from arasfsr.query.fused import cuda, triton
from arasfsr.query.fused.limits import constant
from arasfsr.query.tiled import operator as tiled

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backend:
    """A way to compute the operator."""

    run: Callable[[QueryCall], Tensor]
    """Decodes a call's queries: (B, Q, 3)."""
    reason: Callable[[QueryCall | None], str | None] = lambda call: None
    """Why it cannot run a call or, for None, any call on this machine; None if it can."""


BACKENDS = {
    "reference": Backend(reference.run),
    "tiled": Backend(tiled.run),
    "triton": Backend(triton.run, triton.reason),
    "cuda": Backend(cuda.run, cuda.reason),
}
"""All backends, by name."""

REMEDY = 'use backend="auto" or backend="tiled"'

FUSED = ("cuda", "triton")
"""Backends that "auto" uses only if there are committed results for the device's architecture."""

UNPROVEN = "no committed result for this architecture shows it correct and faster than tiled"

DEFAULT = "ARASFSR_BACKEND"
"""Environment variable with the backend that backend="auto" stands for."""


def backends() -> dict[str, str | None]:
    """Why each backend cannot run on this machine, None if it can."""
    return {name: backend.reason(None) for name, backend in BACKENDS.items()}


def dispatch(call: QueryCall, backend: str = "auto") -> Tensor:
    """Decode a checked call with the named backend: (B, Q, 3).

    "auto" is the backend in the environment variable ARASFSR_BACKEND if set; else the fastest one that supports the
    call and is proven on the device's architecture (proven.json), or tiled. Why others were passed over is logged at
    DEBUG. A backend requested by name, by argument or environment, never falls back.

    Raises:
        ArgumentError: there is no such backend.
        BackendUnavailable: the requested backend cannot run the call.
    """
    chosen, device = _choose(call, backend), call.features.device.type
    if not (torch.compiler.is_compiling() or torch.is_autocast_enabled(device)):
        return chosen.run(call)
    with torch.autocast(device, enabled=False):  # the call's dtype already accounts for autocast
        return chosen.run(call)


@constant
def _default() -> str:
    return os.environ.get(DEFAULT) or "auto"


def _order(call: QueryCall) -> list[str]:
    """The fused backends that "auto" tries, fastest first."""
    device = call.features.device
    if device.type != "cuda":
        return []
    order: list[str] = proven.on_gpu(device.index or 0, call.dtype)
    return order


def _choose(call: QueryCall, backend: str) -> Backend:
    name, argument = backend, "backend"
    if backend == "auto":
        name, argument = _default(), DEFAULT
    if name == "auto":
        order = _order(call)
        chosen = next((each for each in order if BACKENDS[each].reason(call) is None), "tiled")
        if not torch.compiler.is_compiling() and _log.isEnabledFor(logging.DEBUG):  # logging breaks the graph
            _log_passed_over(call, order, chosen)
        return BACKENDS[chosen]
    if name not in BACKENDS:
        raise ArgumentError(f"{argument} must be auto, {', '.join(BACKENDS)}, got {name!r}")
    reason = BACKENDS[name].reason(call)
    if reason is not None:
        raise BackendUnavailable(f"{argument}={name!r}: {reason}; {REMEDY}")
    return BACKENDS[name]


def _log_passed_over(call: QueryCall, order: list[str], chosen: str) -> None:
    """Log why the backends before the chosen one, and those not proven on the device, were not used."""
    for name in (*order, *(name for name in FUSED if name not in order)):
        if name == chosen:
            break
        _log.debug("backend %s passed over: %s", name, BACKENDS[name].reason(call) or UNPROVEN)
