"""Backend `tiled`: the fast algebra in plain torch, tile by tile, on any device.

No intermediate between the LR map and the output outlives its tile; the backward recomputes them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from arasfsr.coords import times
from arasfsr.nn.decoders.mlp import MLPWeights
from arasfsr.query import operator
from arasfsr.query.call import QueryCall
from arasfsr.query.operator import BIAS_SUM, Gradients, Need, Problem
from arasfsr.query.skip import add_skip, skip_gradients
from arasfsr.query.tiled import chunks
from arasfsr.query.tiled.products import Scratch, arithmetic_dtype
from arasfsr.query.tiled.tile import Tile, tile_backward, tile_forward, tiles


def _weights(problem: Problem) -> MLPWeights:
    """The layers after the first, rounded to the compute dtype and converted to the dtype of the arithmetic."""
    arithmetic = arithmetic_dtype(problem.dtype, problem.lr_map.device)
    rounded = [weight.to(problem.dtype).to(arithmetic) for weight in problem.weights]
    return MLPWeights.unflatten(rounded, problem.modulated)


def _forward(problem: Problem) -> Tensor:
    out = problem.lr_map.new_empty((problem.batch, problem.queries.count(), 3), dtype=problem.geometry)
    flat = out.view(problem.images, problem.count, 3)
    scratch = Scratch(out.device)
    for first, last, tile in tiles(problem, _weights(problem)):
        flat[:, first:last] = tile_forward(tile, scratch, keep=False)[0]
    add_skip(out, problem)
    return out


class _TileSums:
    """Accumulates the tiles' gradients."""

    def __init__(self, problem: Problem, need: Need) -> None:
        def zeros(shape: torch.Size | tuple[int, ...], dtype: torch.dtype = problem.geometry) -> Tensor:
            return problem.lr_map.new_zeros(shape, dtype=dtype)

        self._problem = problem
        self._scratch = Scratch(problem.lr_map.device)
        self.lr_rows = zeros(problem.lr_rows.shape)
        self.coord = zeros((problem.count, 2)) if need.coord else None
        self.cell = zeros((problem.count, 2)) if need.cell else None
        cell_weight = [] if problem.cell_weight is None else [problem.cell_weight]
        self.parameters = [
            zeros(parameter.shape, BIAS_SUM if parameter.dim() == 1 else problem.geometry)
            for parameter in (problem.rel_weight, *cell_weight, *problem.weights)
        ]

    def add(self, first: int, last: int, tile: Tile, grad: Tensor) -> None:
        """Recompute a tile and add its gradients, from its part (images, T, 3) of the incoming gradient."""
        saved = tile_forward(tile, self._scratch, keep=True)[1]
        of_tile = tile_backward(tile, saved, grad, self._scratch, self._problem.lr_size, self.coord is not None)
        self.lr_rows.index_add_(0, tile.rows.reshape(-1), of_tile.lr_rows.reshape(-1, self.lr_rows.shape[1]))
        for total, part in zip(self.parameters, of_tile.weights, strict=True):
            total += part
        if self.coord is not None and of_tile.coord is not None:
            self.coord[first:last] = of_tile.coord
        if self.cell is not None and of_tile.cell is not None:
            self.cell[first:last] = of_tile.cell


def _backward(grad: Tensor, problem: Problem, need: Need) -> Gradients:
    sums = _TileSums(problem, need)
    flat = grad.reshape(problem.images, problem.count, 3)
    for first, last, tile in tiles(problem, _weights(problem)):
        sums.add(first, last, tile, flat[:, first:last])
    image, skip_coord = skip_gradients(grad, problem, need)
    coord = problem.per_query(sums.coord, problem.queries.coord)
    cell = problem.per_query(sums.cell, problem.cell)
    rel_weight, *rest = sums.parameters
    return Gradients(
        lr_map=sums.lr_rows,
        image=image,
        coord=coord if coord is None or skip_coord is None else coord + skip_coord,
        cell=None if cell is None else times(cell, problem.lr_size),
        rel_weight=rel_weight,
        cell_weight=None if problem.cell_weight is None else rest.pop(0),
        weights=rest,
    )


_decode = operator.register("tiled", _forward, _backward)


def run(call: QueryCall) -> Tensor:
    """Decode the call's queries, with the baselines' decoders by `chunks`: (B, Q, 3)."""
    return _decode(call) if isinstance(call.weights, MLPWeights) else chunks.run(call)
