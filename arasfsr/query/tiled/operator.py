"""Backend `tiled`: the fast algebra in plain torch, tile by tile, on any device; the backward recomputes.

Between the LR map and the output nothing outlives its tile.
"""

from __future__ import annotations

import torch
from torch import Tensor

from arasfsr.coords import times
from arasfsr.nn.decoder import DecoderWeights
from arasfsr.query import operator
from arasfsr.query.operator import Arguments, Gradients, Need, Problem
from arasfsr.query.skip import add_skip, skip_gradients
from arasfsr.query.tiled.products import Scratch, arithmetic_dtype
from arasfsr.query.tiled.tile import BIAS_SUM, Tile, tile_backward, tile_forward, tiles


def _weights(given: Arguments) -> DecoderWeights:
    """The layers after the first: rounded to the compute dtype, in the dtype that they are multiplied in."""
    arithmetic = arithmetic_dtype(given.dtype, given.latent.device)
    rounded = [weight.to(given.dtype).to(arithmetic) for weight in given.weights]
    return DecoderWeights.unflatten(rounded, given.modulated)


def _forward(given: Arguments) -> Tensor:
    problem = Problem.of(given)
    out = given.latent.new_empty((given.latent.shape[0], given.queries, 3), dtype=given.geometry)
    flat = out.view(problem.images, problem.queries, 3)
    scratch = Scratch(out.device)
    for first, last, tile in tiles(problem, _weights(given)):
        flat[:, first:last] = tile_forward(tile, scratch, keep=False)[0]
    add_skip(out, given)
    return out


class _Sums:
    """Sums of the tiles' gradients."""

    def __init__(self, given: Arguments, problem: Problem, need: Need) -> None:
        def zeros(shape: torch.Size | tuple[int, ...], dtype: torch.dtype = problem.geometry) -> Tensor:
            return given.latent.new_zeros(shape, dtype=dtype)

        self._problem = problem
        self._scratch = Scratch(given.latent.device)
        self.latent = zeros(problem.latent.shape)
        self.coord = zeros((problem.queries, 2)) if need.coord else None
        self.cell = zeros((problem.queries, 2)) if need.cell else None
        cell_weight = [] if given.cell_weight is None else [given.cell_weight]
        self.parameters = [
            zeros(parameter.shape, BIAS_SUM if parameter.dim() == 1 else problem.geometry)
            for parameter in (given.rel_weight, *cell_weight, *given.weights)
        ]

    def add(self, first: int, last: int, tile: Tile, grad: Tensor) -> None:
        """Recompute a tile and add what its part (images, T, 3) of the incoming gradient gives."""
        saved = tile_forward(tile, self._scratch, keep=True)[1]
        found = tile_backward(tile, saved, grad, self._scratch, self._problem.lr_size, self.coord is not None)
        self.latent.index_add_(0, tile.rows.reshape(-1), found.latent.reshape(-1, self.latent.shape[1]))
        for total, part in zip(self.parameters, found.weights, strict=True):
            total += part
        if self.coord is not None and found.coord is not None:
            self.coord[first:last] = found.coord
        if self.cell is not None and found.cell is not None:
            self.cell[first:last] = found.cell


def _backward(grad: Tensor, given: Arguments, need: Need) -> Gradients:
    problem = Problem.of(given)
    sums = _Sums(given, problem, need)
    flat = grad.reshape(problem.images, problem.queries, 3)
    for first, last, tile in tiles(problem, _weights(given)):
        sums.add(first, last, tile, flat[:, first:last])
    image, skip_coord = skip_gradients(grad, given, need)
    coord = problem.per_query(sums.coord, given.coord)
    cell = problem.per_query(sums.cell, given.cell)
    rel_weight, *rest = sums.parameters
    return Gradients(
        latent=sums.latent,
        image=image,
        coord=coord if coord is None or skip_coord is None else coord + skip_coord,
        cell=None if cell is None else times(cell, problem.lr_size),
        rel_weight=rel_weight,
        cell_weight=None if given.cell_weight is None else rest.pop(0),
        weights=rest,
    )


run = operator.register("tiled", _forward, _backward)
