"""Hooks and fixtures of all tests; helpers are in tests/support."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator

import pytest
import torch
from golden_set import GOLDEN, GOLDEN_NAMES, VARIABLE
from models import BASELINES, SMALL, small_model

from arasfsr import ImplicitSR

torch.backends.cudnn.allow_tf32 = False  # or encoders would err on a GPU, at whose features tests look

if "ARASFSR_LAUNCHES" in os.environ:
    pytest_plugins = ["launches"]


def pytest_configure() -> None:
    if not GOLDEN_NAMES:
        raise pytest.UsageError(f"{VARIABLE} must be a folder with golden cases (*.pth), got {GOLDEN}")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell starts what runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # or what tests start would ignore it, too


def pytest_report_header() -> str:
    """Which golden set is used."""
    return f"golden set: {GOLDEN} ({len(GOLDEN_NAMES)} cases; {VARIABLE} names another folder)"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out tests without a case: of a dtype that no fused backend of this process takes, say."""
    empty = [item for item in items if any("empty parameter set" in str(mark) for mark in item.iter_markers("skip"))]
    if empty:
        config.hook.pytest_deselected(items=empty)
        items[:] = [item for item in items if item not in empty]


@pytest.fixture(autouse=True)
def no_log_to_a_closed_stream() -> Iterator[None]:
    """The command line logs to the stderr of its time, which a test of it has closed at its end."""
    yield
    for handler in list(logging.getLogger().handlers):
        if isinstance(handler, logging.StreamHandler) and getattr(handler.stream, "closed", False):
            logging.getLogger().removeHandler(handler)


@pytest.fixture(autouse=True)
def _padded(request: pytest.FixtureRequest) -> Iterator[None]:
    """Backend cuda pads rows as the test's mark says."""
    mark = request.node.get_closest_marker("rows")
    with pytest.MonkeyPatch.context() as patch:
        if mark is not None:
            patch.setattr("arasfsr.query.fused.cuda_launch.NARROWEST", mark.args[0])
            patch.setattr("arasfsr.query.fused.cuda_launch.CudaLauncher.narrowest", mark.args[0])
        yield


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test draws the same numbers, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(params=[*SMALL, *BASELINES])
def model(request: pytest.FixtureRequest) -> ImplicitSR:
    """A small model of each switch and each other decoder."""
    return small_model(request.param)


@pytest.fixture(params=["reference", "tiled"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend that runs without a GPU."""
    return str(request.param)
