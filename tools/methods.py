"""The paper's methods trained alike: what is trained, what each training gives, and the table of it."""

from __future__ import annotations

import fcntl
import json
import math
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from arasfsr import ImplicitSR, ModelConfig, load_model
from arasfsr.config import DecoderConfig
from arasfsr.evaluation import evaluate, own_pairs, parse_pairs
from arasfsr.images.find import read_images
from arasfsr.training.config import TrainConfig, load_config
from arasfsr.training.loop import train
from benchmarks import counts
from benchmarks.cases import Case
from benchmarks.results import RESULTS, ROOT, machine
from benchmarks.tables import markdown
from tools import machines
from tools.trials import TRIALS, Trial

CONFIG = ROOT / "configs" / "comparison.yaml"
METHODS_FILE = RESULTS / "quality" / "methods.jsonl"
"""A line for each training."""

PAIRS = "16:64,32:128,32:256,64:256"

METHODS: dict[str, dict[str, Any]] = {
    "ARASFSR": {},
    "ARASFSR, `init: paper`": {"init": "paper"},
    "without frequency": {"frequency": None},
    "LTE": {"frequency": None, "decoder": {"name": "lte", "layers": 3, "waves": 96}, "init": "paper"},
    "without modulation": {"decoder": {"modulated": False}},
    "without skip": {"skip": False},
    "LIIF": {"frequency": None, "decoder": {"modulated": False}, "skip": False, "init": "paper"},
    "DIINN": {"frequency": None, "decoder": {"name": "diinn", "layers": 4}, "skip": False, "init": "paper"},
}
"""By method, what differs from ARASFSR's model; of a decoder of another kind, everything but the width."""

RATES: dict[float, float | None] = {1e-3: None, 2e-3: None, 3e-3: 1.0}
"""Peak learning rates, and the norm to which each clips the gradient."""

SEEDS = (1, 2, 3)
EXAMPLE = Case("query", "tiny", (32, 32), (128, 128), 1, "float32")
STEPS, LONG = 1_000, 3_000
LONG_METHODS = ("ARASFSR", "ARASFSR, `init: paper`", "without frequency", "LTE")
OURS = "ARASFSR"
EVALUATION_PAGE = ROOT / "docs" / "evaluation.md"


@dataclass(frozen=True)
class Training:
    """One training of the comparison."""

    method: str
    steps: int
    lr: float
    seed: int

    @property
    def name(self) -> str:
        """A folder's name, such as without-skip-1000-0.002-1."""
        return re.sub(r"[^a-z]+", "-", self.method.lower()).strip("-") + f"-{self.steps}-{self.lr}-{self.seed}"

    def config(self) -> TrainConfig:
        """The configuration: ARASFSR's in all but the model, the rate and the seed."""
        content = load_config(CONFIG).model_dump(mode="json")
        ours = content["model"]["decoder"]
        change = TRIALS[self.method].model if self.method in TRIALS else METHODS[self.method]
        theirs = change.get("decoder", {})
        decoder = {"width": ours["width"], **theirs} if "name" in theirs else {**ours, **theirs}
        changes = {
            "model": {**content["model"], **change, "decoder": decoder},
            "optimizer": {**content["optimizer"], "lr": self.lr},
            "clip": RATES[self.lr],
            "steps": self.steps,
            "seed": self.seed,
        }
        return TrainConfig.model_validate(content | changes)


def due(done: Mapping[Training, Mapping[str, Any]]) -> Iterator[Training]:
    """The trainings that are left, as far as those done tell: every method at every rate with the first seed; then, at
    the rate of the method's best validation, the other seeds; then, at ARASFSR's, the trials; then the long ones.
    """
    first = [Training(method, STEPS, lr, SEEDS[0]) for method in METHODS for lr in RATES]
    rates = {method: best_rate(done, method) for method in METHODS}
    chosen = [(method, lr) for method, lr in rates.items() if lr is not None]
    more = [Training(method, STEPS, lr, seed) for seed in SEEDS[1:] for method, lr in chosen]
    trials = [
        Training(name, STEPS, lr, seed) for seed in SEEDS for name in TRIALS for ours, lr in chosen if ours == OURS
    ]
    long = [Training(method, LONG, lr, seed) for seed in SEEDS for method, lr in chosen if method in LONG_METHODS]
    yield from (training for training in (*first, *more, *trials, *long) if training not in done)


def best_rate(done: Mapping[Training, Mapping[str, Any]], method: str) -> float | None:
    """The rate with the best mean PSNR on the held-out images; None as long as a rate has not been tried."""
    tried = {lr: done.get(Training(method, STEPS, lr, SEEDS[0])) for lr in RATES}
    scores = {lr: row["validation"] for lr, row in tried.items() if row is not None}
    return max(scores, key=lambda lr: scores[lr]) if len(scores) == len(RATES) else None


def read(path: Path) -> dict[Training, dict[str, Any]]:
    """What each training gave."""
    lines = path.read_text().splitlines() if path.is_file() else []
    rows = [json.loads(line) for line in lines]
    return {Training(*(row[name] for name in Training.__dataclass_fields__)): row for row in rows}


