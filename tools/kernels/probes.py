"""Is a kernel right? The smallest problems that show it, compared with float64, in memory that was full of NaN.

`python -m tools.kernels.probes NAME` judges what `named` says, for a sanitizer around it.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from arasfsr import ImplicitSR
from arasfsr.config import DecoderConfig, EncoderConfig, FrequencyConfig, ModelConfig
from arasfsr.coords import make_cell, make_coord
from arasfsr.nn.decoders.mlp import MLPWeights
from arasfsr.testing import keep_signal
from benchmarks.ceilings import precision
from benchmarks.contestants import Contestant, Decode, decoder, gradients
from benchmarks.gate import Verdict, judge_gradients, judge_output, sampled_upstream
from benchmarks.workload import Inputs
from tools.gpu.plan import WIDTH

REPEATS = 20
"""Runs of the first draw, which must give the same bits."""


@dataclass(frozen=True)
class Probe:
    """One small problem."""

    queries: int
    """Per image; 0 renders GRID."""
    images: int = 1
    own: bool = False
    """Every image has its own coordinates, and every query its own cell."""
    modulated: bool = True
    lr: tuple[int, int] = (5, 3)

    @property
    def name(self) -> str:
        queries = f"{self.queries} queries" if self.queries else "grid"
        parts = [queries, f"{self.images} images", "own" if self.own else "shared"]
        return ", ".join(parts if self.modulated else [*parts, "plain"])


GRID = (12, 8)
"""Height and width. Even sides over odd LR sides keep queries off the boundaries between LR cells, where backends may
differ."""

PROBES = (
    Probe(0),
    *(Probe(queries) for queries in (1, 64, 65, 257)),
    *(Probe(queries, images=2, own=True) for queries in (1, 65, 257)),
    Probe(257, images=3),
    Probe(257, modulated=False),
    Probe(0, modulated=False),
    Probe(20_000, images=2, lr=(32, 24)),
)
"""The smallest first; the last fills the machine more than once."""

SMALL = 9
"""The first of them, which are small enough for a sanitizer."""

FEWEST_IN_TF32 = 257
"""With fewer queries torch does not use TF32 for its own float32 products, by which TF32's errors are judged."""


def probes(dtype: str) -> Iterator[Probe]:
    """Those that can be judged in that dtype."""
    return (probe for probe in PROBES if dtype != "tf32" or probe.queries * probe.images >= FEWEST_IN_TF32)


def named(name: str) -> list[tuple[str, int, str, Probe]]:
    """The probe of that name in probes.json, such as "cuda 256 bfloat16: grid, 1 images, shared", with backend, width
    and dtype. Without the part after the colon all probes of the kernel; of a backend alone small ones in bfloat16."""
    kernel, _, wanted = name.partition(": ")
    backend, *rest = kernel.split()
    if not rest:
        return [(backend, width, "bfloat16", probe) for width in (WIDTH, 64) for probe in PROBES[:SMALL]]
    width, dtype = rest
    return [(backend, int(width), dtype, probe) for probe in probes(dtype) if wanted in ("", probe.name)]


def _model(width: int, probe: Probe, device: torch.device) -> ImplicitSR:
    torch.manual_seed(probe.queries)
    config = ModelConfig(
        encoder=EncoderConfig(blocks=1),
        frequency=FrequencyConfig(width=16, blocks=1),
        decoder=DecoderConfig(width=width, modulated=probe.modulated),
    )
    model = ImplicitSR(config).eval()
    keep_signal(model.decoder)
    return model.to(device)


def _inputs(probe: Probe, channels: int, device: torch.device, draw: int) -> Inputs:
    """Random, but the same at every call."""
    generator = torch.Generator().manual_seed(1000 * draw + probe.queries + 1)

    def uniform(*shape: int) -> Tensor:
        return (torch.rand(shape, generator=generator) * 2 - 1).to(device)

    h, w = probe.lr
    features = torch.randn(probe.images, channels, h, w, generator=generator).to(device).requires_grad_()
    queries = probe.queries or GRID[0] * GRID[1]
    coord = uniform(probe.images if probe.own else 1, queries, 2)
    cell = uniform(probe.images, queries, 2).abs() * 0.1 if probe.own else make_cell(GRID, device).view(1, 1, 2)
    if not probe.queries:
        coord = make_coord(GRID, device).unsqueeze(0)
    upstream = torch.randn(probe.images, queries, 3, generator=generator).to(device)
    return Inputs(features, uniform(probe.images, 3, h, w), coord, cell, upstream, None if probe.queries else GRID)


