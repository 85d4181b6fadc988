"""Geometry of queries: pixel centres, cells, the corners of the local ensemble.

Coordinates are (y, x) in [-1, 1]; the centre of pixel i of n is (2i + 1)/n - 1. Arithmetic is float32 regardless of
the compute dtype (half precision would lose the shift of 1e-6), or float64 for float64 coordinates.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from arasfsr.config import CORNERS, FOURIER_OCTAVES

CORNER_SHIFT = 1e-6
"""Moves a corner off the boundary between two LR pixels; also how far corners stay inside [-1, 1]."""

AREA_FLOOR = 1e-9
"""Added to every corner's area, so that the four never sum to zero."""


def pixel_centres(index: Tensor, n: int) -> Tensor:
    """Coordinates of the pixels `index` among n: float32, in (-1, 1).

    Rounded as in the published implementation, first the product and then the sum: the highest octave of the Fourier
    encoding multiplies a rounding difference by 512.
    """
    return index.to(torch.float32) * (2 / n) + (1 / n - 1)


def grid_coords(
    size: tuple[int, int], first: int, last: int, width: int, origin: tuple[int, int], device: torch.device
) -> Tensor:
    """Coordinates of queries first .. last-1 of a region of an output grid, counted row by row.

    `size` is the whole grid (height, width), `width` the region's width, `origin` its (top, left).
    Returns float32 (last - first, 2).
    """
    query = torch.arange(first, last, device=device, dtype=torch.int64)
    y = pixel_centres(origin[0] + query // width, size[0])
    x = pixel_centres(origin[1] + query % width, size[1])
    return torch.stack((y, x), dim=-1)


def make_coord(size: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """Coordinates of a whole grid of (height, width) pixels, row by row: float32 (height * width, 2)."""
    return grid_coords(size, 0, size[0] * size[1], size[1], (0, 0), device or torch.device("cpu"))


def make_cell(size: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """The cell (2/H, 2/W) of a target of (height, width) pixels: float32 (2,)."""
    return torch.stack([torch.full((), 2 / side, dtype=torch.float32, device=device) for side in size])


def times(pair: Tensor, lr_size: tuple[int, int]) -> Tensor:
    """(y, x) times (h, w), along the last axis. Uses no host tensor, so CUDA graphs can capture it."""
    return torch.stack((pair[..., 0] * lr_size[0], pair[..., 1] * lr_size[1]), dim=-1)


def nearest_lr_pixel(x: Tensor, n: int) -> Tensor:
    """Index of the LR pixel nearest to x among n, as grid_sample(mode="nearest", align_corners=False) picks it.

    float32 arithmetic, ties to even. Returns int64 in [0, n), of x's shape.
    """
    x = x.to(torch.float32)
    return (((x + 1) * n - 1) / 2).round().to(torch.int64).clamp(0, n - 1)


def lr_pixel_centre(index: Tensor, n: int, dtype: torch.dtype) -> Tensor:
    """Centres of the LR pixels `index` among n, in (-1, 1)."""
    return (2 * index + 1).to(dtype) / n - 1


def lr_pixel_centres(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Centres of all n LR pixels along an axis: (n,)."""
    return torch.arange(1, 2 * n, 2, dtype=torch.float32, device=device).to(dtype) / n - 1


class Corners(NamedTuple):
    """The local ensemble's four corners; the leading axis of each field is the corner, in the order of CORNERS."""

    lr_pixel: Tensor
    """(4, ...) int64: the LR pixel's index, row by row."""
    rel: Tensor
    """(4, ..., 2): query minus that pixel's centre, in half LR pixels: (x - q)(h, w)."""
    centre: Tensor
    """(4, ..., 2): that pixel's centre q."""
    share: Tensor
    """(4, ...): the corner's share of the ensemble; the four sum to one."""


def local_ensemble(coord: Tensor, lr_size: tuple[int, int]) -> Corners:
    """LR pixels, offsets and shares of the four corners of each query (docs/method.md, section 1).

    `coord` is (..., 2), float32 or float64; gradients flow to it through `rel` and `share`.
    """
    h, w = lr_size
    low, high = -1 + CORNER_SHIFT, 1 - CORNER_SHIFT
    fixed = coord.detach().to(torch.float32)
    rows = {v: nearest_lr_pixel((fixed[..., 0] + (v / h + CORNER_SHIFT)).clamp(low, high), h) for v in (-1, 1)}
    columns = {v: nearest_lr_pixel((fixed[..., 1] + (v / w + CORNER_SHIFT)).clamp(low, high), w) for v in (-1, 1)}
    row = torch.stack([rows[vy] for vy, _ in CORNERS])
    column = torch.stack([columns[vx] for _, vx in CORNERS])
    centre = torch.stack((lr_pixel_centre(row, h, coord.dtype), lr_pixel_centre(column, w, coord.dtype)), dim=-1)
    rel = times(coord - centre, lr_size)
    area = rel.prod(dim=-1).abs() + AREA_FLOOR
    share = area.flip(0) / area.sum(dim=0)  # the area of the opposite corner
    return Corners(row * w + column, rel, centre, share)


def _octaves(coord: Tensor) -> Tensor:
    """2^k, k = 0 .. 9: (10, 1)."""
    return (1 << torch.arange(FOURIER_OCTAVES, device=coord.device)).to(coord.dtype).unsqueeze(-1)


def fourier_encoding(coord: Tensor) -> Tensor:
    """[x, sin(2^k x), cos(2^k x) for k = 0 .. 9] of (y, x), no pi: (..., 2) to (..., 42)."""
    scaled = coord.unsqueeze(-2) * _octaves(coord)
    waves = torch.stack((scaled.sin(), scaled.cos()), dim=-2)
    return torch.cat((coord, waves.flatten(-3)), dim=-1)


def local_ensemble_backward(corners: Corners, lr_size: tuple[int, int], grad_rel: Tensor, grad_share: Tensor) -> Tensor:
    """Gradient to coord (..., 2) from those to `rel` (4, ..., 2) and to `share` (4, ...) of `local_ensemble`."""
    rel = corners.rel
    area = rel.prod(dim=-1).abs() + AREA_FLOOR
    total = area.sum(dim=0)
    grad_area = (grad_share.flip(0) - (grad_share * corners.share).sum(dim=0)) / total
    grad_product = grad_area * rel.prod(dim=-1).sign()
    grad_rel = grad_rel + grad_product.unsqueeze(-1) * rel.flip(-1)
    return times(grad_rel.sum(dim=0), lr_size)


def fourier_encoding_backward(coord: Tensor, grad: Tensor) -> Tensor:
    """Gradient to coord (..., 2) from that to its Fourier encoding (..., 42)."""
    octaves = _octaves(coord)
    scaled = coord.unsqueeze(-2) * octaves
    waves = grad[..., 2:].unflatten(-1, (FOURIER_OCTAVES, 2, 2))
    grad_scaled = waves[..., 0, :] * scaled.cos() - waves[..., 1, :] * scaled.sin()
    total: Tensor = grad[..., :2] + (grad_scaled * octaves).sum(dim=-2)
    return total
