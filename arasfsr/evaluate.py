"""Evaluation: models against bicubic on a folder of images, for pairs of LR and HR sides."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from rich.table import Table
from rich.text import Text

from arasfsr import __version__
from arasfsr.degrade import DEGRADATIONS, Degradation
from arasfsr.metrics import PROTOCOL_TEXT, PROTOCOLS, SSIM_WINDOW, Protocol, Score, from_pixels, score
from arasfsr.model import ImplicitSR
from arasfsr.training.data import Photograph, largest_square, read_folder, resize

BASELINE = "bicubic"
"""The method that every model is compared with: Pillow's bicubic."""

Method = Callable[[Image.Image, int], np.ndarray]
"""Upscales a square RGB image to a side: (side, side, 3) uint8."""


class Pair(NamedTuple):
    """Sides, in pixels, of a square input and of the square it is upscaled to."""

    lr: int
    hr: int

    def __str__(self) -> str:
        return f"{self.lr}:{self.hr}"


def parse_pairs(text: str) -> list[Pair]:
    """Pairs from "64:256,32:256"; one that comes twice is taken once.

    Raises:
        ValueError: not of that form, LR below 1 or above HR, or HR below the window of SSIM.
    """
    pairs = []
    for entry in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,6}):([0-9]{1,6})\s*", entry)
        pair = Pair(int(match[1]), int(match[2])) if match else Pair(0, 0)
        if not (1 <= pair.lr <= pair.hr and pair.hr >= SSIM_WINDOW):
            raise ValueError(
                f"{entry.strip()!r}; taken is LR:HR, sides in pixels with LR from 1 to HR and HR of at least "
                f"{SSIM_WINDOW}, as in 64:256,32:256"
            )
        pairs.append(pair)
    return list(dict.fromkeys(pairs))


@dataclass(frozen=True)
class PairResult:
    """The scores of every method for one pair."""

    pair: Pair
    images: list[str]
    """Paths, below the folder, of the images that were large enough."""
    too_small: int
    """Images left out because their shorter side is below HR."""
    scores: dict[str, list[Score]]
    """By method, BASELINE first: a score for each of `images`."""

    def mean(self, method: str) -> Score | None:
        """The mean of the images' dB and of their SSIM; None without images."""
        scores = self.scores[method]
        if not scores:
            return None
        return Score(sum(s.psnr for s in scores) / len(scores), sum(s.ssim for s in scores) / len(scores))


@dataclass(frozen=True)
class Evaluation:
    """What was evaluated, how, and what came out."""

    folder: Path
    models: list[str]
    protocol: Protocol
    degradation: str
    backend: str
    dtype: str
    """The decoder's compute dtype; "model" is that of its parameters."""
    pairs: list[PairResult]
    broken: list[Path]
    """Files that could not be read; their reasons are in the log."""

    @property
    def methods(self) -> list[str]:
        """BASELINE and the models, in the order of the table's columns."""
        return [BASELINE, *self.models]


def bicubic(image: Image.Image, side: int) -> np.ndarray:
    """Pillow's bicubic, which rounds to uint8."""
    return np.asarray(resize(image, (side, side)))


def model_method(model: ImplicitSR, backend: str = "auto", dtype: torch.dtype | str | None = None) -> Method:
    """The model's picture, rounded to uint8."""

    def upscale(image: Image.Image, side: int) -> np.ndarray:
        return model.upscale(np.asarray(image), size=(side, side), backend=backend, dtype=dtype)

    return upscale


def target_of(image: Image.Image, side: int) -> Image.Image:
    """The image's largest square, brought to `side` by Pillow's bicubic; as it is where it has that side."""
    return resize(largest_square(image), (side, side))


