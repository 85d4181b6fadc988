"""Which backend serves a call."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from arasfsr.errors import BackendUnavailable
from arasfsr.query import reference, tiled, triton
from arasfsr.query.call import QueryCall

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backend:
    """A way to compute the operator.

    `reason` says why it cannot serve a call, or, given None, why it cannot serve any on this machine; None means
    that it can. `remedy` is what to do then.
    """

    run: Callable[[QueryCall], Tensor]
    reason: Callable[[QueryCall | None], str | None]
    remedy: str


def _always(call: QueryCall | None) -> None:
    return None


def _missing(kind: str) -> Backend:
    """A backend that this version does not have yet."""
    reason = f"this version has no {kind} kernels"

    def run(call: QueryCall) -> Tensor:
        raise BackendUnavailable(reason)

    return Backend(run, lambda call: reason, 'use backend="auto" or backend="tiled"')


BACKENDS = {
    "reference": Backend(reference.run, _always, ""),
    "tiled": Backend(tiled.run, _always, ""),
    "triton": Backend(triton.run, triton.reason, triton.REMEDY),
    "cuda": _missing("CUDA"),
}
"""Every backend, by name."""

AUTO_ORDER = ("cuda", "triton", "tiled", "reference")
"""What "auto" tries, fastest first."""


def backends() -> dict[str, str | None]:
    """Every backend with the reason why it cannot run on this machine, None where it can."""
    return {name: backend.reason(None) for name, backend in BACKENDS.items()}


def dispatch(call: QueryCall, backend: str = "auto") -> Tensor:
    """Decode a checked call with the named backend: (B, Q, 3).

    "auto" takes the fastest that supports the call and logs at DEBUG why it passed over others. A backend asked for
    by name never falls back.

    Raises:
        ValueError: there is no such backend.
        BackendUnavailable: the backend asked for cannot serve the call.
    """
    chosen = _choose(call, backend)
    with torch.autocast(call.features.device.type, enabled=False):  # the call's dtype already follows autocast
        return chosen.run(call)


def _choose(call: QueryCall, backend: str) -> Backend:
    if backend == "auto":
        for name in AUTO_ORDER:
            reason = BACKENDS[name].reason(call)
            if reason is None:
                return BACKENDS[name]
            if not torch.compiler.is_compiling():  # a log record would split the graph
                _log.debug("backend %s passed over: %s", name, reason)
    if backend not in BACKENDS:
        raise ValueError(f"backend={backend!r}; taken are auto, {', '.join(BACKENDS)}")
    reason = BACKENDS[backend].reason(call)
    if reason is not None:
        raise BackendUnavailable(f"backend={backend!r}: {reason}; {BACKENDS[backend].remedy}")
    return BACKENDS[backend]
