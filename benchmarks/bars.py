"""What this version must reach, measured: the tiled query path beside the literal one, training, the command line."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from arasfsr import ImplicitSR
from arasfsr.model import Encoding
from arasfsr.testing import relative_error
from benchmarks.ceilings import TORCH_DTYPES
from benchmarks.gate import Verdict, limit
from benchmarks.memory import fresh_process
from benchmarks.timing import interleave

SAMPLE = Path(__file__).parents[1] / "arasfsr" / "assets" / "sample.png"


def full_model() -> ImplicitSR:
    """ARASFSR in the paper's size with seeded weights."""
    torch.manual_seed(0)
    return ImplicitSR().eval()


def check(encoding: Encoding, dtype: str) -> float:
    """The error of `tiled` on a sample of queries, skip left out; no speed is told of wrong results."""
    bare = Encoding(encoding.features, None, encoding.weights)
    coord, cell = torch.rand(1, 256, 2) * 2 - 1, torch.tensor([1 / 128, 1 / 128])
    with torch.no_grad():
        truth = bare.query(coord, cell, "reference", torch.float64)
        errors = {
            name: relative_error(bare.query(coord, cell, name, TORCH_DTYPES[dtype]), truth)
            for name in ("tiled", "reference")
        }
    Verdict("output", errors["tiled"], limit(dtype, errors["reference"])).require(f"tiled in {dtype}")
    return errors["tiled"]


def compare(seconds: dict[str, list[float]], bar: float, error: float) -> dict[str, Any]:
    """Medians, their ratio and all samples."""
    medians = {name: statistics.median(samples) for name, samples in seconds.items()}
    ratio = medians["reference"] / medians["tiled"]
    return {"ratio": ratio, "bar": bar, "median_s": medians, "samples_s": seconds, "error_tiled": error}


def _render(dtype: str, bar: float) -> Callable[[int], dict[str, Any]]:
    def case(repetitions: int) -> dict[str, Any]:
        with torch.no_grad():
            encoding = full_model().encode(torch.rand(1, 3, 64, 64) * 2 - 1)
            error = check(encoding, dtype)
            runs: dict[str, Callable[[], object]] = {
                name: lambda name=name: encoding.render((256, 256), None, name, TORCH_DTYPES[dtype])  # type: ignore[misc]
                for name in ("reference", "tiled")
            }
            return compare(interleave(runs, repetitions), bar, error)

    return case


def _train(dtype: str, bar: float) -> Callable[[int], dict[str, Any]]:
    def case(repetitions: int) -> dict[str, Any]:
        model = full_model()
        with torch.no_grad():
            encoding = model.encode(torch.rand(16, 3, 32, 32) * 2 - 1)
        error = check(encoding, dtype)
        features = encoding.features.requires_grad_()
        coord, cell = torch.rand(16, 1024, 2) * 2 - 1, torch.rand(16, 1024, 2) * 0.02 + 0.01
        upstream = torch.randn(16, 1024, 3)
        leaf = Encoding(features, encoding.image, model.decoder.weights())

        def step(name: str) -> None:
            leaf.query(coord, cell, name, TORCH_DTYPES[dtype]).backward(upstream)

        runs: dict[str, Callable[[], object]] = {
            name: lambda name=name: step(name)  # type: ignore[misc]
            for name in ("reference", "tiled")
        }
        return compare(interleave(runs, repetitions), bar, error)

    return case


_TRAIN_MEMORY = """
import torch
from arasfsr import ImplicitSR
from arasfsr.coords import make_cell, make_coord
side = int(sys.argv[1])
model = ImplicitSR()
inp, upstream = torch.rand(1, 3, 64, 64) * 2 - 1, torch.ones(1, side * side, 3)
coord, cell = make_coord((side, side)).unsqueeze(0), make_cell((side, side))
def step(queries):
    model(inp, coord[:, :queries], cell, backend="tiled").backward(upstream[:, :queries])
step(2048)  # the model, its gradients and the library's own start-up
before = peak()
step(side * side)
print(before, peak())
"""

_UPSCALE_MEMORY = """
import torch
from arasfsr.cli import app
torch.rand(8, 8) @ torch.rand(8, 8)
before = peak()
try:
    app(["upscale", sys.argv[1], "--size", sys.argv[2], "-o", sys.argv[3]])
except SystemExit as end:
    assert not end.code
print(before, peak())
"""


def train_memory(repetitions: int) -> dict[str, Any]:
    """Peak memory above the model's of a training step over whole pictures, by their side."""
    above = {}
    for side in (256, 512):
        before, after = fresh_process(_TRAIN_MEMORY, str(side))
        above[str(side)] = after - before
    return {"bytes": above["512"], "bar": 10**9, "by_side": above}


def upscale_memory(repetitions: int) -> dict[str, Any]:
    """Peak memory above the interpreter's own of `arasfsr upscale` from the sample to 8192 x 8192."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        before, after = fresh_process(_UPSCALE_MEMORY, str(SAMPLE), "8192x8192", str(Path(folder) / "out.png"))
        seconds = time.perf_counter() - start
    return {"bytes": after - before, "bar": 1_500_000_000, "seconds": seconds, "interpreter_bytes": before}


def upscale_cold(repetitions: int) -> dict[str, Any]:
    """Seconds of `arasfsr upscale` of the sample, 64 x 64 to 256 x 256, from start to end of the process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "arasfsr", "upscale", str(SAMPLE), "--scale", "4"]
        command += ["-o", str(Path(folder) / "out.png")]

        def run() -> None:
            subprocess.run(command, check=True, capture_output=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})

        seconds = interleave({"upscale": run}, repetitions)["upscale"]
    return {"seconds": statistics.median(seconds), "bar": 6.0, "samples_s": seconds}


def tiny_render(repetitions: int) -> dict[str, Any]:
    """Seconds of the bundled model from 64 x 64 to 256 x 256, the model being loaded."""
    from arasfsr import load_model

    model = load_model("tiny")
    image = torch.rand(1, 3, 64, 64)
    runs: dict[str, Callable[[], object]] = {"tiny": lambda: model.upscale(image, size=(256, 256))}
    seconds = interleave(runs, repetitions)["tiny"]
    return {"seconds": statistics.median(seconds), "bar": 1.0, "samples_s": seconds}


CASES: dict[str, Callable[[int], dict[str, Any]]] = {
    "render-float32": _render("float32", 3.0),
    "render-bfloat16": _render("bfloat16", 6.0),
    "train-float32": _train("float32", 1.6),
    "train-bfloat16": _train("bfloat16", 3.0),
    "train-memory": train_memory,
    "tiny-render": tiny_render,
    "upscale-cold": upscale_cold,
    "upscale-memory": upscale_memory,
}
"""Every case by name; each takes the number of repetitions and gives its figures and its bar."""
