"""Backend `tiled`: the fast algebra in plain torch, tile by tile, on any device; the backward recomputes.

Registered with torch.library as `arasfsr::tiled` and `arasfsr::tiled_backward`, so that it composes with
torch.compile. Between the LR map and the output nothing outlives its tile.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from arasfsr.decoder import split_first_layer
from arasfsr.query import tile_math
from arasfsr.query.call import QueryCall
from arasfsr.query.skip import bilinear_skip, bilinear_skip_backward
from arasfsr.query.tiling import Arguments, Problem


def run(call: QueryCall) -> Tensor:
    """Decode the call's queries: (B, Q, 3)."""
    first = split_first_layer(call.weights)
    per_query_cell = call.cell.shape[1] > 1
    arguments = Arguments(
        latent=call.latent(first),
        image=call.image,
        coord=call.coord,
        cell=call.cell if per_query_cell else None,
        grid=None if call.grid is None else [*call.grid.size, *call.grid.region],
        rel_weight=first.rel,
        cell_weight=first.cell if per_query_cell else None,
        weights=call.weights.after_first(),
        modulated=call.weights.modulated,
        dtype=call.dtype,
    )
    out: Tensor = torch.ops.arasfsr.tiled(*arguments)
    return out


def _forward(*arguments: Any) -> Tensor:
    given = Arguments(*arguments)
    batch, queries = given.latent.shape[0], given.queries
    with torch.autocast(given.latent.device.type, enabled=False):
        out = given.latent.new_empty((batch, queries, 3), dtype=given.geometry)
        if not out.numel():
            return out
        problem = Problem.of(given)
        flat = out.view(problem.images, problem.queries, 3)
        for first, last, tile in problem.tiles():
            flat[:, first:last] = tile_math.forward(tile, keep=False)[0]
        if given.image is not None:
            for first, last, coord in given.skip_chunks():
                out[:, first:last] += bilinear_skip(given.image.to(out.dtype), coord)
        return out


class _Gradients:
    """Sums of the tiles' gradients."""

    def __init__(self, given: Arguments, problem: Problem, need_coord: bool, need_cell: bool) -> None:
        def zeros(shape: torch.Size | tuple[int, ...], dtype: torch.dtype = problem.geometry) -> Tensor:
            return given.latent.new_zeros(shape, dtype=dtype)

        self._problem = problem
        self.latent = zeros(problem.latent.shape)
        self.coord = zeros((problem.queries, 2)) if need_coord else None
        self.cell = zeros((problem.queries, 2)) if need_cell else None
        cell_weight = [] if given.cell_weight is None else [given.cell_weight]
        self.parameters = [
            zeros(parameter.shape, tile_math.BIAS_SUM if parameter.dim() == 1 else problem.geometry)
            for parameter in (given.rel_weight, *cell_weight, *given.weights)
        ]

    def add(self, first: int, last: int, tile: tile_math.Tile, grad: Tensor) -> None:
        """Recompute a tile and add what its part (images, T, 3) of the incoming gradient gives."""
        saved = tile_math.forward(tile, keep=True)[1]
        found = tile_math.backward(tile, saved, grad, self._problem.lr_size, self.coord is not None)
        self.latent.index_add_(0, tile.rows.reshape(-1), found.latent.reshape(-1, self.latent.shape[1]))
        for total, part in zip(self.parameters, found.weights, strict=True):
            total += part
        if self.coord is not None and found.coord is not None:
            self.coord[first:last] = found.coord
        if self.cell is not None and found.cell is not None:
            self.cell[first:last] = found.cell

    def per_query(self, found: Tensor, given: Tensor) -> Tensor:
        """(queries, 2) in the shape of what was given, summed over the images that one coordinate or cell served."""
        shaped = found.view(-1 if self._problem.per_image else 1, given.shape[1], 2)
        return shaped if shaped.shape[0] == given.shape[0] else shaped.sum(0, keepdim=True)


