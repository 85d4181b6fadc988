"""The skip: the LR image at the queries, bilinear, border padding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from arasfsr.query.operator import Arguments, Need

SKIP_CHUNK = 1 << 16
"""Queries an image for which the skip is sampled at a time."""

_BILINEAR, _BORDER = 0, 1  # how aten's grid_sampler numbers the modes


def _as_grid(coord: Tensor, batch: int) -> Tensor:
    """(1 or B, Q, 2) as (y, x) to grid_sample's (B, 1, Q, 2) as (x, y)."""
    return coord.flip(-1).unsqueeze(1).expand(batch, 1, coord.shape[1], 2)


def bilinear_skip(image: Tensor, coord: Tensor) -> Tensor:
    """The image (B, 3, h, w) at coord (1 or B, Q, 2): (B, Q, 3)."""
    grid = _as_grid(coord, image.shape[0])
    sampled = F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled[:, :, 0, :].transpose(1, 2)


def bilinear_skip_backward(grad: Tensor, image: Tensor, coord: Tensor, need_image: bool) -> tuple[Tensor, Tensor]:
    """Gradients to image (empty unless needed) and coord of `bilinear_skip`, from grad (B, Q, 3)."""
    grid = _as_grid(coord, image.shape[0])
    grad_image, grad_grid = torch.ops.aten.grid_sampler_2d_backward(
        grad.transpose(1, 2).unsqueeze(2), image, grid, _BILINEAR, _BORDER, False, [need_image, True]
    )
    grad_coord = grad_grid[:, 0].flip(-1)
    return grad_image, grad_coord if coord.shape[0] > 1 else grad_coord.sum(0, keepdim=True)


def _chunks(given: Arguments) -> Iterator[tuple[int, int, Tensor]]:
    """Coordinates (1 or B, chunk, 2) of a bounded number of queries at a time, with the first and the end."""
    region = given.region
    for first in range(0, given.queries, SKIP_CHUNK):
        last = min(first + SKIP_CHUNK, given.queries)
        if region is not None:
            chunk = region.coords(first, last, given.latent.device).unsqueeze(0)
        else:
            assert given.coord is not None
            chunk = given.coord[:, first:last]
        yield first, last, chunk.to(given.geometry)


def add_skip(out: Tensor, given: Arguments) -> None:
    """Add the skip, where there is one, to the decoder's output (B, Q, 3) in place."""
    if given.image is not None:
        for first, last, coord in _chunks(given):
            out[:, first:last] += bilinear_skip(given.image.to(out.dtype), coord)


def skip_gradients(grad: Tensor, given: Arguments, need: Need) -> tuple[Tensor | None, Tensor | None]:
    """What the skip gives of grad (B, Q, 3) to the image and to coord; None for what is not wanted or not there."""
    if given.image is None or not (need.image or need.coord):
        return None, None
    image = given.image.to(given.geometry)
    grad_image = torch.zeros_like(image) if need.image else None
    parts = []
    for first, last, coord in _chunks(given):
        part_image, part_coord = bilinear_skip_backward(grad[:, first:last], image, coord, need.image)
        if grad_image is not None:
            grad_image += part_image
        if need.coord:
            parts.append(part_coord)
    return grad_image, torch.cat(parts, dim=1) if parts else None
