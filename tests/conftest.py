"""What several test files share: golden cases, small models, error measures."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from arasfsr import DecoderConfig, EncoderConfig, FrequencyConfig, ImplicitSR, ModelConfig
from arasfsr.model import Encoding
from arasfsr.query import BACKENDS
from arasfsr.query.fused import cuda, triton
from arasfsr.testing import keep_signal, relative_rms

_SHARED = Path(__file__).parents[2] / "shared" / "golden"
GOLDEN = _SHARED if _SHARED.is_dir() else Path(__file__).parent / "golden"
"""The whole golden set where it lies beside the checkout, else the small committed one."""

COMMITTED = {path.stem for path in (Path(__file__).parent / "golden").glob("*.pth")}
"""The small set's cases."""

GOLDEN_NAMES = sorted(path.stem for path in GOLDEN.glob("*.pth"))
"""The golden cases: asfsr* and the baselines."""

FUSED = [name for name in ("triton", "cuda") if BACKENDS[name].reason(None) is None]
"""The fused backends that run here: on a CUDA device, in Triton's interpreter or in the native core's emulation. Where
one does not, test_interpreter.py or test_emulation.py runs its tests in a process of their own, on the CPU."""

ON_HOST = triton.interpreted() or cuda.emulated()
"""Whether this is such a process."""

ROWS = os.environ.get("ARASFSR_TEST_ROWS")
"""Where set, the cuda backend pads its rows at least to that length: to reach a kernel whatever a model's width is."""

CUDA_ROWS = (int(ROWS),) if ROWS else (64,) if ON_HOST else (64, 256)
"""The lengths that its tests run with: on a GPU the portable kernels' and that of compute capability 9.0's."""

torch.backends.cudnn.allow_tf32 = False  # or encoders would err on a GPU, at whose features tests look

_FUSED_TESTS = ["test_fused.py", "test_fused_shapes.py", "test_fused_tf32.py"]
_OWN_PROCESS = {"triton": "test_interpreter.py", "cuda": "test_emulation.py"}
collect_ignore = [file for name, file in _OWN_PROCESS.items() if ON_HOST or name in FUSED]
collect_ignore += [] if FUSED else _FUSED_TESTS
collect_ignore += [] if "cuda" in FUSED else ["test_fused_cuda.py"]
collect_ignore += [] if torch.cuda.is_available() else ["test_cuda_device.py"]

if "ARASFSR_LAUNCHES" in os.environ:
    pytest_plugins = ["launches"]


@pytest.fixture(autouse=True)
def no_log_to_a_closed_stream() -> Iterator[None]:
    """The command line logs to the stderr of its time, which a test of it has closed at its end."""
    yield
    for handler in list(logging.getLogger().handlers):
        if isinstance(handler, logging.StreamHandler) and getattr(handler.stream, "closed", False):
            logging.getLogger().removeHandler(handler)


DTYPES = {"triton": triton.DTYPES, "cuda": cuda.DTYPES}
"""What each fused backend computes in."""


def _fused(name: str, *more: object) -> list[Any]:
    """A fused backend and what else is given, for each length of rows that its tests run with."""
    short = [str(each).removeprefix("torch.") for each in more]
    if name != "cuda":
        return [pytest.param(name, *more, id="-".join((name, *short)))]
    return [
        pytest.param(name, *more, id="-".join((f"cuda{rows}", *short)), marks=pytest.mark.rows(rows))
        for rows in CUDA_ROWS
    ]


def _cases(dtypes: Callable[[str], Iterable[torch.dtype]]) -> list[Any]:
    return [case for name in FUSED for dtype in dtypes(name) for case in _fused(name, dtype)]


@pytest.fixture(autouse=True)
def _padded(request: pytest.FixtureRequest) -> Iterator[None]:
    """Backend cuda pads rows as the test's mark says."""
    mark = request.node.get_closest_marker("rows")
    with pytest.MonkeyPatch.context() as patch:
        if mark is not None:
            patch.setattr("arasfsr.query.fused.cuda_launch.NARROWEST", mark.args[0])
            patch.setattr("arasfsr.query.fused.cuda_launch.CudaLauncher.narrowest", mark.args[0])
        yield


each_fused = pytest.mark.parametrize("fused", [case for name in FUSED for case in _fused(name)])
"""A fused backend."""


each_dtype = pytest.mark.parametrize(("fused", "dtype"), _cases(lambda name: DTYPES[name]))
"""A fused backend and each dtype that it takes."""

half_only = pytest.mark.parametrize(
    ("fused", "dtype"), _cases(lambda name: [] if torch.float32 in DTYPES[name] else DTYPES[name])
)
"""A fused backend that does not compute in float32, and each dtype that it takes."""

finest_dtype = pytest.mark.parametrize(
    ("fused", "dtype"), _cases(lambda name: [min(DTYPES[name], key=lambda dtype: torch.finfo(dtype).eps)])
)
"""A fused backend and the dtype in which an error of its own shows best."""

refused_dtype = pytest.mark.parametrize(
    ("fused", "dtype"),
    _cases(lambda name: [dtype for dtype in (torch.float64, torch.float32) if dtype not in DTYPES[name]]),
)
"""A fused backend and each dtype that others take but not this one."""

