"""Decoders of the baselines, LTE and DIINN, for backends `reference` and `tiled`: plain torch, autograd's gradients.

Both run under the local ensemble of `arasfsr.coords`. `reference` computes them as written, all queries at once.
`tiled` computes chunks of queries whose intermediates are recomputed in the backward, and DIINN's products with
unfolded features as convolutions at LR resolution: nearest sampling commutes with what is pointwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from arasfsr.coords import local_ensemble, times
from arasfsr.nn.convolution import convolve
from arasfsr.nn.decoder import DecoderWeights, Layer
from arasfsr.query.call import QueryCall
from arasfsr.query.skip import bilinear_skip
from arasfsr.query.tiled.products import arithmetic_dtype

CHUNK = 2048
"""Queries of a chunk, all images together: 4 x CHUNK rows are in memory at a time."""

Maps = Callable[[Tensor, DecoderWeights], Tensor]
"""Feature map (B, D, h, w) to what the corners read of it, (B, C, h, w)."""

Corner = Callable[[Tensor, Tensor, Tensor, DecoderWeights], Tensor]
"""Output (4, B, T, 3) of the corners from their LR cells' channels (4, B, T, C), their rel (4, 1 or B, T, 2), the cell
in LR pixels times two (1 or B, 1 or T, 2), the latter two in the geometry's dtype, and the parameters."""


def run_reference(call: QueryCall) -> Tensor:
    """Decode the call's queries, all at once and as the papers write it: (B, Q, 3)."""
    weights = call.weights.to(call.dtype)
    ways: dict[str, tuple[Maps, Corner]] = {"lte": (_lte_maps, _lte), "diinn": (_unfolded, _diinn_as_written)}
    maps, corner = ways[weights.name]
    features = call.features.to(call.dtype)
    return _decode(call, maps(features, weights), corner, weights, 0, call.queries)


