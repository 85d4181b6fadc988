"""How the tiled operator's arguments become tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from arasfsr.coords import local_ensemble
from arasfsr.decoder import DecoderWeights
from arasfsr.query.call import Grid, geometry_dtype
from arasfsr.query.tile_math import Tile

TILE = 512
"""Queries of a tile, all images together: 4 x TILE rows of the MLP stay in the cache between layers."""

SKIP_CHUNK = 1 << 16
"""Queries an image for which the skip is sampled at a time."""


class Arguments(NamedTuple):
    """The arguments of the operator `arasfsr::tiled`, in its order."""

    latent: Tensor
    """The LR map G (B, h, w, n)."""
    image: Tensor | None
    """(B, 3, h, w) for the skip."""
    coord: Tensor | None
    """(1 or B, Q, 2), or None with `grid`."""
    cell: Tensor | None
    """(1 or B, Q, 2) where cells differ from query to query, else None: their term is in the latent."""
    grid: Sequence[int] | None
    """H, W, top, left, bottom, right of a regular grid's region."""
    rel_weight: Tensor
    """(n, 2)."""
    cell_weight: Tensor | None
    """(n, 2), with `cell`."""
    weights: Sequence[Tensor]
    """`DecoderWeights.after_first`."""
    modulated: bool
    dtype: torch.dtype
    """Compute dtype."""

    @property
    def region(self) -> Grid | None:
        if self.grid is None:
            return None
        height, width, top, left, bottom, right = self.grid
        return Grid((height, width), (top, left, bottom, right))

    @property
    def queries(self) -> int:
        """Queries an image."""
        region = self.region
        if region is not None:
            return region.height * region.width
        assert self.coord is not None
        return self.coord.shape[1]

    @property
    def geometry(self) -> torch.dtype:
        """Dtype of coordinates, ensemble, skip and output."""
        return geometry_dtype(self.dtype)

    def skip_chunks(self) -> Iterator[tuple[int, int, Tensor]]:
        """Coordinates (1 or B, chunk, 2) of a bounded number of queries at a time, with the first and the end."""
        region = self.region
        for first in range(0, self.queries, SKIP_CHUNK):
            last = min(first + SKIP_CHUNK, self.queries)
            if region is not None:
                chunk = region.coords(first, last, self.latent.device).unsqueeze(0)
            else:
                assert self.coord is not None
                chunk = self.coord[:, first:last]
            yield first, last, chunk.to(self.geometry)


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


class Problem(NamedTuple):
    """The operator's arguments, cast and laid out for its tiles."""

    latent: Tensor
    """(B h w, n), in the geometry's dtype."""
    coord: Tensor | None
    """(queries, 2), None with a grid."""
    cell: Tensor | None
    """(queries, 2), times (h, w)."""
    grid: Grid | None
    rel_weight: Tensor
    cell_weight: Tensor | None
    weights: DecoderWeights
    """In the dtype of the products."""
    lr_size: tuple[int, int]
    images: int
    """Images that share the coordinates: their rows are decoded together. 1 where every query names its image."""
    queries: int
    per_image: int
    """Queries that belong to one image, where every query names its image, else 0."""
    geometry: torch.dtype

    @classmethod
    def of(cls, given: Arguments) -> Problem:
        """Lay out the operator's arguments."""
        batch, h, w, n = given.latent.shape
        geometry = given.geometry
        arithmetic = arithmetic_dtype(given.dtype, given.latent.device)
        coord, cell = given.coord, given.cell
        shared = coord is None or (coord.shape[0] == 1 and (cell is None or cell.shape[0] == 1))
        if coord is not None:
            coord = coord[0] if shared else coord.expand(batch, -1, -1).reshape(-1, 2)
        if cell is not None:
            scaled = (cell * cell.new_tensor([h, w])).to(geometry)
            cell = scaled[0] if shared else scaled.expand(batch, -1, -1).reshape(-1, 2)
        weights = [weight.to(given.dtype).to(arithmetic) for weight in given.weights]
        return cls(
            latent=given.latent.to(geometry).reshape(-1, n),
            coord=coord,
            cell=cell,
            grid=given.region,
            rel_weight=given.rel_weight.to(geometry),
            cell_weight=None if given.cell_weight is None else given.cell_weight.to(geometry),
            weights=DecoderWeights.unflatten(weights, given.modulated),
            lr_size=(h, w),
            images=batch if shared else 1,
            queries=given.queries if shared else batch * given.queries,
            per_image=0 if shared else given.queries,
            geometry=geometry,
        )

    def tiles(self) -> Iterator[tuple[int, int, Tile]]:
        """The tiles, each with its first query and the one after its last."""
        h, w = self.lr_size
        device = self.latent.device
        step = max(1, TILE // max(1, self.images))
        first_rows = (torch.arange(self.images, device=device) * (h * w)).view(1, -1, 1)
        for first in range(0, self.queries, step):
            last = min(first + step, self.queries)
            if self.grid is not None:
                coord = self.grid.coords(first, last, device)
            else:
                assert self.coord is not None
                coord = self.coord[first:last]
            coord = coord.to(self.geometry)
            corners = local_ensemble(coord, self.lr_size)
            rows = corners.cell.unsqueeze(1) + first_rows
            if self.per_image:
                rows = rows + (torch.arange(first, last, device=device) // self.per_image) * (h * w)
            cell = None if self.cell is None else self.cell[first:last]
            yield (
                first,
                last,
                Tile(self.latent, rows, corners, coord, cell, self.rel_weight, self.cell_weight, self.weights),
            )
