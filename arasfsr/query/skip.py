"""The skip: the LR image at the queries, bilinear, border padding."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

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