def _backward(grad: Tensor, *rest: Any) -> list[Tensor]:
    """Gradients to latent, image, coord, cell, rel_weight, cell_weight and each of the weights.

    The last argument says whether image's, coord's and cell's are wanted. What is not there is an empty tensor.
    """
    given, (need_image, need_coord, need_cell) = Arguments(*rest[:-1]), rest[-1]
    with torch.autocast(given.latent.device.type, enabled=False):
        problem = Problem.of(given)
        sums = _Gradients(given, problem, need_coord, need_cell)
        grad_image = None
        if given.image is not None and need_image:
            grad_image = torch.zeros_like(given.image, dtype=problem.geometry)
        if grad.numel():
            grad = grad.to(problem.geometry)
            flat = grad.reshape(problem.images, problem.queries, 3)
            for first, last, tile in problem.tiles():
                sums.add(first, last, tile, flat[:, first:last])
        grad_coord = grad_cell = None
        if given.coord is not None and sums.coord is not None:
            grad_coord = sums.per_query(sums.coord, given.coord)
        if given.cell is not None and sums.cell is not None:
            grad_cell = sums.per_query(sums.cell, given.cell) * sums.cell.new_tensor(problem.lr_size)
        if given.image is not None and grad.numel() and (need_image or need_coord):
            image = given.image.to(problem.geometry)
            for first, last, coord in given.skip_chunks():
                part_image, part_coord = bilinear_skip_backward(grad[:, first:last], image, coord, need_image)
                if grad_image is not None:
                    grad_image += part_image
                if grad_coord is not None:
                    grad_coord[:, first:last] += part_coord

    def like(found: Tensor | None, given_tensor: Tensor | None) -> Tensor:
        if found is None or given_tensor is None:
            return given.latent.new_empty(0)
        return found.view(given_tensor.shape).to(given_tensor.dtype)

    grad_rel, *grad_rest = sums.parameters
    grad_cell_weight = None if given.cell_weight is None else grad_rest.pop(0)
    return [
        like(sums.latent, given.latent),
        like(grad_image, given.image),
        like(grad_coord, given.coord),
        like(grad_cell, given.cell),
        like(grad_rel, given.rel_weight),
        like(grad_cell_weight, given.cell_weight),
        *map(like, grad_rest, given.weights),
    ]


def _forward_fake(*arguments: Any) -> Tensor:
    given = Arguments(*arguments)
    return given.latent.new_empty((given.latent.shape[0], given.queries, 3), dtype=given.geometry)


def _backward_fake(grad: Tensor, *rest: Any) -> list[Tensor]:
    given, need = Arguments(*rest[:-1]), rest[-1]

    def like(tensor: Tensor | None, wanted: bool = True) -> Tensor:
        return given.latent.new_empty(0) if tensor is None or not wanted else tensor.new_empty(tensor.shape)

    return [
        like(given.latent),
        *map(like, (given.image, given.coord, given.cell), need),
        like(given.rel_weight),
        like(given.cell_weight),
        *map(like, given.weights),
    ]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    given = Arguments(*inputs)
    ctx.save_for_backward(*given[:4], given.rel_weight, given.cell_weight, *given.weights)
    ctx.grid, ctx.modulated, ctx.dtype = given.grid, given.modulated, given.dtype


def _autograd(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    latent, image, coord, cell, rel_weight, cell_weight, *weights = ctx.saved_tensors
    given = Arguments(latent, image, coord, cell, ctx.grid, rel_weight, cell_weight, weights, ctx.modulated, ctx.dtype)
    need = list(ctx.needs_input_grad[1:4])
    grads = torch.ops.arasfsr.tiled_backward(grad, *given, need)
    optional = [found if wanted else None for found, wanted in zip(grads[1:4], need, strict=True)]
    return grads[0], *optional, None, grads[4], None if cell_weight is None else grads[5], grads[6:], None, None


def _no_double_backward(ctx: Any, *grads: Any) -> None:
    raise NotImplementedError('the tiled backend has no second derivative; compute it with backend="reference"')


_SCHEMA = (
    "Tensor latent, Tensor? image, Tensor? coord, Tensor? cell, int[]? grid, Tensor rel_weight, Tensor? cell_weight, "
    "Tensor[] weights, bool modulated, ScalarType dtype"
)
_library = torch.library.Library("arasfsr", "DEF")
_library.define(f"tiled({_SCHEMA}) -> Tensor")
_library.define(f"tiled_backward(Tensor grad, {_SCHEMA}, bool[] need) -> Tensor[]")
_library.impl("tiled", _forward, "CompositeExplicitAutograd")
_library.impl("tiled_backward", _backward, "CompositeExplicitAutograd")
torch.library.register_fake("arasfsr::tiled", _forward_fake)
torch.library.register_fake("arasfsr::tiled_backward", _backward_fake)
torch.library.register_autograd("arasfsr::tiled", _autograd, setup_context=_setup_context)
torch.library.register_autograd("arasfsr::tiled_backward", _no_double_backward)
