"""Scores models and bicubic on a folder of images, for the pairs of a suite or custom pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from arasfsr.config import ModelConfig
from arasfsr.errors import ArgumentError
from arasfsr.evaluation.lpips import LPIPS
from arasfsr.evaluation.lpips import SMALLEST_SIDE as LPIPS_SIDE
from arasfsr.evaluation.metrics import PROTOCOLS, Protocol, Score, from_pixels, score
from arasfsr.evaluation.pictures import Pictures
from arasfsr.evaluation.results import BASELINE, Evaluation, RowResult
from arasfsr.evaluation.suites import Row, Suite
from arasfsr.images.find import read_images
from arasfsr.images.transform import DEGRADATIONS, largest_square, read_rgb, resize
from arasfsr.model import ImplicitSR

Method = Callable[[Image.Image, int], np.ndarray]
"""Upscales a square RGB image to a side: (side, side, 3) uint8."""


def bicubic(image: Image.Image, side: int) -> np.ndarray:
    """Pillow's bicubic, which rounds to uint8."""
    return np.asarray(resize(image, (side, side)))


def model_method(model: ImplicitSR, backend: str = "auto", dtype: torch.dtype | str | None = None) -> Method:
    """The model as a Method; its output is rounded to uint8."""

    def upscale(image: Image.Image, side: int) -> np.ndarray:
        return model.upscale(np.asarray(image), size=(side, side), backend=backend, dtype=dtype)

    return upscale


def target_of(image: Image.Image, side: int) -> Image.Image:
    """The image's largest square, resized to `side` by Pillow's bicubic unless it has that side."""
    return resize(largest_square(image), (side, side))


def modules_of(config: ModelConfig) -> tuple[str, ...]:
    """The paper's modules that a model has."""
    modules = {
        "frequency estimation": config.frequency is not None,
        "modulation": config.decoder.modulated,
        "skip": config.skip,
    }
    return tuple(name for name, there in modules.items() if there)


class NoImageLargeEnough(ArgumentError):
    """Every image is smaller than the targets of all pairs."""


@dataclass(frozen=True)
class Scorer:
    """Makes and scores pictures."""

    methods: Mapping[str, Method]
    suite: Suite
    protocol: Protocol
    lpips: LPIPS | None
    pictures: Pictures | None

    def score(self, path: Path, row: Row, advance: Callable[[], None]) -> dict[str, Score]:
        """Score every method on one image, and write its side-by-side picture if it was chosen."""
        lr_side, hr_side = row.pair
        image = read_rgb(path)
        hr = target_of(image, hr_side)
        original = largest_square(image) if self.suite.fitted else hr
        lr = DEGRADATIONS[self.suite.degradation](original, (lr_side, lr_side))
        target = from_pixels(np.asarray(hr))
        target_features = self.lpips.features(target) if self.lpips else []
        outputs, scores = {}, {}
        for name, method in self.methods.items():
            outputs[name] = method(lr, hr_side)
            picture = from_pixels(outputs[name])
            distance = self.lpips.distance(self.lpips.features(picture), target_features) if self.lpips else None
            scores[name] = score(picture, target, self.protocol)._replace(lpips=distance)
            advance()
        if self.pictures is not None:
            self.pictures.write(path, row, lr, outputs, hr)
        return scores


