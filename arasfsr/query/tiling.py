"""How a problem becomes the tiles of backend `tiled`, and what they are multiplied in."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from arasfsr.coords import Corners, local_ensemble
from arasfsr.decoder import DecoderWeights
from arasfsr.query.problem import Problem
from arasfsr.query.products import Products
from arasfsr.query.tile_math import Tile

TILE = 512
"""Queries of a tile in float32, all images together: 4 x TILE rows of the MLP stay in the cache between layers. In half
precision they are twice as many, of the same memory."""

GPU_TILE = 16_384
"""Likewise on a GPU, which a smaller one would leave waiting for the next call: 64 MB for each of its tensors."""

GEOMETRY_TILES = 16
"""Tiles whose coordinates, corners and rows are computed together: small tensors cost a call more than their work."""


def arithmetic_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """What `dtype` is multiplied in: itself, or float32 on a CPU without matrix instructions for it.

    There the parameters are rounded to `dtype` and the arithmetic goes beyond it: ten times faster than emulated
    half-precision products, and closer to the truth.
    """
    if device.type != "cpu" or dtype in (torch.float32, torch.float64):
        return dtype
    native = {
        torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported,
        torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported,
    }
    return dtype if native[dtype]() else torch.float32


def tiles(problem: Problem, weights: DecoderWeights) -> Iterator[tuple[int, int, Tile]]:
    """The tiles, each with its first query and the one after its last. Geometry is made for many of them at once.

    `weights` are the layers after the first, in the dtype of the products.
    """
    per_number = weights.output[0].element_size()
    products = Products()
    whole = TILE if problem.latent.device.type == "cpu" else GPU_TILE
    step = max(1, whole * 4 // per_number // max(1, problem.images))
    for start in range(0, problem.queries, step * GEOMETRY_TILES):
        stop = min(start + step * GEOMETRY_TILES, problem.queries)
        coord, corners, rows = _geometry(problem, start, stop)
        for first in range(start, stop, step):
            last = min(first + step, stop)
            part = slice(first - start, last - start)
            tile = Tile(
                latent=problem.latent,
                rows=rows[:, :, part],
                corners=Corners(*(field[:, part] for field in corners)),
                coord=coord[part],
                cell=None if problem.cell is None else problem.cell[first:last],
                rel_weight=problem.rel_weight,
                cell_weight=problem.cell_weight,
                weights=weights,
                products=products,
            )
            yield first, last, tile


def _geometry(problem: Problem, first: int, last: int) -> tuple[Tensor, Corners, Tensor]:
    """Of queries first .. last - 1: coordinates (T, 2), corners, and the corners' rows of the LR map (4, images, T)."""
    h, w = problem.lr_size
    device = problem.latent.device
    if problem.grid is not None:
        coord = problem.grid.coords(first, last, device)
    else:
        assert problem.coord is not None
        coord = problem.coord[first:last]
    coord = coord.to(problem.geometry)
    corners = local_ensemble(coord, problem.lr_size)
    rows = corners.cell.unsqueeze(1) + (torch.arange(problem.images, device=device) * (h * w)).view(1, -1, 1)
    if problem.per_image:
        rows = rows + (torch.arange(first, last, device=device) // problem.per_image) * (h * w)
    return coord, corners, rows
