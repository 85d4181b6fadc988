"""What kernels a GPU would be asked for, found on the CPU: launches as `tools.kernels.variants.Variant`.

As a plugin (tests/conftest.py, if ARASFSR_LAUNCHES names a file) this records during a run in Triton's interpreter what
the same calls would launch on a GPU, and writes that file.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fused_backends import DTYPES
from golden_set import COMMITTED, GOLDEN_NAMES
from torch.overrides import TorchFunctionMode

from arasfsr.query.fused.triton_launch import TritonLauncher
from tools.gpu import plan
from tools.kernels.listed import CAPABILITY
from tools.kernels.variants import Listing, Variant

FILE = "ARASFSR_LAUNCHES"
"""The environment variable that names the file."""

DRAWN = "test_any_shape"
"""A test of random shapes, whose kernels cannot be listed."""

LAUNCHING = ("render", "keep", "content_gradients", "add_weight_gradients")
"""The launcher's methods that launch kernels."""

_LAUNCH = TritonLauncher._launch
_found: dict[Variant, None] = {}


@pytest.fixture(autouse=True)
def _launches_of_a_gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In those tests that the GPU run has, every launch is also listed as for a GPU."""
    parameters = request.node.callspec.params.values() if hasattr(request.node, "callspec") else ()
    elsewhere = {*GOLDEN_NAMES} - COMMITTED  # golden cases that a GPU machine does not have
    if (
        request.node.path.relative_to(request.config.rootpath).as_posix() not in plan.TESTS
        or request.node.originalname == DRAWN
        or any(value in elsewhere for value in parameters if isinstance(value, str))
    ):
        return
    for name in LAUNCHING:
        monkeypatch.setattr(TritonLauncher, name, _beside(getattr(TritonLauncher, name)))


def _beside(method: Callable[..., None]) -> Callable[..., None]:
    def both(launcher: TritonLauncher, *arguments: Any) -> None:
        if type(launcher) is TritonLauncher and TritonLauncher._launch is _LAUNCH:  # not where a test replaces it
            method(Listing(launcher.problem, CAPABILITY, _found), *arguments)
        method(launcher, *arguments)

    return both


def pytest_sessionfinish() -> None:
    Path(os.environ[FILE]).write_bytes(pickle.dumps([*_found]))


@contextlib.contextmanager
def as_on_a_gpu() -> Iterator[list[Variant]]:
    """Backend triton takes calls on the CPU as on a GPU of CAPABILITY; lists its launches without making them."""
    found: list[Variant] = []

    def start(launcher: TritonLauncher, kernel: Any, grid: tuple[int, ...], arguments: dict[str, Any]) -> None:
        found.append(Variant.of(kernel, arguments, CAPABILITY))
        for name in ("out", "lr_rows"):  # what is compared, and what is an index afterwards
            if arguments.get(name) is not None:
                arguments[name].zero_()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TritonLauncher, "_start", start)
        patch.setattr(TritonLauncher, "_capability", lambda launcher: CAPABILITY)
        patch.setattr("arasfsr.query.fused.triton.interpreted", lambda: True)
        patch.setattr("arasfsr.query.fused.triton.interpreter_reason", lambda: None)
        yield found


class CudaIsCpu(TorchFunctionMode):
    """Calls for a CUDA device run on the CPU."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        def moved(value: Any) -> Any:
            return torch.device("cpu") if value in ("cuda", torch.device("cuda")) else value

        args = [moved(arg) if isinstance(arg, str | torch.device) else arg for arg in args]
        named = {n: moved(arg) if isinstance(arg, str | torch.device) else arg for n, arg in (kwargs or {}).items()}
        return func(*args, **named)


def of_device_tests() -> list[Variant]:
    """What tests/query/test_cuda_device.py launches, which does not run in the interpreter."""
    import test_cuda_device

    def nothing(*arguments: Any) -> None:
        pass

    graph, stream = SimpleNamespace(replay=nothing), SimpleNamespace(wait_stream=nothing)
    stubs = {"CUDAGraph": lambda: graph, "Stream": lambda: stream, "current_stream": lambda: stream}
    stubs |= {"graph": contextlib.nullcontext, "stream": contextlib.nullcontext, "synchronize": nothing}
    with as_on_a_gpu() as found, pytest.MonkeyPatch.context() as patch, CudaIsCpu():
        for name, stub in stubs.items():
            patch.setattr(torch.cuda, name, stub)
        for name, test in inspect.getmembers(test_cuda_device, inspect.isfunction):
            if name.startswith("test_") and [*inspect.signature(test).parameters] == ["fused", "dtype"]:
                for dtype in DTYPES["triton"]:
                    test("triton", dtype)
    return found