def run_tiled(call: QueryCall) -> Tensor:
    """Decode the call's queries chunk by chunk, recomputing each in the backward: (B, Q, 3)."""
    dtype = arithmetic_dtype(call.dtype, call.features.device)
    weights = call.weights.to(call.dtype).to(dtype)
    ways: dict[str, tuple[Maps, Corner]] = {"lte": (_lte_maps, _lte), "diinn": (_diinn_maps, _diinn)}
    maps, corner = ways[weights.name]
    lr = maps(call.features.to(call.dtype).to(dtype), weights)
    step = max(1, CHUNK // max(1, lr.shape[0]))
    parts = []
    for first in range(0, max(1, call.queries), step):
        arguments = (call, lr, corner, weights, first, min(first + step, call.queries))
        if torch.is_grad_enabled():
            parts.append(checkpoint(_decode, *arguments, use_reentrant=False, preserve_rng_state=False))
        else:
            parts.append(_decode(*arguments))
    return torch.cat(parts, dim=1)


def _decode(call: QueryCall, lr: Tensor, corner: Corner, weights: DecoderWeights, first: int, last: int) -> Tensor:
    """Queries first .. last - 1 from the LR maps (B, C, h, w): (B, T, 3) in the geometry's dtype."""
    batch, channels, h, w = lr.shape
    geometry = call.geometry_dtype
    if call.grid is not None:
        coord = call.grid.coords(first, last, lr.device).unsqueeze(0).to(geometry)
    else:
        assert call.coord is not None
        coord = call.coord[:, first:last].to(geometry)
    cells = call.cells()
    cell = times((cells if cells.shape[1] == 1 else cells[:, first:last]).to(geometry), (h, w))
    corners = local_ensemble(coord, (h, w))
    index = corners.cell + (torch.arange(batch, device=lr.device) * (h * w)).unsqueeze(-1)
    pixels = lr.permute(0, 2, 3, 1).reshape(batch * h * w, channels)
    rows = pixels.index_select(0, index.reshape(-1)).view(*index.shape, channels)
    predictions = corner(rows, corners.rel, cell, weights)
    out = (corners.weight.unsqueeze(-1) * predictions).sum(0)
    return out if call.image is None else out + bilinear_skip(call.image.to(geometry), coord)


def _lte_maps(features: Tensor, weights: DecoderWeights) -> Tensor:
    """Amplitudes and frequencies, one after the other: (B, 2 waves, h, w)."""
    assert weights.texture is not None
    pairs = zip(weights.texture.amplitude, weights.texture.frequency, strict=True)
    weight, bias = (torch.cat(pair) for pair in pairs)
    return convolve(features, weight, bias.view(1, 1, 1, -1)).permute(0, 3, 1, 2)


def _lte(rows: Tensor, rel: Tensor, cell: Tensor, weights: DecoderWeights) -> Tensor:
    """LTE, section 3: an MLP of amplitude * [cos, sin](pi (frequency . rel + phase(cell)))."""
    assert weights.texture is not None
    amplitude, frequency = rows.chunk(2, dim=-1)
    # pi times many cycles: the argument is the geometry's, not the compute dtype's
    phase = F.linear(cell, weights.texture.phase.to(cell.dtype))
    frequency = frequency.to(rel.dtype).unflatten(-1, (-1, 2))
    argument = math.pi * (frequency[..., 0] * rel[..., :1] + frequency[..., 1] * rel[..., 1:] + phase)
    f = amplitude * torch.cat((argument.cos(), argument.sin()), dim=-1).to(rows.dtype)
    for layer in weights.content:
        f = F.linear(f, *layer).relu()
    return F.linear(f, *weights.output)


def _position(rel: Tensor, cell: Tensor, rows: Tensor) -> Tensor:
    """What DIINN's position branch reads: rel and cell, (4, 1 or B, T, 4)."""
    leading = torch.broadcast_shapes(rel.shape[:-1], cell.shape[:-1])
    return torch.cat((rel.expand(*leading, 2), cell.expand(*leading, 2)), dim=-1).to(rows.dtype)


def _unfolded(features: Tensor, weights: DecoderWeights) -> Tensor:
    """The 3 x 3 neighbourhood of every LR pixel: (B, 9 D, h, w)."""
    batch, channels, h, w = features.shape
    return F.unfold(features, 3, padding=1).view(batch, 9 * channels, h, w)


def _diinn_as_written(rows: Tensor, rel: Tensor, cell: Tensor, weights: DecoderWeights) -> Tensor:
    """DIINN, section 3: k_i = relu(K_i [q_{i-1}, x]), q_i = k_i * sin(Q_i q_{i-1}), from x and the position alone."""
    q = _position(rel, cell, rows)
    for i, (content, modulator) in enumerate(zip(weights.content, weights.modulator, strict=True)):
        k = F.linear(torch.cat((q, rows), dim=-1) if i else rows, *content).relu()
        q = k * F.linear(q, *modulator).sin()
    return F.linear(q, *weights.output)


def _diinn_maps(features: Tensor, weights: DecoderWeights) -> Tensor:
    """Each content layer's product with the unfolded features, and its bias: (B, layers n, h, w)."""

    def kernel(layer: Layer) -> Tensor:
        weight, channels = layer[0], features.shape[1]
        return weight[:, -9 * channels :].reshape(weight.shape[0], channels, 3, 3)

    weight = torch.cat([kernel(layer) for layer in weights.content])
    bias = torch.cat([bias for _, bias in weights.content])
    return convolve(features, weight, bias.view(1, 1, 1, -1)).permute(0, 3, 1, 2)


def _diinn(rows: Tensor, rel: Tensor, cell: Tensor, weights: DecoderWeights) -> Tensor:
    """As `_diinn_as_written`, from the rows of `_diinn_maps`."""
    q = _position(rel, cell, rows)
    for i, part in enumerate(rows.chunk(len(weights.content), dim=-1)):
        weight = weights.content[i][0]
        k = (part + F.linear(q, weight[:, : weight.shape[0]]) if i else part).relu()
        q = k * F.linear(q, *weights.modulator[i]).sin()
    return F.linear(q, *weights.output)
