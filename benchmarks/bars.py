"""What this version must reach: cases of the harness with a bar, and what has none but is told beside them."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from arasfsr.training.config import DataConfig
from arasfsr.training.data import Photograph, Samples, read_rgb
from benchmarks.cases import Case
from benchmarks.contestants import Contestant
from benchmarks.memory import Peak
from benchmarks.run import CASE_SECONDS, measure_case
from benchmarks.session import LocalSession, ProcessSession, Sample, Session
from benchmarks.timing import timed

CPU = torch.device("cpu")
FACE = Path(__file__).parents[1] / "arasfsr" / "assets" / "sample.png"
SIDE, IMAGES, BATCH = 128, 200, 16  # of the data suite's images, and samples a batch
COUNT = 1000  # samples or files of a timed run

Run = Callable[[int], object]
"""What is timed, given its turn."""


class Plain:
    """A session of what has no gate; `make` gives what is timed."""

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
    """A measurement, and what it must reach; each contestant has a process of its own."""

    title: str
    unit: str  # ratio (of the literal method's time to ours), seconds, bytes or per_second
    limit: float | None
    make: Mapping[str, tuple[Any, ...]]  # by contestant what ProcessSession takes
    suite: str = "bars"

    def figures(self, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """The row of the results."""
        failed = {name: row["error"] for name, row in rows.items() if row["error"]}
        if failed:
            return {"error": failed}
        samples = {name: row["samples_s"] for name, row in rows.items()}
        medians = {name: statistics.median(each) for name, each in samples.items()}
        found: dict[str, Any] = {"gates": {name: row["gate"] for name, row in rows.items()}}
        (of,) = rows if self.unit != "ratio" else ("tiled",)
        if self.unit == "ratio":
            found |= {"ratio": medians["reference"] / medians[of], "median_s": medians, "samples_s": samples}
        elif self.unit == "per_second":
            rates = [COUNT / seconds for seconds in samples[of]]
            found |= {"per_second": statistics.median(rates), "rates": rates, "load": os.getloadavg()[0]}
        else:
            peaks = [peak for peak in rows[of]["peaks_bytes"] if peak is not None]
            value = medians[of] if self.unit == "seconds" else max(peaks, default=None)
            found |= {self.unit: value, "samples_s": samples[of]}
        return found | ({} if self.limit is None else {"bar": self.limit})


def measure(bar: Bar, seconds: float = CASE_SECONDS) -> dict[str, Any]:
    """Judge and time a bar's contestants in turn; the row of the results."""
    sessions: dict[str, Callable[[], Session]] = {
        name: partial(ProcessSession, *given) for name, given in bar.make.items()
    }
    return bar.figures(measure_case(sessions, lambda name, row: None, seconds))


def _case(title: str, unit: str, limit: float, case: Case) -> Bar:
    names = ("reference", "tiled") if unit == "ratio" else ("tiled",)
    return Bar(title, unit, limit, {n: (LocalSession, case, Contestant(n, case.dtype, n), CPU) for n in names})


def _command(*arguments: str) -> Run:
    """`arasfsr` in a process of its own."""
    folder = tempfile.TemporaryDirectory()
    command = [sys.executable, "-m", "arasfsr", *arguments, "-o", f"{folder.name}/out.png"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    return lambda turn, kept=folder: subprocess.run(command, check=True, capture_output=True, env=environment)  # type: ignore[misc]


def _upscale(size: str) -> Run:
    """`arasfsr upscale` in this process."""
    from arasfsr.cli import app

    folder = tempfile.TemporaryDirectory()
    torch.rand(8, 8) @ torch.rand(8, 8)  # the library's own start-up

    def run(turn: int) -> None:
        try:
            app(["upscale", str(FACE), "--size", size, "-o", f"{folder.name}/out-{turn}.png"])
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"arasfsr upscale ended with status {end.code}") from end

    return run


def faces(count: int = IMAGES) -> list[Photograph]:
    """Smooth pictures with a little noise: what is timed does not depend on what they show."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = (smooth + rng.integers(-4, 5, smooth.shape)).clip(0, 255).astype(np.uint8)
        found.append(Photograph.of(Path(f"{i}.png"), Image.fromarray(noisy)))
    return found


def _each(make: Callable[[int], object], count: int) -> Run:
    """Makes `count` in a run, others in each turn, after a batch to warm up."""
    for k in range(BATCH):
        make(k)
    return lambda turn: [make(k) for k in range(turn * count, (turn + 1) * count)]


def samples(config: DataConfig, count: int = COUNT, images: int = IMAGES) -> Run:
    """Training samples, as one worker makes them."""
    return _each(Samples(faces(images), config, BATCH, 0, 1 << 30).__getitem__, count)


def decoding(suffix: str, count: int = COUNT, images: int = IMAGES) -> Run:
    """Image files, decoded."""
    folder = tempfile.TemporaryDirectory()
    files = [Path(folder.name, photograph.path.name).with_suffix(suffix) for photograph in faces(images)]
    for photograph, file in zip(faces(images), files, strict=True):
        photograph.image.save(file)
    return _each(lambda k, kept=folder: read_rgb(files[k % images]), count)  # type: ignore[misc]


def _data(title: str, limit: float | None, make: Callable[..., Run], given: Any) -> Bar:
    return Bar(title, "per_second", limit, {"worker": (Plain, make, given)}, suite="data")


def _query(dtype: str) -> Case:
    return Case("query", "full", (64, 64), (256, 256), 1, dtype)


def _train(dtype: str) -> Case:
    return Case("train", "full", (32, 32), (32, 32), 16, dtype, scattered=True)


BARS = {
    "render-float32": _case("query path, 64 x 64 to 256 x 256, float32", "ratio", 3.0, _query("float32")),
    "render-bfloat16": _case("query path, 64 x 64 to 256 x 256, bfloat16", "ratio", 6.0, _query("bfloat16")),
    "train-float32": _case(
        "forward + backward, 16 images x 1,024 queries, float32", "ratio", 1.6, _train("float32")
    ),
    "train-bfloat16": _case(
        "forward + backward, 16 images x 1,024 queries, bfloat16", "ratio", 3.0, _train("bfloat16")
    ),
    "train-memory": _case(
        "forward + backward of 512 x 512 queries", "bytes", 1e9,
        Case("train", "full", (64, 64), (512, 512), 1, "float32"),
    ),
    "tiny-render": _case(
        "`tiny`, 64 x 64 to 256 x 256", "seconds", 1.0, Case("end-to-end", "tiny", (64, 64), (256, 256), 1, "float32")
    ),
    "upscale-cold": Bar(
        "`arasfsr upscale`, 64 x 64 to 256 x 256, cold start", "seconds", 6.0,
        {"upscale": (Plain, _command, "upscale", str(FACE), "--scale", "4")},
    ),
    "upscale-memory": Bar(
        "`arasfsr upscale`, 64 x 64 to 8192 x 8192", "bytes", 1.5e9, {"upscale": (Plain, _upscale, "8192x8192")}
    ),
    "samples": _data("samples of 1,024 queries, whole faces", 300.0, samples, DataConfig()),
    "samples-patches": _data("the same, 30% of them patches", 300.0, samples, DataConfig(whole=0.7)),
    "samples-whole-pictures": _data(
        "samples that are whole pictures (`queries: null`)", 300.0, samples, DataConfig(queries=None)
    ),
    "decode-png": _data("PNG files decoded", None, decoding, ".png"),
    "decode-jpg": _data("JPEG files decoded", None, decoding, ".jpg"),
}  # fmt: skip
