"""The LR map G: the part of the first layer that does not depend on a query's position within an LR pixel."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor
from torch.nn import functional as F

from arasfsr.coords import lr_pixel_centres, make_cell, times
from arasfsr.nn.convolution import convolve
from arasfsr.nn.decoders.mlp import FirstLayer, MLPWeights, split_first_layer
from arasfsr.nn.memo import Value, remembered

FEW = 1 << 15
"""Up to this many LR pixels, the summed terms of a frozen first layer are cached: 34 MB at width 256."""


def first_layer(weights: MLPWeights) -> FirstLayer:
    """I_0 split along its inputs; if frozen, split once and with a cache for values derived from it."""
    modulated = weights.is_modulated()
    return remembered(weights.content[0], "first layer", lambda: split_first_layer(weights), modulated, _copied)


def _copied(first: FirstLayer) -> FirstLayer:
    """Copies, since views would keep the whole weight alive."""
    parts = {name: part.clone() for name, part in first._asdict().items() if part is not None}
    return FirstLayer(**{"centre": None, **parts}, kept={})


def make_lr_map(features: Tensor, cell: Tensor | tuple[int, int], first: FirstLayer) -> Tensor:
    """G (B, h, w, n): I_0 over [unfold(F), q], its bias, and the cell's term if all queries of an image share a cell.

    `features` is (B, D, h, w); `cell` is (1 or B, 1 or Q, 2), or the size of the output grid. With Q > 1 the cell's
    term is left to the queries. The dtype is that of the features. Unfolding followed by a matrix product is a 3 x 3
    convolution (docs/method.md, section 2).
    """
    dtype, device = features.dtype, features.device
    lr_size = features.shape[2], features.shape[3]
    if isinstance(cell, Tensor):
        terms = _terms(lr_size, cell, first, dtype)
    else:
        size = cell

        def of_grid() -> list[Tensor]:
            terms = _terms(lr_size, make_cell(size, device).view(1, 1, 2), first, dtype)
            few = first.kept is not None and lr_size[0] * lr_size[1] <= FEW
            return [terms[0] + terms[1]] if few and len(terms) > 1 else terms

        terms = _kept(first, "terms", (size, lr_size, dtype), of_grid)
    weight = _kept(first, "weight", dtype, lambda: first.unfold.to(dtype).unflatten(1, (-1, 3, 3)))
    return convolve(features, weight, *terms)


def _kept(first: FirstLayer, name: str, variant: Hashable, make: Callable[[], Value]) -> Value:
    """`make()`, or for a frozen first layer its last value under that name if it had the same variant."""
    if first.kept is None:
        return make()
    entry = first.kept.get(name)
    if entry is None or entry[0] != variant:
        with torch.inference_mode(False), torch.no_grad():
            entry = first.kept[name] = variant, make()
    value: Value = entry[1]
    return value


def _terms(lr_size: tuple[int, int], cell: Tensor, first: FirstLayer, dtype: torch.dtype) -> list[Tensor]:
    """The terms added to the convolution: (1 or B, 1 or h, 1, n), and with modulation (1, 1, w, n)."""
    h, w = lr_size
    bias = first.bias.to(dtype)
    constant = bias.view(1, 1, 1, -1)
    if cell.shape[1] == 1:
        constant = F.linear(times(cell, lr_size).to(dtype), first.cell.to(dtype), bias).unsqueeze(1)
    if first.centre is None:
        return [constant]
    by_y, by_x = first.centre.to(dtype).unbind(dim=1)
    y = lr_pixel_centres(h, dtype, bias.device).view(1, h, 1, 1)
    x = lr_pixel_centres(w, dtype, bias.device).view(1, 1, w, 1)
    return [constant + y * by_y, x * by_x]
