"""LTE's and DIINN's decoders in backend `tiled`: chunks of queries, checkpointed in autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from arasfsr.coords import local_ensemble, times
from arasfsr.nn.decoders import diinn, lte
from arasfsr.query.call import QueryCall
from arasfsr.query.skip import bilinear_skip
from arasfsr.query.tiled.products import arithmetic_dtype

CHUNK = 2048
"""Queries of a chunk, over all images: 4 x CHUNK rows are in memory at a time."""


DECODERS: dict[type, Any] = {lte.LTEWeights: lte, diinn.DIINNWeights: diinn}
"""The module that decodes with parameters of each type."""


def run(call: QueryCall) -> Tensor:
    """Decode the call's queries chunk by chunk: (B, Q, 3)."""
    dtype = arithmetic_dtype(call.dtype, call.features.device)
    weights: Any = call.weights.to(call.dtype).to(dtype)
    decoder = DECODERS[type(weights)]
    lr = decoder.lr_maps(call.features.to(call.dtype).to(dtype), weights)
    count, step = call.queries.count(), max(1, CHUNK // max(1, lr.shape[0]))
    parts = []
    for first in range(0, max(1, count), step):
        arguments = (call, lr, decoder.corner_outputs, weights, first, min(first + step, count))
        if torch.is_grad_enabled():
            parts.append(checkpoint(_decode, *arguments, use_reentrant=False, preserve_rng_state=False))
        else:
            parts.append(_decode(*arguments))
    return torch.cat(parts, dim=1)


def _decode(call: QueryCall, lr: Tensor, output: Callable[..., Tensor], weights: Any, first: int, last: int) -> Tensor:
    """Queries first .. last - 1 from the LR maps (B, C, h, w): (B, T, 3) in the geometry's dtype."""
    batch, channels, h, w = lr.shape
    coord, cells = call.coords(first, last), call.cells()
    cell = times(cells if cells.shape[1] == 1 else cells[:, first:last], (h, w)).to(coord.dtype)
    corners = local_ensemble(coord, (h, w))
    index = corners.lr_pixel + (torch.arange(batch, device=lr.device) * (h * w)).unsqueeze(-1)
    pixels = lr.permute(0, 2, 3, 1).reshape(batch * h * w, channels)
    rows = pixels.index_select(0, index.reshape(-1)).view(*index.shape, channels)
    out = (corners.share.unsqueeze(-1) * output(rows, corners.rel, cell, weights)).sum(0)
    return out if call.image is None else out + bilinear_skip(call.image.to(coord.dtype), coord)
