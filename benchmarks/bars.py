"""Bars: what this version must reach on two CPU cores, measured by the harness, and some figures without a bar."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from arasfsr.images.transform import read_rgb
from arasfsr.training.config import DataConfig
from arasfsr.training.data import Photograph, Samples
from benchmarks.cases import Case
from benchmarks.contestants import Contestant
from benchmarks.memory import Peak
from benchmarks.run import CASE_SECONDS, measure_case
from benchmarks.session import ContestantFailed, LocalSession, ProcessSession, Sample
from benchmarks.timing import timed

CPU = torch.device("cpu")
FACE = str(Path(__file__).parents[1] / "arasfsr" / "assets" / "sample.png")
SIDE, IMAGES, BATCH = 128, 200, 16  # of the data suite: the images' side, how many, and samples a batch
COUNT = 1000  # samples or files of a timed run

Run = Callable[[int], object]
"""The timed call; takes the number of the turn."""


class Plain:
    """A session without a gate; `make` returns the timed call."""

    def __init__(self, make: Callable[..., Run], *arguments: Any) -> None:
        self._run = make(*arguments)
        self._peak: Peak | None = None

    def judge(self) -> list[dict[str, Any]]:
        return []

    def time(self, turn: int) -> Sample:
        self._peak = self._peak or Peak(CPU)
        return Sample(timed(partial(self._run, turn), CPU), self._peak.above())

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Bar:
    """A measurement and what it must reach; each contestant runs in its own process."""

    title: str
    unit: str  # ratio (of the literal method's time to ours), seconds, bytes or per_second
    limit: float | None
    make: Mapping[str, tuple[Any, ...]]  # by contestant what ProcessSession takes

    @property
    def suite(self) -> str:
        return "data" if self.unit == "per_second" else "bars"

    def measure(self, seconds: float = CASE_SECONDS) -> dict[str, Any]:
        """Judge and time the contestants in turn; the row of the results. Raises ContestantFailed."""
        sessions = {name: partial(ProcessSession, *given) for name, given in self.make.items()}
        return self.figures(measure_case(sessions, lambda name, row: None, seconds))

    def figures(self, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        if failed := "; ".join(f"{name}: {row['error']}" for name, row in rows.items() if row["error"]):
            raise ContestantFailed(failed)
        samples = {name: row["samples_s"] for name, row in rows.items()}
        medians = {name: statistics.median(each) for name, each in samples.items()}
        found: dict[str, Any] = {"gates": {name: row["gate"] for name, row in rows.items()}, "samples_s": samples}
        if self.unit == "ratio":
            found |= {"ratio": medians["reference"] / medians["tiled"], "median_s": medians}
        elif self.unit == "seconds":
            (found["seconds"],) = medians.values()
        elif self.unit == "bytes":
            found["bytes"] = max(peak for row in rows.values() for peak in row["peaks_bytes"] if peak is not None)
        else:
            rates = [COUNT / seconds for each in samples.values() for seconds in each]
            found |= {"per_second": statistics.median(rates), "rates": rates, "load": os.getloadavg()[0]}
        return found | ({} if self.limit is None else {"bar": self.limit})


def command(*arguments: str) -> Run:
    """`arasfsr` in a new process."""
    folder = tempfile.TemporaryDirectory()

    def run(turn: int) -> None:
        whole = [sys.executable, "-m", "arasfsr", *arguments, "-o", f"{folder.name}/out.png"]
        subprocess.run(whole, check=True, capture_output=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})

    return run


def upscale(size: str) -> Run:
    """`arasfsr upscale` in this process."""
    from arasfsr.cli import app

    folder = tempfile.TemporaryDirectory()
    torch.rand(8, 8) @ torch.rand(8, 8)  # the library's own start-up

    def run(turn: int) -> None:
        try:
            app(["upscale", FACE, "--size", size, "-o", f"{folder.name}/out-{turn}.png"])
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"arasfsr upscale ended with status {end.code}") from end

    return run


def faces(count: int) -> Iterator[Image.Image]:
    """Smooth pictures with a little noise."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).astype(np.int16)
        yield Image.fromarray((smooth + rng.integers(-4, 5, smooth.shape)).clip(0, 255).astype(np.uint8))


