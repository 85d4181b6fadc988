"""One call of the operator, checked: what every backend gets."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from arasfsr.coords import grid_coords, make_cell
from arasfsr.nn.decoder import DecoderWeights, FirstLayer
from arasfsr.query.lr_map import latent_map

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


COORDINATE_DTYPES = (torch.float32, torch.float64)

NAMED_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in COMPUTE_DTYPES}
"""Compute dtypes by name, which are taken in their place."""


def check_image(inp: Tensor) -> None:
    """`inp` must be a floating-point (B, 3, h, w) with h, w >= 1."""
    if not isinstance(inp, Tensor):
        raise TypeError(f"inp is a {type(inp).__name__}; taken is a tensor (B, 3, h, w)")
    if inp.dim() != 4 or inp.shape[1] != 3 or inp.shape[2] < 1 or inp.shape[3] < 1:
        raise ValueError(f"inp has shape {tuple(inp.shape)}; taken is (B, 3, h, w) with h and w of at least 1")
    if not inp.is_floating_point():
        raise TypeError(f"inp has dtype {inp.dtype}; taken is a floating-point dtype, values in [-1, 1]")


def check_coord_cell(coord: Tensor, cell: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Check `coord` (1 or B, Q, 2) and `cell` (2,), (1 or B, 1, 2) or (1 or B, Q, 2); the cell comes back 3-d."""
    batch = features.shape[0]
    for name, tensor in (("coord", coord), ("cell", cell)):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} is a {type(tensor).__name__}; taken is a tensor")
        if tensor.dtype not in COORDINATE_DTYPES:
            raise TypeError(
                f"{name} has dtype {tensor.dtype}; taken are float32 and float64, half precision cannot "
                "hold coordinates"
            )
        if tensor.device != features.device:
            raise ValueError(f"{name} is on {tensor.device}; the model's input is on {features.device}")
    if coord.dim() != 3 or coord.shape[2] != 2 or coord.shape[0] not in (1, batch):
        raise ValueError(f"coord has shape {tuple(coord.shape)}; taken is (B, Q, 2) with B = {batch} (or 1)")
    if cell.dim() == 1:
        cell = cell.view(1, 1, -1)
    if (
        cell.dim() != 3
        or cell.shape[2] != 2
        or cell.shape[0] not in (1, batch)
        or cell.shape[1] not in (1, coord.shape[1])
    ):
        raise ValueError(
            f"cell has shape {tuple(cell.shape)}; taken is (B, Q, 2) with B = {batch} (or 1) and Q = "
            f"{coord.shape[1]} (or 1), or (2,)"
        )
    return coord, cell


def check_size(size: tuple[int, int], name: str = "size") -> tuple[int, int]:
    """An output size (height, width), whole numbers of at least 1."""
    if not isinstance(size, (tuple, list)):
        raise TypeError(f"{name} is {size!r}; taken is (height, width), whole numbers of at least 1")
    if len(size) != 2 or any(not isinstance(side, int) or isinstance(side, bool) or side < 1 for side in size):
        raise ValueError(f"{name}={size!r}; taken is (height, width), whole numbers of at least 1")
    return size[0], size[1]


def check_region(region: tuple[int, int, int, int] | None, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A region (top, left, bottom, right) inside `size`; None is all of it. An empty one is taken."""
    if region is None:
        return 0, 0, *size
    if not isinstance(region, (tuple, list)) or len(region) != 4:
        raise ValueError(f"region={region!r}; taken is (top, left, bottom, right)")
    top, left, bottom, right = region
    if not (0 <= top <= bottom <= size[0] and 0 <= left <= right <= size[1]):
        raise ValueError(
            f"region={region!r}; taken is (top, left, bottom, right) with 0 <= top <= bottom <= {size[0]} and "
            f"0 <= left <= right <= {size[1]}"
        )
    return top, left, bottom, right


def compute_dtype(dtype: torch.dtype | str | None, features: Tensor) -> torch.dtype:
    """The decoder's compute dtype: as asked, itself or its name, else autocast's where it is on, else the features'."""
    if dtype is None:
        device = features.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype
    found = NAMED_DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if found not in COMPUTE_DTYPES:
        given = repr(dtype) if isinstance(dtype, str) else dtype
        raise ValueError(f"dtype={given}; taken are {', '.join(NAMED_DTYPES)}")
    return found
