"""Every case, declared once: what is measured, and how important it is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

SUITES = ("query", "train", "end-to-end")
MODELS = ("full", "tiny")
RECIPE = (48, 48)  # LR size and queries an image of the usual training recipe, 16 images a batch
OUTPUTS = {(256, 256): 0, (1024, 1024): 1, (512, 512): 1, (1000, 1504): 2, (2048, 2048): 3}
DTYPES = {"float32": 0, "bfloat16": 0, "tf32": 1, "float16": 2}
"""Output sizes (height, width) and dtypes, with how much less important each is than the first."""


@dataclass(frozen=True)
class Case:
    """One thing to measure with every contestant."""

    suite: str
    model: str
    lr: tuple[int, int]
    output: tuple[int, int]  # height and width of the output grid; with `scattered`, as many random queries
    batch: int
    dtype: str
    scattered: bool = False  # random queries, each with its own cell, instead of a grid
    rank: int = 0  # 0 is the most important
    excerpt: int = 0  # queries an image that are timed, of a grid whole rows in its middle; 0 is all of them

    def __post_init__(self) -> None:
        for name, known in (("suite", SUITES), ("model", MODELS), ("dtype", tuple(DTYPES))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")

    @property
    def name(self) -> str:
        """For people and as a key, such as query/full/64x64/256x256/b1/float32."""
        target = f"{math.prod(self.output)}-random" if self.scattered else "x".join(map(str, self.output))
        parts = (self.suite, self.model, "x".join(map(str, self.lr)), target, f"b{self.batch}", self.dtype)
        return "/".join((*parts, f"excerpt-{self.excerpt}") if self.excerpt else parts)

    @property
    def queries(self) -> int:  # an image, that are timed
        return self.excerpt or math.prod(self.output)

    @property
    def region(self) -> tuple[int, int, int, int]:
        """What is timed of the output grid: (top, left, bottom, right)."""
        height, width = self.output
        rows = self.queries // width
        top = (height - rows) // 2
        return top, 0, top + rows, width

    def shortened(self, most: int) -> Case:
        """The case itself, or an excerpt of it with at most `most` queries of all images together, or one row each."""
        queries, width = max(1, most // self.batch), self.output[1]
        if math.prod(self.output) <= queries:
            return self
        return replace(self, excerpt=queries if self.scattered else max(1, queries // width) * width)


def registry() -> list[Case]:
    """Every case, the most important first; among equals suites in their order, then the small ones."""
    cases = []
    for model, dtype in itertools.product(MODELS, DTYPES):
        least = DTYPES[dtype] + (model == "tiny")
        for side, output, batch, scattered in itertools.product((64, 128), OUTPUTS, (1, 8), (False, True)):
            rank = least + OUTPUTS[output] + 2 * ((side > 64) + (batch > 1) + scattered)
            cases.append(Case("query", model, (side, side), output, batch, dtype, scattered, rank))
        cases.append(Case("train", model, RECIPE, RECIPE, 16, dtype, True, least))
        for side, more in ((512, 1), (1024, 3)):
            cases.append(Case("train", model, (64, 64), (side, side), 1, dtype, False, least + more))
        for output in ((256, 256), (1024, 1024)):
            rank = OUTPUTS[output] + DTYPES[dtype] + (model == "full")
            cases.append(Case("end-to-end", model, (64, 64), output, 1, dtype, False, rank))
    return sorted(cases, key=lambda case: (case.rank, SUITES.index(case.suite), case.batch * case.queries))


def chosen(cases: Iterable[Case], **wanted: Collection[object]) -> list[Case]:
    """The cases whose fields have one of the wanted values, such as `suite=["query"]`; nothing wanted means all."""
    return [case for case in cases if all(not of or getattr(case, name) in of for name, of in wanted.items())]


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
