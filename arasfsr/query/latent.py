"""The LR map G: all of the first layer that does not depend on where in its cell a query lies."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from arasfsr.coords import cell_centres, times
from arasfsr.decoder import FirstLayer
from arasfsr.query.convolution import convolve


def latent_map(features: Tensor, cell: Tensor, first: FirstLayer) -> Tensor:
    """G (B, h, w, n): I_0 over [unfold(F), q], its bias, and the cell's term where one cell serves an image.

    `features` is (B, D, h, w), `cell` (1 or B, 1 or Q, 2); with Q > 1 its term is left to the query. The dtype is
    the features'. Unfolding and a matrix product are a 3 x 3 convolution (DESIGN, section 2).
    """
    h, w = features.shape[2:]
    dtype, device = features.dtype, features.device
    constant = first.bias.to(dtype).view(1, 1, 1, -1)
    if cell.shape[1] == 1:
        constant = F.linear(times(cell, (h, w)).to(dtype), first.cell.to(dtype), first.bias.to(dtype)).unsqueeze(1)
    terms = [constant]
    if first.centre is not None:
        by_y, by_x = first.centre.to(dtype).unbind(dim=1)
        terms[0] = constant + cell_centres(h, dtype, device).view(1, h, 1, 1) * by_y
        terms.append(cell_centres(w, dtype, device).view(1, 1, w, 1) * by_x)
    return convolve(features, first.unfold.to(dtype), *terms)