SMALL = {
    "arasfsr": ModelConfig(
        encoder=EncoderConfig(blocks=1, features=6),
        frequency=FrequencyConfig(channels=3, width=4, blocks=1),
        decoder=DecoderConfig(width=12, layers=3),
    ),
    "without frequency": ModelConfig(
        encoder=EncoderConfig(blocks=1, features=6), frequency=None, decoder=DecoderConfig(width=12, layers=2)
    ),
    "without modulation": ModelConfig(
        encoder=EncoderConfig(blocks=1, features=6),
        frequency=FrequencyConfig(channels=3, width=4, blocks=1),
        decoder=DecoderConfig(width=12, layers=3, modulated=False),
    ),
    "without skip": ModelConfig(
        encoder=EncoderConfig(blocks=1, features=6), frequency=None, decoder=DecoderConfig(width=8), skip=False
    ),
    "one layer": ModelConfig(
        encoder=EncoderConfig(blocks=0, features=5), frequency=None, decoder=DecoderConfig(width=7, layers=1)
    ),
    "liif": ModelConfig.liif(EncoderConfig(blocks=1, features=6), width=12),
}
"""One small configuration for each switch of the MLP."""

BASELINES = {
    "lte": ModelConfig.lte(EncoderConfig(blocks=1, features=6), width=12, layers=2, waves=10),
    "diinn": ModelConfig.diinn(EncoderConfig(blocks=1, features=6), width=12, layers=3),
}
"""One small configuration for each other decoder."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out tests of no case: of a fused backend where none runs, of a dtype that none here takes."""
    empty = [item for item in items if any("empty parameter set" in str(mark) for mark in item.iter_markers("skip"))]
    if empty:
        config.hook.pytest_deselected(items=empty)
        items[:] = [item for item in items if item not in empty]


def small_model(name: str = "arasfsr", seed: int = 0) -> ImplicitSR:
    """A model of a SMALL or BASELINES configuration with seeded weights, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ImplicitSR((SMALL | BASELINES)[name]).eval()


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


FLOAT32_FUSED = [name for name in FUSED if torch.float32 in DTYPES[name]]
"""The fused backends that compute in float32."""


@pytest.fixture(params=["reference", "tiled", *(pytest.param(name, marks=pytest.mark.gpu) for name in FLOAT32_FUSED)])
def any_backend(request: pytest.FixtureRequest) -> str:
    """Each backend that computes in float32 here, the fused ones too."""
    return str(request.param)


def device_of(backend: str) -> torch.device:
    """Where a backend's tests run."""
    return torch.device("cuda" if backend in FUSED and torch.cuda.is_available() and not ON_HOST else "cpu")


def random_queries(batch: int, queries: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Coordinates and a cell for each query."""
    return torch.rand(batch, queries, 2, dtype=dtype) * 2 - 1, torch.rand(batch, queries, 2, dtype=dtype) * 0.1


def gradients(model: ImplicitSR, inp: Tensor, coord: Tensor, cell: Tensor, **options: object) -> list[Tensor]:
    """Gradients of a weighted sum of the output to image, coordinates, cells and every parameter."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in (inp, coord, cell)]
    out = model(*leaves, **options)
    weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype, device=out.device).view(out.shape)
    module = {name.removeprefix("_orig_mod."): parameter for name, parameter in model.named_parameters()}  # if compiled
    leaves += [parameter for name, parameter in module.items() if not name.startswith("frequency.")]
    return list(torch.autograd.grad((out * weight).sum(), leaves))


def mean_error(found: list[Tensor], truth: list[Tensor]) -> float:
    """Root mean square over the parameters of each one's relative RMS error, so that all count alike."""
    errors = torch.tensor([relative_rms(ours, exact) for ours, exact in zip(found, truth, strict=True)])
    return errors.square().mean().sqrt().item()


def fused_model(
    width: int = 48, layers: int = 3, modulated: bool = True, skip: bool = True, seed: int = 0
) -> ImplicitSR:
    """A model with a small encoder whose decoder keeps its signal."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = ModelConfig(
            encoder=EncoderConfig(blocks=1, features=6),
            frequency=FrequencyConfig(channels=3, width=4, blocks=1) if seed % 2 else None,
            decoder=DecoderConfig(width=width, layers=layers, modulated=modulated),
            skip=skip,
        )
        model = ImplicitSR(config).eval()
        keep_signal(model.decoder)
    return model


class Decode(nn.Module):
    """A model with the options of its call, which compilers and exporters take."""

    def __init__(self, model: ImplicitSR, **options: Any) -> None:
        super().__init__()
        self.model, self.options = model, options

    def forward(self, inp: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
        out: Tensor = self.model(inp, coord, cell, **self.options)
        return out


def without_skip(encoding: Encoding) -> Encoding:
    """The skip hides errors."""
    return Encoding(encoding.features, None, encoding.weights)


def fused_arguments(fused: str, batch: int = 2, queries: int = 70, lr: tuple[int, int] = (5, 7)) -> tuple[Tensor, ...]:
    device = device_of(fused)
    return tuple(part.to(device) for part in (torch.rand(batch, 3, *lr) * 2 - 1, *random_queries(batch, queries)))
