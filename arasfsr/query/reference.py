"""Backend `reference`: the method as written, not optimised; in float64 the oracle for all other backends."""

from __future__ import annotations

from torch import Tensor

from arasfsr.coords import local_ensemble, times
from arasfsr.nn.decoders import literal
from arasfsr.nn.decoders.base import Geometry
from arasfsr.query.call import QueryCall
from arasfsr.query.skip import bilinear_skip


def run(call: QueryCall) -> Tensor:
    """Decode all of the call's queries at once, corner by corner: (B, Q, 3)."""
    lr_size = call.features.shape[2], call.features.shape[3]
    coord = call.coords(0, call.queries.count())
    cell = times(call.cells(), lr_size).to(coord.dtype)
    geometry = Geometry(coord, cell, local_ensemble(coord, lr_size))
    out = literal(call.features.to(call.dtype), geometry, call.weights.to(call.dtype))
    return out if call.image is None else out + bilinear_skip(call.image.to(out.dtype), coord)
