"""How a run is asked to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""What asks a run to stop."""


class Interrupted(Exception):
    """A signal asked the run to stop; its checkpoint is written. `signum` is the signal."""

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name} after step {step}; go on with --resume")
        self.signum = signum


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """SIGTERM and SIGINT land in the list instead of ending the process; a second one ends it."""
    received: list[int] = []
    previous: dict[int, Any] = {}

    def note(signum: int, frame: Any) -> None:
        received.append(signum)
        signal.signal(signum, previous[signum])

    for signum in map(int, SIGNALS):
        previous[signum] = signal.signal(signum, note)
    try:
        yield received
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def leave_signals_to_the_run(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the samples' workers end with the run, after its checkpoint."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
