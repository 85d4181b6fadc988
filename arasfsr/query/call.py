"""A call of the operator: its queries and arguments, and the argument checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from arasfsr.coords import grid_coords, make_cell
from arasfsr.errors import ArgumentError, ArgumentTypeError
from arasfsr.nn.decoders import WEIGHTS, Weights
from arasfsr.nn.decoders.mlp import FirstLayer
from arasfsr.query.lr_map import make_lr_map

COMPUTE_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

NAMED_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in COMPUTE_DTYPES}
"""Compute dtypes by name; arguments accept either."""

COORDINATE_DTYPES = (torch.float32, torch.float64)


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


@dataclass(frozen=True)
class Queries:
    """Queries: given coordinates, or the pixels of a grid's region, which all images share."""

    coord: Tensor | None
    """(1 or B, Q, 2), None with `grid`."""
    grid: Grid | None

    def count(self) -> int:
        """Queries per image, Q."""
        if self.grid is not None:
            return self.grid.height * self.grid.width
        assert self.coord is not None
        return self.coord.shape[1]

    def coords(self, first: int, last: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Coordinates of queries first .. last - 1: (1 or B, last - first, 2)."""
        if self.grid is not None:
            grid = self.grid
            return grid_coords(grid.size, first, last, grid.width, grid.region[:2], device).unsqueeze(0).to(dtype)
        assert self.coord is not None
        return self.coord[:, first:last].to(dtype)


@dataclass(frozen=True)
class QueryCall:
    """The checked arguments of a call, passed to every backend.

    Geometry, ensemble, skip and output are float32, or float64 if the compute dtype is float64.
    """

    features: Tensor
    """(B, D, h, w)."""
    image: Tensor | None
    """(B, 3, h, w) for the skip."""
    queries: Queries
    cell: Tensor | None
    """(1 or B, 1 or Q, 2); None with a grid, which determines it."""
    weights: Weights
    dtype: torch.dtype
    """Compute dtype of the decoder."""
    cache: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    """The LR map by grid size, last one only: regions of one picture share it."""

    @property
    def geometry_dtype(self) -> torch.dtype:
        return geometry_dtype(self.dtype)

    def coords(self, first: int, last: int) -> Tensor:
        """Coordinates of queries first .. last - 1, (1 or B, last - first, 2) in the geometry's dtype."""
        return self.queries.coords(first, last, self.geometry_dtype, self.features.device)

    def cells(self) -> Tensor:
        """The cells, (1 or B, 1 or Q, 2)."""
        if self.cell is not None:
            return self.cell
        assert self.queries.grid is not None
        return make_cell(self.queries.grid.size, self.features.device).view(1, 1, 2)

    def lr_map(self, first: FirstLayer) -> Tensor:
        """The LR map G (B, h, w, n); without gradients, regions of one grid share it."""
        if self.queries.grid is None:
            return make_lr_map(self.features, self.cells(), first)
        size = self.queries.grid.size
        if torch.is_grad_enabled():
            return make_lr_map(self.features, size, first)
        if size not in self.cache:
            self.cache.clear()
            self.cache[size] = make_lr_map(self.features, size, first)
        return self.cache[size]


def geometry_dtype(dtype: torch.dtype) -> torch.dtype:
    """Dtype of coordinates, areas, Fourier arguments and output under a compute dtype."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_image(inp: Tensor) -> None:
    """`inp` must be a floating-point (B, 3, h, w) with h, w >= 1."""
    if not isinstance(inp, Tensor):
        raise ArgumentTypeError(f"inp must be a tensor (B, 3, h, w), got {type(inp).__name__}")
    if inp.dim() != 4 or inp.shape[1] != 3 or inp.shape[2] < 1 or inp.shape[3] < 1:
        raise ArgumentError(f"inp must have shape (B, 3, h, w) with h and w at least 1, got {tuple(inp.shape)}")
    if not inp.is_floating_point():
        raise ArgumentTypeError(f"inp must be floating point with values in [-1, 1], got {inp.dtype}")


def check_encoding(features: Tensor, image: Tensor | None, weights: Weights) -> None:
    """Check a feature map (B, D, h, w), the image (B, 3, h, w) or None, and the parameters of a decoder of it."""
    if not isinstance(weights, WEIGHTS):
        raise ArgumentTypeError(f"weights must be what a decoder's weights() returns, got {type(weights).__name__}")
    if not isinstance(features, Tensor):
        raise ArgumentTypeError(f"features must be a tensor (B, D, h, w), got {type(features).__name__}")
    shape, channels, device = features.shape, weights.channels(), features.device
    if len(shape) != 4 or shape[1] != channels or shape[2] < 1 or shape[3] < 1:
        raise ArgumentError(
            f"features must have shape (B, {channels}, h, w), {channels} being the decoder's channels, with h and w "
            f"at least 1, got {tuple(shape)}"
        )
    if not features.is_floating_point():
        raise ArgumentTypeError(f"features must be floating point, got {features.dtype}")
    if weights.output[0].device != device:
        raise ArgumentError(f"weights must be on the features' device {device}, got {weights.output[0].device}")
    if image is None:
        return
    if not isinstance(image, Tensor):
        raise ArgumentTypeError(f"image must be a tensor (B, 3, h, w) or None, got {type(image).__name__}")
    fitting = (shape[0], 3, shape[2], shape[3])
    if tuple(image.shape) != fitting:
        must = f"image must have shape {fitting}, the batch and size of the features"
        raise ArgumentError(f"{must}, got {tuple(image.shape)}")
    if not image.is_floating_point():
        raise ArgumentTypeError(f"image must be floating point with values in [-1, 1], got {image.dtype}")
    if image.device != device:
        raise ArgumentError(f"image must be on the features' device {device}, got {image.device}")


def check_coord_cell(coord: Tensor, cell: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Check `coord` (1 or B, Q, 2) and `cell` (2,), (1 or B, 1, 2) or (1 or B, Q, 2); returns both, the cell 3-d."""
    batch = features.shape[0]
    for name, tensor in (("coord", coord), ("cell", cell)):
        if not isinstance(tensor, Tensor):
            raise ArgumentTypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
        if tensor.dtype not in COORDINATE_DTYPES:
            raise ArgumentTypeError(
                f"{name} must be float32 or float64 (half precision cannot hold coordinates), got {tensor.dtype}"
            )
        if tensor.device != features.device:
            raise ArgumentError(f"{name} must be on the model input's device {features.device}, got {tensor.device}")
    if coord.dim() != 3 or coord.shape[2] != 2 or coord.shape[0] not in (1, batch):
        raise ArgumentError(f"coord must have shape (B, Q, 2) with B = {batch} (or 1), got {tuple(coord.shape)}")
    if cell.dim() == 1:
        cell = cell.view(1, 1, -1)
    if (
        cell.dim() != 3
        or cell.shape[2] != 2
        or cell.shape[0] not in (1, batch)
        or cell.shape[1] not in (1, coord.shape[1])
    ):
        raise ArgumentError(
            f"cell must have shape (B, Q, 2) with B = {batch} (or 1) and Q = {coord.shape[1]} (or 1), or (2,), got "
            f"{tuple(cell.shape)}"
        )
    return coord, cell


def check_size(size: tuple[int, int], name: str = "size") -> tuple[int, int]:
    """Check an output size (height, width), whole numbers of at least 1, and return it as a tuple."""
    must = f"{name} must be (height, width), whole numbers of at least 1, got {size!r}"
    if not isinstance(size, (tuple, list)):
        raise ArgumentTypeError(must)
    if len(size) != 2 or not _are_whole(size) or min(size) < 1:
        raise ArgumentError(must)
    return int(size[0]), int(size[1])


def _are_whole(numbers: Sequence[object]) -> bool:
    """Whether all are integers, Python's or NumPy's, and not bools."""
    return all(isinstance(each, int | np.integer) and not isinstance(each, bool) for each in numbers)


def check_region(region: tuple[int, int, int, int] | None, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Check a region (top, left, bottom, right) inside `size`; None is all of it. It may be empty."""
    if region is None:
        return 0, 0, *size
    if not isinstance(region, (tuple, list)) or len(region) != 4 or not _are_whole(region):
        raise ArgumentError(f"region must be (top, left, bottom, right), got {region!r}")
    top, left, bottom, right = map(int, region)
    if not (0 <= top <= bottom <= size[0] and 0 <= left <= right <= size[1]):
        raise ArgumentError(
            f"region must be (top, left, bottom, right) with 0 <= top <= bottom <= {size[0]} and "
            f"0 <= left <= right <= {size[1]}, got {region!r}"
        )
    return top, left, bottom, right


def compute_dtype(dtype: torch.dtype | str | None, features: Tensor) -> torch.dtype:
    """The decoder's compute dtype: `dtype`, or its name; by default autocast's if enabled, else the features'."""
    if dtype is None:
        device = features.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype
    compute = NAMED_DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if compute not in COMPUTE_DTYPES:
        given = repr(dtype) if isinstance(dtype, str) else dtype
        raise ArgumentError(f"dtype must be one of {', '.join(NAMED_DTYPES)}, got {given}")
    return compute