def evaluate(
    models: Mapping[str, ImplicitSR],
    folder: Path,
    suite: Suite,
    protocol: Protocol = "arasfsr",
    backend: str = "auto",
    dtype: torch.dtype | str | None = None,
    lpips: LPIPS | None = None,
    pictures: Pictures | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_row: Callable[[RowResult], None] | None = None,
) -> Evaluation:
    """Score models and bicubic on every image of a folder, for every row of a suite.

    The target is `target_of` the image. The input is the degradation, to LR x LR, of the image's largest square for
    one of the paper's suites, as in the authors' code, and of the target for custom pairs. Every method's output is
    rounded to uint8 before it is scored, whatever the protocol.

    Args:
        models: models by name.
        folder: searched recursively; broken images are logged and skipped.
        suite: one of `SUITES`, whose pairs are shrunk to the smallest image, or `own_pairs`, which leave out images
            smaller than a pair's target.
        protocol: protocol of PSNR and SSIM, one of `metrics.PROTOCOLS`.
        backend, dtype: as for `ImplicitSR.upscale`.
        lpips: measures LPIPS too.
        pictures: which side-by-side pictures to write, and where.
        progress: called after each picture with the number done and the total.
        on_row: called with each row's result as soon as it is complete.

    Raises:
        ArgumentError: an unknown protocol or degradation, a model named "bicubic", models with the same modules in a
            suite that compares modules, a folder without images, or images or targets that are too small.
        BackendUnavailable: the backend asked for cannot serve the models.
    """
    _check(models, suite, protocol)
    found = read_images(folder, lambda _, image: min(image.size))
    sides = found.images
    if pictures is not None:
        pictures = pictures.choose(list(sides), folder)
    smallest = min(sides, key=lambda path: (sides[path], path))
    rows = _rows(suite, sides, smallest, with_lpips=lpips is not None)
    methods: dict[str, Method] = {BASELINE: bicubic}
    methods.update({name: model_method(model, backend, dtype) for name, model in models.items()})
    scorer = Scorer(methods, suite, protocol, lpips, pictures)
    taking_part = {row: [path for path, side in sides.items() if side >= row.pair.hr] for row in rows}
    done, total = 0, sum(map(len, taking_part.values())) * len(methods)

    def advance() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    results = []
    for row, paths in taking_part.items():
        each = [scorer.score(path, row, advance) for path in paths]
        result = RowResult(
            row,
            [path.relative_to(folder).as_posix() for path in paths],
            len(sides) - len(paths),
            {name: [scores[name] for scores in each] for name in methods},
        )
        if on_row is not None:
            on_row(result)
        results.append(result)
    return Evaluation(
        folder=folder,
        models={name: modules_of(model.config) for name, model in models.items()},
        suite=suite,
        protocol=protocol,
        backend=backend,
        dtype=str(dtype).removeprefix("torch.") if dtype is not None else "model",
        rows=results,
        images=len(sides),
        smallest=(smallest.relative_to(folder).as_posix(), sides[smallest]),
        broken=found.broken,
    )


def _check(models: Mapping[str, ImplicitSR], suite: Suite, protocol: str) -> None:
    if protocol not in PROTOCOLS:
        raise ArgumentError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    if suite.degradation not in DEGRADATIONS:
        raise ArgumentError(f"degradation must be one of {', '.join(DEGRADATIONS)}, got {suite.degradation!r}")
    if BASELINE in models:
        raise ArgumentError(f"a model must not be named {BASELINE!r}, the name of the baseline")
    modules = {name: modules_of(model.config) for name, model in models.items()}
    if suite.by_module and len(set(modules.values())) < 2:
        given = "; ".join(f"{name} with {', '.join(there) or 'none'}" for name, there in modules.items())
        raise ArgumentError(f"models must differ in their modules for suite {suite.name!r}, got {given or 'no model'}")


def _rows(suite: Suite, sides: Mapping[Path, int], smallest: Path, with_lpips: bool) -> Sequence[Row]:
    """The suite's rows for images by their shorter sides, of which `smallest` is the smallest."""
    largest = max(sides.values())
    try:
        rows = suite.rows(sides[smallest])
    except ArgumentError as error:
        raise ArgumentError(f"{smallest}: {error}") from error
    if all(row.pair.hr > largest for row in rows):
        raise NoImageLargeEnough(
            f"pairs must have a target of at most {largest} pixels, the largest image's shorter side, got "
            f"{', '.join(map(str, rows))}"
        )
    tiny = [str(row.pair) for row in rows if row.pair.hr < LPIPS_SIDE]
    if with_lpips and tiny:
        raise ArgumentError(f"targets must be at least {LPIPS_SIDE} pixels for LPIPS, got pairs {', '.join(tiny)}")
    return rows
