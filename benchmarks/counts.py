"""Multiply-accumulates of a case from its model's configuration.

An operation rate counts two operations each. Sines, ReLUs, sums and gathers are left out.
"""

from __future__ import annotations

import math

from arasfsr.config import CORNERS, FOURIER_CHANNELS, ModelConfig
from benchmarks.cases import Case

OUTPUTS = 3  # numbers a query gives: red, green, blue
PAIR = 2  # numbers in rel, centre and cell: y and x


def lr_map(config: ModelConfig, lr: tuple[int, int]) -> int:
    """The LR map of one image: a 3 x 3 convolution of the feature map to the decoder's width."""
    return math.prod(lr) * 9 * config.feature_channels * config.decoder.width


def macs(case: Case, config: ModelConfig, literal: bool = False) -> float:
    """One run of the decoder on a case, after the algebra or, with `literal`, as the authors' implementation decodes.

    A training step takes each product once forward and once for either of its gradients, and after the algebra once
    more, since a tile's backward recomputes; neither rel, cell nor the Fourier encoding needs a gradient, and the LR
    map is not recomputed. The encoder is not counted.
    """
    n, layers, modulated, corners = config.decoder.width, config.decoder.layers, config.decoder.modulated, len(CORNERS)
    content = (layers - 1) * (2 * n if modulated else n) * n  # the hidden layers of one corner
    fourier = FOURIER_CHANNELS * n if modulated else 0  # the coordinate branch's first layer
    branch = fourier + (layers - 1) * n * n if modulated else 0
    queries = case.batch * case.queries
    if literal:
        once = corners * (config.input_width * n + content + branch + OUTPUTS * n)
        return float(queries * (3 * once - corners * fourier if case.suite == "train" else once))
    sharing = 1 if case.scattered else case.batch  # images with the same coordinates share what depends on them alone
    geometry = PAIR * n * (corners + case.scattered) / sharing  # rel, and a cell of the query's own
    query = corners * (content + n) + OUTPUTS * n + branch / sharing + geometry  # n: the weighting of the corners
    maps = case.batch * lr_map(config, case.lr)
    if case.suite == "train":
        return queries * (4 * query - geometry - fourier / sharing) + 3 * maps
    return queries * query + maps
