"""Which backend serves a call."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from arasfsr.errors import BackendUnavailable
from arasfsr.query import cuda, reference, tiled, triton
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


BACKENDS = {
    "reference": Backend(reference.run, _always, ""),
    "tiled": Backend(tiled.run, _always, ""),
    "triton": Backend(triton.run, triton.reason, triton.REMEDY),
    "cuda": Backend(cuda.run, cuda.reason, cuda.REMEDY),
}
"""Every backend, by name."""

AUTO_ORDER = ("triton", "tiled", "reference")
"""What "auto" tries, fastest first; cuda is not among them before a GPU has run its kernels."""

DEFAULT = "ARASFSR_BACKEND"
"""The environment variable that names what backend="auto" stands for."""


def backends() -> dict[str, str | None]:
    """Every backend with the reason why it cannot run on this machine, None where it can."""
    return {name: backend.reason(None) for name, backend in BACKENDS.items()}


def dispatch(call: QueryCall, backend: str = "auto") -> Tensor:
    """Decode a checked call with the named backend: (B, Q, 3).

    "auto" is what the environment's ARASFSR_BACKEND says, or else takes the fastest that supports the call and logs at
    DEBUG why it passed over others. A backend asked for by name, in either way, never falls back.

    Raises:
        ValueError: there is no such backend.
        BackendUnavailable: the backend asked for cannot serve the call.
    """
    chosen = _choose(call, backend)
    with torch.autocast(call.features.device.type, enabled=False):  # the call's dtype already follows autocast
        return chosen.run(call)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _default() -> str:
    return os.environ.get(DEFAULT) or "auto"


def _choose(call: QueryCall, backend: str) -> Backend:
    name, asked = backend, f"backend={backend!r}"
    if backend == "auto":
        name = _default()
        if name != "auto":
            asked = f"{DEFAULT}={name}"
    if name == "auto":
        for candidate in AUTO_ORDER:
            reason = BACKENDS[candidate].reason(call)
            if reason is None:
                return BACKENDS[candidate]
            if not torch.compiler.is_compiling():  # a log record would split the graph
                _log.debug("backend %s passed over: %s", candidate, reason)
    if name not in BACKENDS:
        raise ValueError(f"{asked}; taken are auto, {', '.join(BACKENDS)}")
    reason = BACKENDS[name].reason(call)
    if reason is not None:
        raise BackendUnavailable(f"{asked}: {reason}; {BACKENDS[name].remedy}")
    return BACKENDS[name]
