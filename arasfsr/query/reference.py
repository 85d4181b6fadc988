"""Backend `reference`: the method as written, slow on purpose; in float64 it is the oracle of every other backend."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from arasfsr.coords import fourier_encoding, local_ensemble, times
from arasfsr.nn.decoder import DecoderWeights
from arasfsr.query.call import QueryCall
from arasfsr.query.skip import bilinear_skip


def _mlp(z0: Tensor, encoding: Tensor, weights: DecoderWeights) -> Tensor:
    """One corner's output (..., 3) from its input z0 (..., 9 D + 6 or 4) and the query's encoding (..., 42)."""
    f, s = z0, encoding
    for i, (weight, bias) in enumerate(weights.content):
        f = F.linear(f if i == 0 or not weights.modulated else torch.cat((f, f * s), dim=-1), weight, bias).relu()
        if weights.modulated:
            s = F.linear(s, *weights.modulator[i]).sin()
    return F.linear(f * s if weights.modulated else f, *weights.output)


def run(call: QueryCall) -> Tensor:
    """Decode the call's queries, one corner after the other: (B, Q, 3)."""
    batch, channels, h, w = call.features.shape
    weights = call.weights.to(call.dtype)
    coord = call.coordinates()
    queries = coord.shape[1]
    unfolded = F.unfold(call.features.to(call.dtype), 3, padding=1)
    corners = local_ensemble(coord, (h, w))
    encoding = fourier_encoding(coord).to(call.dtype)
    cell = times(call.cells(), (h, w)).expand(batch, queries, 2)

    out: Tensor | None = None
    for corner in range(4):
        index = corners.cell[corner].unsqueeze(1).expand(batch, 9 * channels, queries)
        parts = [unfolded.gather(2, index).transpose(1, 2), corners.rel[corner].expand(batch, queries, 2)]
        if weights.modulated:
            parts.append(corners.centre[corner].expand(batch, queries, 2))
        parts.append(cell)
        z0 = torch.cat([part.to(call.dtype) for part in parts], dim=-1)
        prediction = _mlp(z0, encoding.expand(batch, queries, -1), weights)
        share = corners.weight[corner].unsqueeze(-1) * prediction
        out = share if out is None else out + share
    assert out is not None
    return out if call.image is None else out + bilinear_skip(call.image.to(out.dtype), coord)