def each(make: Callable[[int], object], count: int) -> Run:
    """Makes `count` in a run, others in each turn, after a batch to warm up."""
    for k in range(BATCH):
        make(k)
    return lambda turn: [make(k) for k in range(turn * count, (turn + 1) * count)]


def samples(config: DataConfig, count: int = COUNT, images: int = IMAGES) -> Run:
    """Training samples, as one worker makes them."""
    photographs = [Photograph.of(Path(f"{i}.png"), face) for i, face in enumerate(faces(images))]
    return each(Samples(photographs, config, BATCH, 0, 1 << 30).__getitem__, count)


def decoding(suffix: str, count: int = COUNT, images: int = IMAGES) -> Run:
    """Image files, decoded."""
    folder = tempfile.TemporaryDirectory()
    for i, face in enumerate(faces(images)):
        face.save(f"{folder.name}/{i}{suffix}")
    return each(lambda k: read_rgb(Path(folder.name, f"{k % images}{suffix}")), count)


def _bar(title: str, unit: str, limit: float | None, what: Case | Callable[..., Run], *given: Any) -> Bar:
    if not isinstance(what, Case):
        return Bar(title, unit, limit, {"alone": (Plain, what, *given)})
    names = ("reference", "tiled") if unit == "ratio" else ("tiled",)
    return Bar(title, unit, limit, {n: (LocalSession, what, Contestant(n, what.dtype, n), CPU) for n in names})


QUERY, TRAIN = "query path, 64 x 64 to 256 x 256", "forward + backward, 16 images x 1,024 queries"
SQUARE = Case("query", "full", (64, 64), (256, 256), 1, "float32")
STEP = Case("train", "full", (32, 32), (32, 32), 16, "float32", scattered=True)
LARGE = Case("train", "full", (64, 64), (512, 512), 1, "float32")
TINY = Case("end-to-end", "tiny", (64, 64), (256, 256), 1, "float32")
COLD = "`arasfsr upscale`, 64 x 64 to 256 x 256, cold start"
WHOLE = "samples that are whole pictures (`queries: null`)"

BARS = {
    "render-float32": _bar(f"{QUERY}, float32", "ratio", 3.0, SQUARE),
    "render-bfloat16": _bar(f"{QUERY}, bfloat16", "ratio", 6.0, replace(SQUARE, dtype="bfloat16")),
    "train-float32": _bar(f"{TRAIN}, float32", "ratio", 1.6, STEP),
    "train-bfloat16": _bar(f"{TRAIN}, bfloat16", "ratio", 3.0, replace(STEP, dtype="bfloat16")),
    "train-memory": _bar("forward + backward of 512 x 512 queries", "bytes", 1e9, LARGE),
    "tiny-render": _bar("`tiny`, 64 x 64 to 256 x 256", "seconds", 1.0, TINY),
    "upscale-cold": _bar(COLD, "seconds", 6.0, command, "upscale", FACE, "--scale", "4"),
    "upscale-memory": _bar("`arasfsr upscale`, 64 x 64 to 8192 x 8192", "bytes", 1.5e9, upscale, "8192x8192"),
    "samples": _bar("samples of 1,024 queries, whole faces", "per_second", 300.0, samples, DataConfig()),
    "samples-patches": _bar("the same, 30% of them patches", "per_second", 300.0, samples, DataConfig(whole=0.7)),
    "samples-whole-pictures": _bar(WHOLE, "per_second", 300.0, samples, DataConfig(queries=None)),
    "decode-png": _bar("PNG files decoded", "per_second", None, decoding, ".png"),
    "decode-jpg": _bar("JPEG files decoded", "per_second", None, decoding, ".jpg"),
}
