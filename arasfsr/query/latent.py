"""The LR map G: all of the first layer that does not depend on where in its cell a query lies."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from arasfsr.coords import cell_centre, times
from arasfsr.decoder import FirstLayer


def latent_map(features: Tensor, cell: Tensor, first: FirstLayer) -> Tensor:
    """G (B, h, w, n): I_0 over [unfold(F), q], its bias, and the cell's term where one cell serves an image.

    `features` is (B, D, h, w), `cell` (1 or B, 1 or Q, 2); with Q > 1 its term is left to the query. The dtype is
    the features'. Unfolding and a matrix product are a 3 x 3 convolution (DESIGN, section 2).
    """
    h, w = features.shape[2:]
    dtype = features.dtype
    constant = first.bias.to(dtype)
    if first.centre is not None:
        y = cell_centre(torch.arange(h, device=features.device), h, dtype).view(h, 1, 1)
        x = cell_centre(torch.arange(w, device=features.device), w, dtype).view(1, w, 1)
        by_y, by_x = first.centre.to(dtype).unbind(dim=1)
        constant = constant + y * by_y + x * by_x
    if cell.shape[1] == 1:
        scaled = times(cell, (h, w)).to(dtype)
        constant = constant + F.linear(scaled, first.cell.to(dtype)).unsqueeze(1)
    channels_last = features.contiguous(memory_format=torch.channels_last)  # as G: faster, and untransposed
    unfolded = F.conv2d(channels_last, first.unfold.to(dtype), padding=1)
    return (unfolded.permute(0, 2, 3, 1) + constant).contiguous()
