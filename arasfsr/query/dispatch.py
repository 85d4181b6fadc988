"""Which backend serves a call."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from arasfsr.errors import BackendUnavailable
from arasfsr.query import baselines, proven, reference
from arasfsr.query.call import QueryCall
from arasfsr.query.fused import cuda, triton
from arasfsr.query.fused.limits import constant
from arasfsr.query.tiled import operator as tiled

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
    "cuda": _without_baselines(Backend(cuda.run, cuda.reason, cuda.REMEDY)),
}
"""Every backend, by name."""

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
        ValueError: there is no such backend.
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
    name, asked = backend, f"backend={backend!r}"
    if backend == "auto":
        name = _default()
        if name != "auto":
            asked = f"{DEFAULT}={name}"
    if name == "auto":
        order = _order(call)
        for candidate in (*order, *(name for name in FUSED if name not in order)):
            reason = BACKENDS[candidate].reason(call)
            if reason is None and candidate in order:
                return BACKENDS[candidate]
            if not torch.compiler.is_compiling():  # a log record would split the graph
                _log.debug("backend %s passed over: %s", candidate, reason or UNPROVEN)
        return BACKENDS["tiled"]
    if name not in BACKENDS:
        raise ValueError(f"{asked}; taken are auto, {', '.join(BACKENDS)}")
    reason = BACKENDS[name].reason(call)
    if reason is not None:
        raise BackendUnavailable(f"{asked}: {reason}; {BACKENDS[name].remedy}")
    return BACKENDS[name]