@contextlib.contextmanager
def poisoned_memory() -> Iterator[None]:
    """Every torch.empty is full of NaN, so that an element that no kernel writes shows."""
    torch.use_deterministic_algorithms(True)  # which also fills uninitialised memory
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


DRAWS = 9
"""Random inputs per probe; errors and limits are medians over them. A single draw may mislead: with few queries any
error is chance, and among many there is a ReLU whose input is so near 0 that float32 rounds to the other side."""

SAMPLE = 64
"""Queries of a draw whose gradients are judged."""


def judge(
    probe: Probe, backend: str, width: int, dtype: str, device: torch.device, draws: int = DRAWS, repeats: int = REPEATS
) -> dict[str, Any]:
    """A row for a backend's kernels: verdicts of output and gradients, and whether runs repeat bitwise."""
    model = _model(width, probe, device)
    found = [_judge_draw(model, probe, backend, dtype, device, draw, 1 if draw else repeats) for draw in range(draws)]
    verdicts = [_median([verdicts[which] for verdicts, _, _ in found]) for which in range(2)]
    same, same_gradients = (all(draw[which] for draw in found) for which in (1, 2))
    return {
        "verdicts": [asdict(verdict) | {"ok": verdict.ok} for verdict in verdicts],
        "bitwise": same,
        "bitwise_gradients": same_gradients,
        "ok": all(verdict.ok for verdict in verdicts) and same and same_gradients,
    }


def _median(verdicts: list[Verdict]) -> Verdict:
    cosines = [verdict.cosine for verdict in verdicts if verdict.cosine is not None]
    error, limit = statistics.median(v.error for v in verdicts), statistics.median(v.limit for v in verdicts)
    return Verdict(verdicts[0].quantity, error, limit, min(cosines) if cosines else None)


def _judge_draw(
    model: ImplicitSR, probe: Probe, backend: str, dtype: str, device: torch.device, draw: int, repeats: int
) -> tuple[list[Verdict], bool, bool]:
    """Verdicts of output and gradients, and whether each repeats bitwise."""
    weights, inputs = model.decoder.weights(), _inputs(probe, model.config.feature_channels, device, draw)
    assert isinstance(weights, MLPWeights)
    decode: Decode = decoder(Contestant(backend, dtype, backend), device, training=False)
    upstream = sampled_upstream(inputs, SAMPLE)
    with precision(dtype):
        with poisoned_memory():
            out = decode(inputs, weights)
            found = gradients(out, inputs, weights, upstream)
            outputs = [decode(inputs, weights) for _ in range(repeats)]
            again = [gradients(each, inputs, weights, upstream) for each in outputs[:3]]
        verdicts = [judge_output(out, inputs, weights, dtype), judge_gradients(found, inputs, weights, dtype, SAMPLE)]
    same = all(torch.equal(out, each) for each in outputs)
    return verdicts, same, all(torch.equal(a, b) for each in again for a, b in zip(each, found, strict=True))


def main(name: str) -> int:
    """Judge the probes of that name; returns how many were not right, or 1 if there are none."""
    chosen, wrong = named(name), 0
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for backend, width, dtype, probe in chosen:
        print(f"{backend} {width} {dtype}: {probe.name} ...", flush=True)
        found = judge(probe, backend, width, dtype, device, draws=1, repeats=1)
        print("right" if found["ok"] else f"not right: {found}", flush=True)
        wrong += not found["ok"]
    if not chosen:
        print(f"no probe is named {name!r}; there are {'; '.join(probe.name for probe in PROBES)}")
    return wrong if chosen else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