def evaluate(
    models: Mapping[str, ImplicitSR],
    folder: Path,
    pairs: Sequence[Pair],
    protocol: Protocol = "arasfsr",
    degradation: str = "bic",
    backend: str = "auto",
    dtype: torch.dtype | str | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_pair: Callable[[PairResult], None] | None = None,
) -> Evaluation:
    """Score models and bicubic on every image of a folder that is large enough for a pair.

    The target is `target_of` the image, the input its degradation to LR x LR, and every method's picture is rounded
    to uint8 before it is scored, whatever the protocol.

    Args:
        models: by the name that the result calls them.
        folder: searched recursively; broken images are named in the log and left out.
        pairs: as `parse_pairs` gives them.
        protocol: one of `metrics.PROTOCOLS`.
        degradation: one of `degrade.DEGRADATIONS`.
        backend, dtype: as `ImplicitSR.upscale` takes them.
        progress: told, after each picture, how many are done of how many.
        on_pair: told each pair's result as soon as it is there.

    Raises:
        ValueError: an unknown protocol or degradation, a model called "bicubic", or a folder without images.
        BackendUnavailable: the backend asked for cannot serve the models.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol={protocol!r}; taken are {', '.join(PROTOCOLS)}")
    if degradation not in DEGRADATIONS:
        raise ValueError(f"degradation={degradation!r}; taken are {', '.join(DEGRADATIONS)}")
    if BASELINE in models:
        raise ValueError(f"a model is called {BASELINE!r}, the name of what models are compared with")
    found = read_folder(folder)
    methods: dict[str, Method] = {BASELINE: bicubic}
    methods.update({name: model_method(model, backend, dtype) for name, model in models.items()})
    large_enough = {pair: [photo for photo in found.images if min(photo.image.size) >= pair.hr] for pair in pairs}
    done, total = 0, sum(map(len, large_enough.values())) * len(methods)

    def advance() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    results = []
    for pair, photos in large_enough.items():
        result = PairResult(
            pair,
            [photo.path.relative_to(folder).as_posix() for photo in photos],
            len(found.images) - len(photos),
            _score_pair(methods, photos, pair, protocol, DEGRADATIONS[degradation], advance),
        )
        if on_pair is not None:
            on_pair(result)
        results.append(result)
    compute = str(dtype).removeprefix("torch.") if dtype is not None else "model"
    return Evaluation(folder, list(models), protocol, degradation, backend, compute, results, found.broken)


def _score_pair(
    methods: Mapping[str, Method],
    photos: Sequence[Photograph],
    pair: Pair,
    protocol: Protocol,
    degrade: Degradation,
    advance: Callable[[], None],
) -> dict[str, list[Score]]:
    scores: dict[str, list[Score]] = {name: [] for name in methods}
    for photo in photos:
        hr = target_of(photo.image, pair.hr)
        lr = degrade(hr, (pair.lr, pair.lr))
        target = from_pixels(np.asarray(hr))
        for name, method in methods.items():
            scores[name].append(score(from_pixels(method(lr, pair.hr)), target, protocol))
            advance()
    return scores


def describe(evaluation: Evaluation) -> list[str]:
    """What was compared with what, in a few lines."""
    return [
        f"data         {evaluation.folder}",
        f"protocol     {evaluation.protocol}: {PROTOCOL_TEXT[evaluation.protocol]}",
        f"degradation  {evaluation.degradation}: {DEGRADATIONS[evaluation.degradation].text}",
        "targets      the image's largest square, in its middle, brought to HR x HR by Pillow's bicubic; "
        "smaller images are left out",
        "scores       PSNR in dB / SSIM, means over images; in brackets the gain in PSNR over bicubic",
    ]


def table_cells(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """The table's header and its rows, one for each pair."""
    header = ["LR:HR", "images", "left out", *evaluation.methods]
    rows = [
        [str(result.pair), str(len(result.images)), str(result.too_small), *_cells(result).values()]
        for result in evaluation.pairs
    ]
    return header, rows


def pair_line(result: PairResult) -> str:
    """One pair's row of the table as a line of its own."""
    scores = "  ".join(f"{method} {cell}" for method, cell in _cells(result).items())
    return f"{result.pair}  {len(result.images)} images, {result.too_small} left out  {scores}"


def _cells(result: PairResult) -> dict[str, str]:
    baseline = result.mean(BASELINE)
    return {method: _cell(result.mean(method), baseline, method) for method in result.scores}


def _cell(mean: Score | None, baseline: Score | None, method: str) -> str:
    if mean is None or baseline is None:
        return "-"
    gain = mean.psnr - baseline.psnr
    told = f" ({gain:+.2f})" if method != BASELINE and math.isfinite(gain) else ""
    return f"{mean.psnr:.2f} / {mean.ssim:.4f}{told}"


def to_table(evaluation: Evaluation) -> Table:
    """`table_cells` for a terminal."""
    header, rows = table_cells(evaluation)
    table = Table()
    for title in header:
        table.add_column(Text(title), justify="right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def to_markdown(evaluation: Evaluation) -> str:
    """`describe` as a list and `table_cells` as a table."""
    header, rows = table_cells(evaluation)
    facts = [line.split(maxsplit=1) for line in describe(evaluation)]
    lines = [f"- {name}: {fact}" for name, fact in facts]
    lines += ["", _markdown_row(header), _markdown_row(["---:"] * len(header))]
    lines += map(_markdown_row, rows)
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def to_json(evaluation: Evaluation) -> str:
    """Everything of an evaluation, every image's scores and the versions that made them, as JSON.

    JSON has no infinity: the PSNR of equal pictures is the string "Infinity", which `float` takes; likewise "NaN".
    """
    facts = {
        "data": str(evaluation.folder),
        "protocol": evaluation.protocol,
        "protocol_text": PROTOCOL_TEXT[evaluation.protocol],
        "degradation": evaluation.degradation,
        "degradation_text": DEGRADATIONS[evaluation.degradation].text,
        "methods": evaluation.methods,
        "backend": evaluation.backend,
        "dtype": evaluation.dtype,
        "versions": versions(),
        "broken": [str(path) for path in evaluation.broken],
        "pairs": [_pair_facts(result) for result in evaluation.pairs],
    }
    return json.dumps(facts, indent=1, allow_nan=False) + "\n"


def _pair_facts(result: PairResult) -> dict[str, Any]:
    means = {method: result.mean(method) for method in result.scores}
    return {
        "lr": result.pair.lr,
        "hr": result.pair.hr,
        "images": len(result.images),
        "too_small": result.too_small,
        "mean": {method: _score_facts(mean) for method, mean in means.items() if mean is not None},
        "scores": {
            image: {method: _score_facts(scores[i]) for method, scores in result.scores.items()}
            for i, image in enumerate(result.images)
        },
    }


def _score_facts(score: Score) -> dict[str, float | str]:
    return {"psnr": _json_number(score.psnr), "ssim": _json_number(score.ssim)}


def _json_number(number: float) -> float | str:
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def versions() -> dict[str, str]:
    """Versions of what decides the scores."""
    return {"arasfsr": __version__, **{name: version(name) for name in ("torch", "numpy", "pillow")}}