def compare(data: Path, images: Path, runs: Path, path: Path, device: str = "cpu", most: int | None = None) -> None:
    """Train, score and add a line to `path` for each training that is left, or at most so many of them.

    Several processes may do so at once: each takes trainings that no other is at.

    Raises:
        ArasfsrError: a folder has no images, or too few.
    """
    read_images(images, lambda *_: None)  # an error before the first training, not after it
    runs.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    while most is None or count < most:
        for training in due(read(path)):
            with _claimed(runs / f"{training.name}.lock") as claimed:
                if claimed and training not in read(path):
                    with TRIALS.get(training.method, Trial()).code():
                        row = run(training.config(), data, images, runs / training.name, device)
                    with path.open("a") as file:
                        file.write(json.dumps(asdict(training) | row) + "\n")
                    break
        else:
            return
        count += 1


def methods_section() -> str:
    """Two tables, of the short and of the long trainings: a row for each method, a column for each pair."""
    done = read(METHODS_FILE)
    rates = {method: best_rate(done, method) for method in METHODS}
    lengths = [steps for steps in (STEPS, LONG) if any(each.steps == steps for each in done)]
    return "\n\n".join(f"{_training(done, steps)}:\n\n{_table(done, steps, rates)}" for steps in lengths)


def headline_section(start: Path) -> str:
    """The table of the methods that matter most, of their longest trainings that are complete."""
    done = read(METHODS_FILE)
    rates = {method: best_rate(done, method) for method in LONG_METHODS}
    wanted = [Training(method, LONG, lr, seed) for method, lr in rates.items() if lr is not None for seed in SEEDS]
    steps = LONG if all(training in done for training in wanted) else STEPS
    told = "PSNR in dB, mean and range over seeds; MACs for an output pixel at scale 4; CPU time of the training"
    more = machines.link("evaluation", EVALUATION_PAGE, start)
    return f"{_table(done, steps, rates)}\n\n{_training(done, steps)}. {told}. All methods: {more}."


def trials_section() -> str:
    """The same table of ARASFSR and what was tried with it."""
    done = read(METHODS_FILE)
    return _table(done, STEPS, dict.fromkeys((OURS, *TRIALS), best_rate(done, OURS)))


def _table(done: Mapping[Training, Mapping[str, Any]], steps: int, rates: Mapping[str, float | None]) -> str:
    """Scores after so many steps, of each method at its rate; the best mean of a pair is bold."""
    found = {
        method: [row for each, row in done.items() if (each.method, each.steps, each.lr) == (method, steps, lr)]
        for method, lr in rates.items()
    }
    found = {method: rows for method, rows in found.items() if rows}
    table = [
        {
            "method": method,
            "rate": f"{rates[method]:g}",
            "MACs": f"{rows[0]['macs'] / 1e3:.0f} k",
            "CPU": f"{mean(row['cpu_seconds'] for row in rows):.0f} s",
            "seeds": len(rows),
        }
        for method, rows in found.items()
    ]
    for pair in PAIRS.split(","):
        scores = [[row["scores"][pair]["psnr"] for row in rows] for rows in found.values()]
        best = max(map(mean, scores), default=0.0)
        for line, each in zip(table, scores, strict=True):
            line[pair.replace(":", " to ")] = _cell(each, best)
    return markdown(table, list(table[0])[1:] if table else ())


def _training(done: Mapping[Training, Mapping[str, Any]], steps: int) -> str:
    return f"{steps:,} steps of {load_config(CONFIG).batch} samples on {next(iter(done.values()))['images']:,} images"


def _cell(scores: Sequence[float], best: float) -> str:
    """The mean over seeds, bold if it is the best, and their range."""
    told = f"**{mean(scores):.2f}**" if mean(scores) == best else f"{mean(scores):.2f}"
    return f"{told} ({min(scores):.2f} to {max(scores):.2f})" if len(scores) > 1 else told


@contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """Whether this process has taken the file; it is free again at the end of the block or of the process."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def run(config: TrainConfig, data: Path, images: Path, folder: Path, device: str) -> dict[str, Any]:
    """Train from the start in `folder` and score on `images`: means over pairs and images, seconds, operations."""
    shutil.rmtree(folder, ignore_errors=True)
    cpu, clock = time.process_time(), time.perf_counter()
    summary = train(config, data, folder, device=device)
    busy = (time.process_time() - cpu) / (time.perf_counter() - clock)
    validation = [score["psnr"] for score in summary["validation"]["scores"].values()]
    scores = evaluate({"model": load_model(folder, device)}, images, own_pairs(parse_pairs(PAIRS), "bic"), "y-float")
    return {
        "clip": config.clip,
        "cpu_seconds": round(busy * summary["seconds"], 1),  # without the validation after the last step
        "macs": macs(config.model),
        "images": summary["images"],
        "validation": sum(validation) / len(validation),
        "scores": {
            str(row.row.pair): {name: score.value.mean for name, score in row.summaries["model"].items()}
            for row in scores.rows
        },
        "machine": machine(torch.device(device)),
    }


def macs(config: ModelConfig) -> float:
    """Multiply-accumulates of the whole model for each pixel of a picture at scale 4, after the exact algebra.

    Convolutions and matrix products are counted; PyTorch counts all but those of ARASFSR's decoder.
    """
    model, (lr, hr) = ImplicitSR(config).eval(), (EXAMPLE.lr, EXAMPLE.output)
    with torch.no_grad(), FlopCounterMode(display=False) as encoder:
        encoding = model.encode(torch.zeros(1, 3, *lr))
    if isinstance(config.decoder, DecoderConfig):
        decoder = counts.macs(EXAMPLE, config)
    else:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            encoding.render(hr, backend="tiled")
        decoder = counter.get_total_flops() / 2
    return float(encoder.get_total_flops() / 2 + decoder) / math.prod(hr)
