"""Which backend serves a call."""

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
    """Why it cannot serve a call, or, given None, any on this machine; None where it can."""


BACKENDS = {
    "reference": Backend(reference.run),
    "tiled": Backend(tiled.run),
    "triton": Backend(triton.run, triton.reason),
    "cuda": Backend(cuda.run, cuda.reason),
}
"""Every backend, by name."""

REMEDY = 'use backend="auto" or backend="tiled"'

FUSED = ("cuda", "triton")
"""Backends that "auto" takes only where results of such a device are committed."""

UNPROVEN = "no committed result of such a device shows it right and faster than tiled"

DEFAULT = "ARASFSR_BACKEND"
"""The environment variable that names what backend="auto" stands for."""


def backends() -> dict[str, str | None]:
    """Every backend with the reason why it cannot run on this machine, None where it can."""
    return {name: backend.reason(None) for name, backend in BACKENDS.items()}


def dispatch(call: QueryCall, backend: str = "auto") -> Tensor:
    """Decode a checked call with the named backend: (B, Q, 3).

    "auto" is what the environment's ARASFSR_BACKEND says, or else the fastest that supports the call and is proven on
    such a device (proven.json), or else tiled; at DEBUG it logs why it passed over others. A backend asked for by name,
    in either way, never falls back.

    Raises:
        ArgumentError: there is no such backend.
        BackendUnavailable: the backend asked for cannot serve the call.
    """
    chosen, device = _choose(call, backend), call.features.device.type
    if not (torch.compiler.is_compiling() or torch.is_autocast_enabled(device)):
        return chosen.run(call)
    with torch.autocast(device, enabled=False):  # the call's dtype already follows autocast
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
        if not torch.compiler.is_compiling() and _log.isEnabledFor(logging.DEBUG):  # a log record splits the graph
            _log_passed_over(call, order, chosen)
        return BACKENDS[chosen]
    if name not in BACKENDS:
        raise ArgumentError(f"{argument} must be auto, {', '.join(BACKENDS)}, got {name!r}")
    reason = BACKENDS[name].reason(call)
    if reason is not None:
        raise BackendUnavailable(f"{argument}={name!r}: {reason}; {REMEDY}")
    return BACKENDS[name]


def _log_passed_over(call: QueryCall, order: list[str], chosen: str) -> None:
    """Say why the backends before the chosen one, and those that are not proven on the device, do not serve."""
    for name in (*order, *(name for name in FUSED if name not in order)):
        if name == chosen:
            break
        _log.debug("backend %s passed over: %s", name, BACKENDS[name].reason(call) or UNPROVEN)
