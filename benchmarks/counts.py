"""Operation counts from a model's configuration (DESIGN, section 2): what each way to compute the operator costs.

All counts are multiply-accumulates; an operation rate counts two operations each. Sines, ReLUs, sums and gathers are
left out, as in DESIGN.
"""

from __future__ import annotations

from dataclasses import dataclass

from arasfsr.config import CORNERS, FOURIER_CHANNELS, ModelConfig

OUTPUTS = 3
"""Numbers a query gives: red, green, blue."""

PAIR = 2
"""Numbers in rel, centre and cell: y and x."""


@dataclass(frozen=True)
class Workload:
    """How much is asked of the decoder."""

    lr: tuple[int, int]
    """LR height and width."""
    queries: int
    """Queries an image."""
    batch: int = 1
    shared: bool = True
    """All images have the same coordinates, so that the coordinate branch is computed once."""
    per_query_cell: bool = False


def _parts(config: ModelConfig) -> tuple[int, int, int, int]:
    """A query's hidden content layers (of one corner), its coordinate branch, the branch's first layer, the output."""
    n, layers, modulated = config.decoder.width, config.decoder.layers, config.decoder.modulated
    content = (layers - 1) * (2 * n if modulated else n) * n
    first = FOURIER_CHANNELS * n if modulated else 0
    branch = first + (layers - 1) * n * n if modulated else 0
    return content, branch, first, OUTPUTS * n


def literal_query(config: ModelConfig) -> int:
    """One query as the public implementation decodes it: four runs of everything."""
    content, branch, _, output = _parts(config)
    return len(CORNERS) * (config.input_width * config.decoder.width + content + branch + output)


def algebra_query(config: ModelConfig, sharing: int = 1, per_query_cell: bool = False) -> float:
    """One query after the algebra, with its part of a coordinate branch that `sharing` images share.

    The LR map is not in it. The weighting of the corners is: one multiply-accumulate a corner and channel.
    """
    n = config.decoder.width
    content, branch, _, output = _parts(config)
    local = len(CORNERS) * PAIR * n
    cell = PAIR * n if per_query_cell else 0
    return len(CORNERS) * content + output + branch / sharing + (local + cell) / sharing + len(CORNERS) * n


def latent_map(config: ModelConfig, lr: tuple[int, int]) -> int:
    """The LR map of one image: a 3 x 3 convolution of the feature map to the decoder's width."""
    return lr[0] * lr[1] * 9 * config.feature_channels * config.decoder.width


def forward_literal(config: ModelConfig, work: Workload) -> float:
    """All queries as the public implementation decodes them."""
    return float(work.batch * work.queries * literal_query(config))


def forward_algebra(config: ModelConfig, work: Workload) -> float:
    """All queries after the algebra, the LR map included."""
    sharing = work.batch if work.shared else 1
    query = algebra_query(config, sharing, work.per_query_cell)
    return work.batch * (work.queries * query + latent_map(config, work.lr))


def training_literal(config: ModelConfig, work: Workload) -> float:
    """Forward and backward of the public way: each product once forward, and once for either of its gradients.

    The Fourier encoding needs no gradient.
    """
    _, _, first, _ = _parts(config)
    return 3 * forward_literal(config, work) - float(work.batch * work.queries * len(CORNERS) * first)


def training_algebra(config: ModelConfig, work: Workload, recompute: bool = True) -> float:
    """Forward and backward after the algebra; `recompute` adds the forward that a tile's backward does again.

    Neither rel, cell nor the Fourier encoding needs a gradient; the LR map is not recomputed.
    """
    _, _, first, _ = _parts(config)
    n = config.decoder.width
    sharing = work.batch if work.shared else 1
    query = algebra_query(config, sharing, work.per_query_cell)
    inputs = (len(CORNERS) * PAIR * n + (PAIR * n if work.per_query_cell else 0) + first) / sharing
    passes = 4 if recompute else 3
    return work.batch * (work.queries * (passes * query - inputs) + 3 * latent_map(config, work.lr))
