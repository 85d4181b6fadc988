"""One call of the operator, checked: what every backend gets."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from arasfsr.coords import grid_coords, make_cell
from arasfsr.decoder import DecoderWeights, FirstLayer
from arasfsr.query.latent import latent_map

COMPUTE_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


@dataclass(frozen=True)
class Grid:
    """The pixels `region` = (top, left, bottom, right) of a regular output grid of `size` = (H, W)."""

    size: tuple[int, int]
    region: tuple[int, int, int, int]

    @property
    def height(self) -> int:
        return self.region[2] - self.region[0]

    @property
    def width(self) -> int:
        return self.region[3] - self.region[1]

    def coords(self, first: int, last: int, device: torch.device) -> Tensor:
        """Coordinates of the region's pixels first .. last-1, row by row: float32 (last - first, 2)."""
        return grid_coords(self.size, first, last, self.width, self.region[:2], device)


@dataclass(frozen=True)
class QueryCall:
    """Queries to decode: given coordinates, or a region of a regular grid that all images share.

    `features` (B, D, h, w); `image` (B, 3, h, w) for the skip, or None; `coord` (1 or B, Q, 2), or None with `grid`;
    `cell` (1 or B, 1 or Q, 2), or None with `grid`, whose own it then is; `dtype` the compute dtype of the decoder.
    Geometry, ensemble, skip and output are float32, or float64 where the compute dtype is float64. `cache` keeps the LR
    map of the last grid size, so that regions of one picture share it.
    """

    features: Tensor
    image: Tensor | None
    coord: Tensor | None
    cell: Tensor | None
    grid: Grid | None
    weights: DecoderWeights
    dtype: torch.dtype
    cache: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    @property
    def queries(self) -> int:
        """Queries an image."""
        if self.grid is not None:
            return self.grid.height * self.grid.width
        assert self.coord is not None
        return self.coord.shape[1]

    @property
    def geometry_dtype(self) -> torch.dtype:
        return geometry_dtype(self.dtype)

    def coordinates(self) -> Tensor:
        """All coordinates, (1 or B, Q, 2) in the geometry's dtype."""
        if self.grid is not None:
            coord = self.grid.coords(0, self.queries, self.features.device).unsqueeze(0)
        else:
            assert self.coord is not None
            coord = self.coord
        return coord.to(self.geometry_dtype)

    def cells(self) -> Tensor:
        """The cells, (1 or B, 1 or Q, 2)."""
        if self.cell is not None:
            return self.cell
        assert self.grid is not None
        return make_cell(self.grid.size, self.features.device).view(1, 1, 2)

    def latent(self, first: FirstLayer) -> Tensor:
        """The LR map G (B, h, w, n) of `latent_map`; regions of one grid get the same one unless gradients flow."""
        if self.grid is None:
            return latent_map(self.features, self.cells(), first)
        size = self.grid.size
        if torch.is_grad_enabled():
            return latent_map(self.features, size, first)
        if size not in self.cache:
            self.cache.clear()
            self.cache[size] = latent_map(self.features, size, first)
        return self.cache[size]


def geometry_dtype(dtype: torch.dtype) -> torch.dtype:
    """Dtype of coordinates, areas, Fourier arguments and output under a compute dtype."""
    return torch.float64 if dtype == torch.float64 else torch.float32
