"""Backend `tiled`: the fast algebra in plain torch, tile by tile, on any device; the backward recomputes.

Registered with torch.library as `arasfsr::tiled` and `arasfsr::tiled_backward`, so that it composes with
torch.compile. Between the LR map and the output nothing outlives its tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from arasfsr.coords import Corners, local_ensemble
from arasfsr.decoder import DecoderWeights, split_first_layer
from arasfsr.query import tile_math
from arasfsr.query.call import Grid, QueryCall, geometry_dtype
from arasfsr.query.skip import bilinear_skip, bilinear_skip_backward

TILE = 1024
"""Queries of a tile, all images together: 4 x TILE rows of the MLP stay in the cache between layers."""

SKIP_CHUNK = 1 << 16
"""Queries an image for which the skip is sampled at a time."""


def run(call: QueryCall) -> Tensor:
    """Decode the call's queries: (B, Q, 3)."""
    first = split_first_layer(call.weights)
    per_query_cell = call.cell.shape[1] > 1
    grid = None if call.grid is None else [*call.grid.size, *call.grid.region]
    out: Tensor = torch.ops.arasfsr.tiled(
        call.latent(first),
        call.image,
        call.coord,
        call.cell if per_query_cell else None,
        grid,
        first.rel,
        first.cell if per_query_cell else None,
        call.weights.after_first(),
        call.weights.modulated,
        call.dtype,
    )
    return out


def arithmetic_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """What `dtype` is multiplied in: itself, or float32 on a CPU without matrix instructions for it.

    There the parameters are rounded to `dtype` and the arithmetic goes beyond it: ten times faster than emulated
    half-precision products, and closer to the truth.
    """
    if device.type != "cpu" or dtype in (torch.float32, torch.float64):
        return dtype
    native = {
        torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported,
        torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported,
    }
    return dtype if native[dtype]() else torch.float32


