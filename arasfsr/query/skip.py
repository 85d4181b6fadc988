"""The skip: the LR image sampled at the queries, bilinear with border padding."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from arasfsr.query.operator import Need, Problem

SKIP_CHUNK = 1 << 16
"""Queries per image sampled at a time."""


def bilinear_skip(image: Tensor, coord: Tensor) -> Tensor:
    """Sample the image (B, 3, h, w) at coord (1 or B, Q, 2): (B, Q, 3)."""
    grid = coord.flip(-1).unsqueeze(1).expand(image.shape[0], 1, coord.shape[1], 2)  # grid_sample takes (x, y)
    sampled = F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled[:, :, 0, :].transpose(1, 2)


def _between(x: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For coordinates among n pixels: lower and upper neighbour, the upper one's weight, and its derivative by x."""
    place = ((x + 1) * n - 1) / 2
    slope = ((place > 0) & (place < n - 1)).to(x.dtype) * (n / 2)  # constant beyond the border
    place = place.clamp(0, n - 1)
    below = place.floor()
    index = below.to(torch.int64)
    return index, (index + 1).clamp(max=n - 1), place - below, slope


def bilinear_skip_backward(
    grad: Tensor, image: Tensor, coord: Tensor, need_image: bool
) -> tuple[Tensor | None, Tensor]:
    """Gradients to image (None unless needed) and coord of `bilinear_skip`, from grad (B, Q, 3).

    Explicit, since grid_sample's backward is never deterministic on CUDA devices; index_add_ can be.
    """
    batch, _, h, w = image.shape
    top, bottom, down, slope_y = _between(coord[..., 0], h)
    left, right, along, slope_x = _between(coord[..., 1], w)
    pixels = image.permute(0, 2, 3, 1).reshape(-1, 3)
    first = torch.arange(batch, device=image.device).view(-1, 1) * (h * w)
    grad_pixels = torch.zeros_like(pixels) if need_image else None
    grad_y = grad_x = torch.zeros_like(grad[..., 0])
    for row, share_y, sign_y in ((top, 1 - down, -1), (bottom, down, 1)):
        for column, share_x, sign_x in ((left, 1 - along, -1), (right, along, 1)):
            index = row * w + column + first
            product = (pixels[index] * grad).sum(-1)
            grad_y = grad_y + product * share_x * sign_y
            grad_x = grad_x + product * share_y * sign_x
            if grad_pixels is not None:
                part = grad * (share_y * share_x).unsqueeze(-1)
                grad_pixels.index_add_(0, index.reshape(-1), part.reshape(-1, 3))
    grad_coord = torch.stack((grad_y * slope_y, grad_x * slope_x), dim=-1)
    grad_image = None if grad_pixels is None else grad_pixels.view(batch, h, w, 3).permute(0, 3, 1, 2)
    return grad_image, grad_coord if coord.shape[0] > 1 else grad_coord.sum(0, keepdim=True)


def _chunks(problem: Problem) -> Iterator[tuple[int, int, Tensor]]:
    """Yields first, last and coordinates (1 or B, last - first, 2) of chunks of queries."""
    queries = problem.queries
    for first in range(0, queries.count(), SKIP_CHUNK):
        last = min(first + SKIP_CHUNK, queries.count())
        yield first, last, queries.coords(first, last, problem.geometry, problem.lr_map.device)


def add_skip(out: Tensor, problem: Problem) -> None:
    """Add the skip, if there is one, to the decoder's output (B, Q, 3) in place."""
    if problem.image is not None:
        for first, last, coord in _chunks(problem):
            out[:, first:last] += bilinear_skip(problem.image.to(out.dtype), coord)


def skip_gradients(grad: Tensor, problem: Problem, need: Need) -> tuple[Tensor | None, Tensor | None]:
    """The skip's gradients to image and coord from grad (B, Q, 3); None if not needed or without a skip."""
    if problem.image is None or not (need.image or need.coord):
        return None, None
    image = problem.image.to(problem.geometry)
    grad_image = torch.zeros_like(image) if need.image else None
    parts = []
    for first, last, coord in _chunks(problem):
        part_image, part_coord = bilinear_skip_backward(grad[:, first:last], image, coord, need.image)
        if grad_image is not None and part_image is not None:
            grad_image += part_image
        if need.coord:
            parts.append(part_coord)
    return grad_image, torch.cat(parts, dim=1) if parts else None
