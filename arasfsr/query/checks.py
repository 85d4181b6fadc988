"""The one place where the operator's arguments are checked; every message names the argument, what was given and
what is taken."""

from __future__ import annotations

import torch
from torch import Tensor

from arasfsr.query.call import COMPUTE_DTYPES

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
