"""The operator's arguments as a problem to be cut into tiles: which queries share coordinates, in which dtypes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from arasfsr.coords import times
from arasfsr.query.call import Grid
from arasfsr.query.operator import Arguments


class Problem(NamedTuple):
    """The operator's arguments, cast and flattened: what a backend's tiles are cut from."""

    latent: Tensor
    """(B h w, n), in the geometry's dtype."""
    coord: Tensor | None
    """(queries, 2), None with a grid."""
    cell: Tensor | None
    """(queries, 2), times (h, w)."""
    grid: Grid | None
    rel_weight: Tensor
    cell_weight: Tensor | None
    lr_size: tuple[int, int]
    images: int
    """Images that share the coordinates: their rows are decoded together. 1 where every query names its image."""
    queries: int
    per_image: int
    """Queries that belong to one image, where every query names its image, else 0."""
    geometry: torch.dtype

    @classmethod
    def of(cls, given: Arguments) -> Problem:
        """Lay out the operator's arguments, but for the layers after the first."""
        batch, h, w, n = given.latent.shape
        geometry = given.geometry
        coord, cell, queries = given.coord, given.cell, given.queries
        shared = coord is None or (coord.shape[0] == 1 and (cell is None or cell.shape[0] == 1))
        if coord is not None:
            coord = coord[0] if shared else coord.expand(batch, -1, -1).reshape(-1, 2)
        if cell is not None:
            scaled = times(cell, (h, w)).to(geometry)
            cell = scaled[0] if shared else scaled.expand(batch, -1, -1).reshape(-1, 2)
        return cls(
            latent=given.latent.to(geometry).reshape(-1, n),
            coord=coord,
            cell=cell,
            grid=given.region,
            rel_weight=given.rel_weight.to(geometry),
            cell_weight=None if given.cell_weight is None else given.cell_weight.to(geometry),
            lr_size=(h, w),
            images=batch if shared else 1,
            queries=queries if shared else batch * queries,
            per_image=0 if shared else queries,
            geometry=geometry,
        )

    def per_query(self, found: Tensor | None, given: Tensor | None) -> Tensor | None:
        """(queries, 2) in the shape of what was given, summed over the images that one coordinate or cell served."""
        if found is None or given is None:
            return None
        shaped = found.view(-1 if self.per_image else 1, given.shape[1], 2)
        return shaped if shaped.shape[0] == given.shape[0] else shaped.sum(0, keepdim=True)
