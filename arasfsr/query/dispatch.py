"""Which backend serves a call."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from arasfsr.errors import BackendUnavailable
from arasfsr.query import baselines, reference, tiled, triton
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


def _with_baselines(run: Callable[[QueryCall], Tensor], run_baseline: Callable[[QueryCall], Tensor]) -> Backend:
    """A backend that serves every call, those of the baselines' decoders by a function of their own."""
    return Backend(lambda call: (run if call.weights.name == "mlp" else run_baseline)(call), _always, "")


def _without_baselines(backend: Backend) -> Backend:
    """The same backend, refusing the baselines' decoders whatever the machine."""

    def reason(call: QueryCall | None) -> str | None:
        if call is not None and call.weights.name != "mlp":
            return f"a decoder of the kind {call.weights.name!r}, it takes 'mlp'"
        return backend.reason(call)

    return replace(backend, reason=reason)


BACKENDS = {
    "reference": _with_baselines(reference.run, baselines.run_reference),
    "tiled": _with_baselines(tiled.run, baselines.run_tiled),
    "triton": _without_baselines(Backend(triton.run, triton.reason, triton.REMEDY)),
    "cuda": _without_baselines(_missing("CUDA")),
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
