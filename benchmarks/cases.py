"""Every case, declared once: what is measured, how important it is, what it costs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from arasfsr.config import ModelConfig
from benchmarks import counts

SUITES = ("query", "train", "end-to-end")
MODELS = ("full", "tiny")
RECIPE = 48 * 48
"""Queries an image of the usual training recipe, 16 images a batch."""

OUTPUTS = {
    (256, 256): 0,
    (1024, 1024): 1,
    (512, 512): 1,
    (1000, 1504): 2,
    (2048, 2048): 3,
}
"""Output sizes (height, width) and how much less important than the first."""

DTYPES = {"float32": 0, "bfloat16": 0, "tf32": 1, "float16": 2}


@dataclass(frozen=True)
class Case:
    """One thing to measure with every contestant."""

    suite: str
    model: str
    lr: tuple[int, int]
    output: tuple[int, int]
    """Height and width of the output grid; with `scattered`, as many random queries."""
    batch: int
    dtype: str
    scattered: bool = False
    """Random queries, each with its own cell, instead of a grid."""
    rank: int = 0
    """0 is the most important."""
    excerpt: int = 0
    """Queries an image that are timed, where those of the whole output would take too long: whole rows in the middle
    of a grid; 0 is all of them."""

    def __post_init__(self) -> None:
        for name, taken in (("suite", SUITES), ("model", MODELS), ("dtype", tuple(DTYPES))):
            if getattr(self, name) not in taken:
                raise ValueError(f"{name}={getattr(self, name)!r}; taken are {', '.join(taken)}")

    @property
    def name(self) -> str:
        """For people and as a key, such as query/full/64x64/256x256/b1/float32."""
        target = f"{math.prod(self.output)}-random" if self.scattered else "x".join(map(str, self.output))
        lr = "x".join(map(str, self.lr))
        parts = (self.suite, self.model, lr, target, f"b{self.batch}", self.dtype)
        return "/".join((*parts, f"excerpt-{self.excerpt}") if self.excerpt else parts)

    @property
    def queries(self) -> int:
        """Queries an image that are timed."""
        return self.excerpt or self.output[0] * self.output[1]

    @property
    def region(self) -> tuple[int, int, int, int]:
        """What is timed of the output grid: (top, left, bottom, right)."""
        height, width = self.output
        rows = self.queries // width
        top = (height - rows) // 2
        return top, 0, top + rows, width

    def shortened(self, most: int) -> Case:
        """The case itself, or an excerpt of it with at most `most` queries of all images together, or one row each."""
        height, width = self.output
        queries = max(1, most // self.batch)
        if height * width <= queries:
            return self
        return replace(self, excerpt=queries if self.scattered else max(1, queries // width) * width)

    @property
    def work(self) -> counts.Workload:
        """As the operation counts take it."""
        return counts.Workload(self.lr, self.queries, self.batch, not self.scattered, self.scattered)

    def macs(self, config: ModelConfig, literal: bool = False) -> float:
        """Multiply-accumulates of one run of the decoder, after the algebra or literally.

        Training after the algebra counts the recompute, as DESIGN's floors do. The encoder of end-to-end cases is
        not counted.
        """
        if self.suite == "train":
            return (counts.training_literal if literal else counts.training_algebra)(config, self.work)
        return (counts.forward_literal if literal else counts.forward_algebra)(config, self.work)


def _query_cases() -> Iterable[Case]:
    for model, side, output, batch, dtype, scattered in itertools.product(
        MODELS, (64, 128), OUTPUTS, (1, 8), DTYPES, (False, True)
    ):
        rank = OUTPUTS[output] + DTYPES[dtype] + 2 * (side > 64) + 2 * (batch > 1) + 2 * scattered
        yield Case("query", model, (side, side), output, batch, dtype, scattered, rank + (model == "tiny"))


def _train_cases() -> Iterable[Case]:
    for model, dtype in itertools.product(MODELS, DTYPES):
        rank = DTYPES[dtype] + (model == "tiny")
        yield Case("train", model, (48, 48), (48, 48), 16, dtype, True, rank)
        for side, more in ((512, 1), (1024, 3)):
            yield Case("train", model, (64, 64), (side, side), 1, dtype, False, rank + more)


def _end_to_end_cases() -> Iterable[Case]:
    for model, output, dtype in itertools.product(MODELS, ((256, 256), (1024, 1024)), DTYPES):
        rank = OUTPUTS[output] + DTYPES[dtype] + (model == "full")
        yield Case("end-to-end", model, (64, 64), output, 1, dtype, False, rank)


def registry() -> list[Case]:
    """Every case, the most important first; among equals suites in their order, then the small ones."""
    cases = [*_query_cases(), *_train_cases(), *_end_to_end_cases()]
    return sorted(cases, key=lambda case: (case.rank, SUITES.index(case.suite), case.batch * case.queries))


def chosen(
    cases: Iterable[Case],
    suites: Sequence[str] = (),
    sizes: Sequence[tuple[int, int]] = (),
    dtypes: Sequence[str] = (),
    models: Sequence[str] = (),
) -> list[Case]:
    """The cases of the named suites, output sizes, dtypes and models; nothing named means all."""
    return [
        case
        for case in cases
        if (not suites or case.suite in suites)
        and (not sizes or case.output in sizes)
        and (not dtypes or case.dtype in dtypes)
        and (not models or case.model in models)
    ]


def excerpts(cases: Iterable[Case], most: int) -> list[Case]:
    """The cases with at most `most` queries of all images together; none from file to file, which has no parts.

    An excerpt of random queries is the same whatever it is an excerpt of: it is there once.
    """
    found: dict[Case, Case] = {}
    for case in cases:
        if case.suite != "end-to-end":
            short = case.shortened(most)
            cut = short.scattered and short.excerpt
            found.setdefault(replace(short, output=(short.excerpt, 1), rank=0) if cut else short, short)
    return list(found.values())
