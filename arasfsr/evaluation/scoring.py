"""Models and bicubic scored on a folder of images, for the pairs of a suite or pairs of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from arasfsr.config import ModelConfig
from arasfsr.degrade import DEGRADATIONS
from arasfsr.evaluation.folder import Survey, survey
from arasfsr.evaluation.lpips import LPIPS
from arasfsr.evaluation.lpips import SMALLEST_SIDE as LPIPS_SIDE
from arasfsr.evaluation.pictures import Pictures
from arasfsr.evaluation.results import BASELINE, Evaluation, RowResult
from arasfsr.evaluation.suites import Row, Suite
from arasfsr.metrics import PROTOCOLS, Protocol, Score, from_pixels, score
from arasfsr.model import ImplicitSR
from arasfsr.training.data import largest_square, read_rgb, resize

Method = Callable[[Image.Image, int], np.ndarray]
"""Upscales a square RGB image to a side: (side, side, 3) uint8."""


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


def modules_of(config: ModelConfig) -> tuple[str, ...]:
    """Those of the paper's modules that a model has."""
    modules = {
        "frequency estimation": config.frequency is not None,
        "modulation": config.decoder.modulated,
        "skip": config.skip,
    }
    return tuple(name for name, there in modules.items() if there)


@dataclass(frozen=True)
class Scorer:
    """How one picture is made and scored."""

    methods: Mapping[str, Method]
    suite: Suite
    protocol: Protocol
    lpips: LPIPS | None
    pictures: Pictures | None

    def score(self, path: Path, row: Row, advance: Callable[[], None]) -> dict[str, Score]:
        """Every method's score for one image, whose side-by-side picture is written where it was chosen."""
        lr_side, hr_side = row.pair
        image = read_rgb(path)
        hr = target_of(image, hr_side)
        original = largest_square(image) if self.suite.fitted else hr
        lr = DEGRADATIONS[self.suite.degradation](original, (lr_side, lr_side))
        target = from_pixels(np.asarray(hr))
        seen = self.lpips.features(target) if self.lpips else []
        outputs, scores = {}, {}
        for name, method in self.methods.items():
            outputs[name] = method(lr, hr_side)
            picture = from_pixels(outputs[name])
            distance = self.lpips.distance(self.lpips.features(picture), seen) if self.lpips else None
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

    The target is `target_of` the image. The input is the degradation, to LR x LR, of the image's largest square for a
    suite of the paper's, where the authors' files are made so, and of the target for pairs of one's own. Every
    method's picture is rounded to uint8 before it is scored, whatever the protocol.

    Args:
        models: by the name that the result calls them.
        folder: searched recursively; broken images are named in the log and left out.
        suite: one of `SUITES`, whose pairs are shrunk to the smallest image, or `own_pairs`, each of which leaves the
            images out that are smaller than its target.
        protocol: of PSNR and SSIM, one of `metrics.PROTOCOLS`.
        backend, dtype: as `ImplicitSR.upscale` takes them.
        lpips: adds that score.
        pictures: which side-by-side pictures are written, and where.
        progress: told, after each picture, how many are done of how many.
        on_row: told each row's result as soon as it is there.

    Raises:
        ValueError: an unknown protocol or degradation, a model called "bicubic", models that do not differ where the
            suite compares modules, a folder without images, or images or targets that are too small.
        BackendUnavailable: the backend asked for cannot serve the models.
    """
    _check(models, suite, protocol)
    found = survey(folder)
    if pictures is not None:
        pictures = pictures.choose(list(found.sides), folder)
    rows = _rows(suite, found, with_lpips=lpips is not None)
    methods: dict[str, Method] = {BASELINE: bicubic}
    methods.update({name: model_method(model, backend, dtype) for name, model in models.items()})
    scorer = Scorer(methods, suite, protocol, lpips, pictures)
    taking_part = {row: [path for path, side in found.sides.items() if side >= row.pair.hr] for row in rows}
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
            len(found.sides) - len(paths),
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
        images=len(found.sides),
        smallest=(found.smallest.relative_to(folder).as_posix(), found.sides[found.smallest]),
        broken=found.broken,
    )


def _check(models: Mapping[str, ImplicitSR], suite: Suite, protocol: str) -> None:
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol={protocol!r}; taken are {', '.join(PROTOCOLS)}")
    if suite.degradation not in DEGRADATIONS:
        raise ValueError(f"degradation={suite.degradation!r}; taken are {', '.join(DEGRADATIONS)}")
    if BASELINE in models:
        raise ValueError(f"a model is called {BASELINE!r}, the name of what models are compared with")
    modules = {name: modules_of(model.config) for name, model in models.items()}
    if suite.by_module and len(set(modules.values())) < 2:
        given = "; ".join(f"{name} with {', '.join(there) or 'none'}" for name, there in modules.items())
        raise ValueError(
            f"suite={suite.name!r} compares modules, and these models do not differ in theirs: {given or 'no model'}; "
            "taken are at least two that do"
        )


def _rows(suite: Suite, found: Survey, with_lpips: bool) -> Sequence[Row]:
    """The suite's rows for a folder's images."""
    smallest, largest = found.sides[found.smallest], max(found.sides.values())
    try:
        rows = suite.rows(smallest)
    except ValueError as error:
        raise ValueError(f"{found.smallest}: its shorter side has {smallest} pixels; {error}") from error
    if all(row.pair.hr > largest for row in rows):
        raise ValueError(
            f"pairs {', '.join(map(str, rows))}: every image is smaller than their targets; the largest has a shorter "
            f"side of {largest} pixels"
        )
    tiny = [str(row.pair) for row in rows if row.pair.hr < LPIPS_SIDE]
    if with_lpips and tiny:
        raise ValueError(f"pairs {', '.join(tiny)}: LPIPS takes targets of at least {LPIPS_SIDE} pixels")
    return rows