class _Problem(NamedTuple):
    """The operator's arguments, cast and laid out for its tiles."""

    latent: Tensor
    """(B h w, n)."""
    coord: Tensor | None
    """(queries, 2), None with a grid."""
    cell: Tensor | None
    """(queries, 2), times (h, w)."""
    grid: Grid | None
    rel_weight: Tensor
    cell_weight: Tensor | None
    weights: DecoderWeights
    lr_size: tuple[int, int]
    images: int
    """Images that share the coordinates: their rows are decoded together. 1 where every query names its image."""
    queries: int
    per_image: int
    """Queries that belong to one image, where every query names its image."""
    geometry: torch.dtype

    @property
    def tile_queries(self) -> int:
        return max(1, TILE // max(1, self.images))

    def tiles(self) -> Iterator[tuple[int, int, tile_math.Tile]]:
        """The tiles, each with its first query and the one after its last."""
        h, w = self.lr_size
        device = self.latent.device
        base = (torch.arange(self.images, device=device) * (h * w)).view(1, -1, 1)
        for first in range(0, self.queries, self.tile_queries):
            last = min(first + self.tile_queries, self.queries)
            if self.grid is not None:
                coord = self.grid.coords(first, last, device)
            else:
                assert self.coord is not None
                coord = self.coord[first:last]
            coord = coord.to(self.geometry)
            corners: Corners = local_ensemble(coord, self.lr_size)
            index = corners.cell.unsqueeze(1) + base
            if self.per_image:
                index = index + (torch.arange(first, last, device=device) // self.per_image) * (h * w)
            cell = None if self.cell is None else self.cell[first:last]
            tile = tile_math.Tile(
                self.latent, index, corners, coord, cell, self.rel_weight, self.cell_weight, self.weights
            )
            yield first, last, tile


def _problem(
    latent: Tensor,
    coord: Tensor | None,
    cell: Tensor | None,
    grid: Sequence[int] | None,
    rel_weight: Tensor,
    cell_weight: Tensor | None,
    weights: Sequence[Tensor],
    modulated: bool,
    dtype: torch.dtype,
) -> _Problem:
    batch, h, w, n = latent.shape
    arithmetic, geometry = arithmetic_dtype(dtype, latent.device), geometry_dtype(dtype)

    def cast(tensor: Tensor) -> Tensor:
        return tensor.to(dtype).to(arithmetic)

    region = None
    shared = True
    per_image = 0
    if grid is not None:
        region = Grid((grid[0], grid[1]), (grid[2], grid[3], grid[4], grid[5]))
        queries = region.height * region.width
    else:
        assert coord is not None
        shared = coord.shape[0] == 1 and (cell is None or cell.shape[0] == 1)
        per_image = coord.shape[1]
        coord = coord[0] if shared else coord.expand(batch, -1, -1).reshape(-1, 2)
        queries = coord.shape[0]
        if cell is not None:
            scaled = (cell * cell.new_tensor([h, w])).to(geometry)
            cell = scaled[0] if shared else scaled.expand(batch, -1, -1).reshape(-1, 2)
    return _Problem(
        latent=latent.to(geometry).reshape(-1, n),
        coord=coord,
        cell=cell,
        grid=region,
        rel_weight=rel_weight.to(geometry),
        cell_weight=None if cell_weight is None else cell_weight.to(geometry),
        weights=DecoderWeights.unflatten([cast(weight) for weight in weights], modulated),
        lr_size=(h, w),
        images=batch if shared else 1,
        queries=queries,
        per_image=0 if shared else per_image,
        geometry=geometry,
    )


def _forward(
    latent: Tensor,
    image: Tensor | None,
    coord: Tensor | None,
    cell: Tensor | None,
    grid: Sequence[int] | None,
    rel_weight: Tensor,
    cell_weight: Tensor | None,
    weights: Sequence[Tensor],
    modulated: bool,
    dtype: torch.dtype,
) -> Tensor:
    with torch.autocast(latent.device.type, enabled=False):
        problem = _problem(latent, coord, cell, grid, rel_weight, cell_weight, weights, modulated, dtype)
        out = latent.new_empty((problem.images, problem.queries, 3), dtype=problem.geometry)
        if out.numel():
            for first, last, tile in problem.tiles():
                out[:, first:last] = tile_math.forward(tile, keep=False)[0]
        out = out.view(latent.shape[0], -1 if out.numel() else _queries(coord, grid), 3)
        if image is not None and out.numel():
            for first, last, chunk in _skip_chunks(problem, coord, out.shape[1]):
                out[:, first:last] += bilinear_skip(image.to(out.dtype), chunk)
        return out


def _backward(
    grad: Tensor,
    latent: Tensor,
    image: Tensor | None,
    coord: Tensor | None,
    cell: Tensor | None,
    grid: Sequence[int] | None,
    rel_weight: Tensor,
    cell_weight: Tensor | None,
    weights: Sequence[Tensor],
    modulated: bool,
    dtype: torch.dtype,
    need: Sequence[bool],
) -> list[Tensor]:
    """Gradients to latent, image, coord, cell, rel_weight, cell_weight and each of `weights`; `need` says whether
    image's, coord's and cell's are wanted. What is not there is an empty tensor."""
    need_image, need_coord, need_cell = need
    with torch.autocast(latent.device.type, enabled=False):
        problem = _problem(latent, coord, cell, grid, rel_weight, cell_weight, weights, modulated, dtype)
        geometry, (h, w) = problem.geometry, problem.lr_size
        grad_out = grad.to(geometry).reshape(problem.images, problem.queries, 3) if grad.numel() else grad
        grad_latent = problem.latent.new_zeros(problem.latent.shape, dtype=geometry)
        parameters = [rel_weight, *([] if cell_weight is None else [cell_weight]), *weights]
        grad_parameters = [
            parameter.new_zeros(parameter.shape, dtype=tile_math.BIAS_SUM if parameter.dim() == 1 else geometry)
            for parameter in parameters
        ]
        grad_coord = latent.new_zeros((problem.queries, 2), dtype=geometry) if need_coord else None
        grad_cell = latent.new_zeros((problem.queries, 2), dtype=geometry) if need_cell else None
        for first, last, tile in problem.tiles() if grad.numel() else ():
            saved = tile_math.forward(tile, keep=True)[1]
            found = tile_math.backward(tile, saved, grad_out[:, first:last], problem.lr_size, need_coord)
            grad_latent.index_add_(0, tile.rows.reshape(-1), found.latent.reshape(-1, grad_latent.shape[1]))
            for total, part in zip(grad_parameters, found.weights, strict=True):
                total += part
            if grad_coord is not None and found.coord is not None:
                grad_coord[first:last] = found.coord
            if grad_cell is not None and found.cell is not None:
                grad_cell[first:last] = found.cell

        grad_image = None
        if image is not None and need_image:
            grad_image = image.new_zeros(image.shape, dtype=geometry)
        if coord is not None and grad_coord is not None:
            grad_coord = _fold(grad_coord.view(-1 if problem.per_image else 1, coord.shape[1], 2), coord)
        if image is not None and grad.numel() and (need_image or need_coord):
            for first, last, chunk in _skip_chunks(problem, coord, grad.shape[1]):
                part_image, part_coord = bilinear_skip_backward(
                    grad[:, first:last].to(geometry), image.to(geometry), chunk, need_image
                )
                if grad_image is not None:
                    grad_image += part_image
                if grad_coord is not None:
                    grad_coord[:, first:last] += part_coord
        if cell is not None and grad_cell is not None:
            grad_cell = _fold(grad_cell.view(-1 if problem.per_image else 1, cell.shape[1], 2), cell)
            grad_cell = grad_cell * grad_cell.new_tensor([h, w])

        def like(found: Tensor | None, given: Tensor | None) -> Tensor:
            return latent.new_empty(0) if found is None or given is None else found.view(given.shape).to(given.dtype)

        grad_rel, *grad_rest = grad_parameters
        grad_cell_weight = grad_rest.pop(0) if cell_weight is not None else None
        return [
            like(grad_latent, latent),
            like(grad_image, image),
            like(grad_coord, coord),
            like(grad_cell, cell),
            like(grad_rel, rel_weight),
            like(grad_cell_weight, cell_weight),
            *[like(found, given) for found, given in zip(grad_rest, weights, strict=True)],
        ]


def _fold(grad: Tensor, given: Tensor) -> Tensor:
    """Sum over the images where one coordinate or cell served all of them."""
    return grad if grad.shape[0] == given.shape[0] else grad.sum(0, keepdim=True)


def _queries(coord: Tensor | None, grid: Sequence[int] | None) -> int:
    if grid is not None:
        return (grid[4] - grid[2]) * (grid[5] - grid[3])
    assert coord is not None
    return coord.shape[1]


def _skip_chunks(problem: _Problem, coord: Tensor | None, queries: int) -> Iterator[tuple[int, int, Tensor]]:
    """Coordinates (1 or B, chunk, 2) of a bounded number of queries at a time, with the first and the end."""
    for first in range(0, queries, SKIP_CHUNK):
        last = min(first + SKIP_CHUNK, queries)
        if coord is not None:
            chunk = coord[:, first:last]
        else:
            assert problem.grid is not None
            chunk = problem.grid.coords(first, last, problem.latent.device).unsqueeze(0)
        yield first, last, chunk.to(problem.geometry)


_ARGUMENTS = (
    "Tensor latent, Tensor? image, Tensor? coord, Tensor? cell, int[]? grid, Tensor rel_weight, Tensor? cell_weight, "
    "Tensor[] weights, bool modulated, ScalarType dtype"
)
_library = torch.library.Library("arasfsr", "DEF")
_library.define(f"tiled({_ARGUMENTS}) -> Tensor")
_library.define(f"tiled_backward(Tensor grad, {_ARGUMENTS}, bool[] need) -> Tensor[]")
_library.impl("tiled", _forward, "CompositeExplicitAutograd")
_library.impl("tiled_backward", _backward, "CompositeExplicitAutograd")


def _forward_fake(latent: Tensor, image: Any, coord: Any, cell: Any, grid: Any, *rest: Any) -> Tensor:
    return latent.new_empty((latent.shape[0], _queries(coord, grid), 3), dtype=geometry_dtype(rest[-1]))


def _backward_fake(
    grad: Tensor,
    latent: Tensor,
    image: Any,
    coord: Any,
    cell: Any,
    grid: Any,
    rel_weight: Tensor,
    cell_weight: Any,
    weights: Any,
    modulated: bool,
    dtype: torch.dtype,
    need: Any,
) -> list[Tensor]:
    def like(given: Tensor | None, wanted: bool = True) -> Tensor:
        return latent.new_empty(0) if given is None or not wanted else given.new_empty(given.shape)

    optional = [like(given, wanted) for given, wanted in zip((image, coord, cell), need, strict=True)]
    return [like(latent), *optional, like(rel_weight), like(cell_weight), *[like(weight) for weight in weights]]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    latent, image, coord, cell, grid, rel_weight, cell_weight, weights, modulated, dtype = inputs
    ctx.save_for_backward(latent, image, coord, cell, rel_weight, cell_weight, *weights)
    ctx.grid, ctx.modulated, ctx.dtype = grid, modulated, dtype


def _autograd(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    latent, image, coord, cell, rel_weight, cell_weight, *weights = ctx.saved_tensors
    need = [ctx.needs_input_grad[i] for i in (1, 2, 3)]
    grads = torch.ops.arasfsr.tiled_backward(
        grad, latent, image, coord, cell, ctx.grid, rel_weight, cell_weight, weights, ctx.modulated, ctx.dtype, need
    )
    optional = [found if wanted else None for found, wanted in zip(grads[1:4], need, strict=True)]
    return grads[0], *optional, None, grads[4], None if cell_weight is None else grads[5], grads[6:], None, None


def _no_double_backward(ctx: Any, *grads: Any) -> None:
    raise NotImplementedError('the tiled backend has no second derivative; compute it with backend="reference"')


torch.library.register_fake("arasfsr::tiled", _forward_fake)
torch.library.register_fake("arasfsr::tiled_backward", _backward_fake)
torch.library.register_autograd("arasfsr::tiled", _autograd, setup_context=_setup_context)
torch.library.register_autograd("arasfsr::tiled_backward", _no_double_backward)
