"""The fast algebra on one tile of queries, forward and backward, in plain torch (docs/method.md, section 2).

A tile holds T queries of b images that share coordinates, or T queries of any images (b = 1). Its rows are
(4, b, T, n), with the corners first. The coordinate branch has T rows for any b.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from arasfsr.coords import Corners, fourier_encoding, fourier_encoding_backward, local_ensemble, local_ensemble_backward
from arasfsr.nn.activation import activation_, activation_backward_out, activation_out
from arasfsr.nn.decoders.mlp import MLPWeights
from arasfsr.query.operator import BIAS_SUM, Problem
from arasfsr.query.tiled.products import Products, Scratch, weight_gradient


class Tile(NamedTuple):
    """Inputs of a tile."""

    lr_rows: Tensor
    """(B h w, n): the LR map G of all images, one row per LR pixel."""
    rows: Tensor
    """(4, b, T) int64: indices into `lr_rows`."""
    corners: Corners
    """Geometry of the T queries: rel (4, T, 2), share (4, T)."""
    coord: Tensor
    """(T, 2)."""
    cell: Tensor | None
    """(T, 2): cell times (h, w), or None if the LR map includes its term."""
    rel_weight: Tensor
    """(n, 2)."""
    cell_weight: Tensor | None
    """(n, 2), with `cell`."""
    weights: MLPWeights
    """The layers after the first (`content` starts at I_1), in the dtype of the products."""
    products: Products
    """Products with these weights."""

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the products after the first layer; the first layer is in the geometry's dtype."""
        return self.weights.output[0].dtype


class Activations(NamedTuple):
    """Results of the forward that the backward needs."""

    inputs: list[Tensor]
    """Inputs of I_1 .. I_{L-1}: [f, f * s] (4, b, T, 2 n) with modulation, else f (4, b, T, n)."""
    last: Tensor
    """f_L: (4, b, T, n)."""
    modulation: list[Tensor]
    """s_1 .. s_L: (T, n)."""
    angles: list[Tensor]
    """The sines' arguments: (T, n)."""
    ensemble: Tensor
    """sum over corners of share * f_L: (b, T, n)."""


def modulate(tile: Tile, scratch: Scratch) -> tuple[list[Tensor], list[Tensor]]:
    """The coordinate branch: s_1 .. s_L (T, n) and the sines' arguments."""
    modulation: list[Tensor] = []
    angles: list[Tensor] = []
    for i, (weight, bias) in enumerate(tile.weights.modulator):
        s = modulation[-1] if i else fourier_encoding(tile.coord).to(weight.dtype)
        angles.append(tile.products.affine(s, weight, bias, scratch, f"angle {i}"))
        modulation.append(torch.sin(angles[-1], out=scratch.take(f"s {i}", angles[-1].shape, weight.dtype)))
    return modulation, angles


def layer_input(z: Tensor, s: Tensor | None, x: Tensor) -> None:
    """Write f = activation(z), or with s [f, f * s], to x, so that a layer is one product. May overwrite z."""
    f = x[..., : z.shape[-1]]
    if z.dtype == x.dtype:
        activation_out(z, f)
    else:
        f.copy_(activation_(z))
    if s is not None:
        torch.mul(f, s, out=x[..., z.shape[-1] :])


def first_layer(tile: Tile, s: Tensor | None, x: Tensor, scratch: Scratch) -> None:
    """z = G[corner] + I0_rel rel [+ I0_cell cell], by `layer_input` to x; one corner at a time, to stay in cache."""
    n = tile.lr_rows.shape[1]
    local, weight = tile.corners.rel, tile.rel_weight
    if tile.cell is not None and tile.cell_weight is not None:
        local = torch.cat([local, tile.cell.expand_as(local)], dim=-1)
        weight = torch.cat([weight, tile.cell_weight], dim=-1)
    for rows, offset, out in zip(tile.rows, local, x, strict=True):
        z = scratch.take("first", (*rows.shape, n), tile.lr_rows.dtype)
        torch.index_select(tile.lr_rows, 0, rows.reshape(-1), out=z.view(-1, n))
        if len(z) == 1:
            torch.addmm(z[0], offset, weight.t(), out=z[0])
        else:
            z.add_(offset @ weight.t())
        layer_input(z, s, out)


def tile_forward(tile: Tile, scratch: Scratch, keep: bool) -> tuple[Tensor, Activations]:
    """Decode a tile: (b, T, 3) in the geometry's dtype; `keep` keeps every layer's output for the backward.

    The activations are in `scratch`, valid until the next tile.
    """
    weights, dtype, n = tile.weights, tile.dtype, tile.lr_rows.shape[1]
    modulation, angles = modulate(tile, scratch)
    factors = [*modulation[:-1], None] if weights.is_modulated() else [None] * (len(weights.content) + 1)

    def room(i: int) -> Tensor:
        """Buffer for f_{i + 1}, or with a factor for [f, f * s]."""
        width = n if factors[i] is None else 2 * n
        return scratch.take(f"x {i}" if keep else "x", (*tile.rows.shape, width), dtype)

    x = room(0)
    first_layer(tile, factors[0], x, scratch)
    inputs: list[Tensor] = []
    for i, (weight, bias) in enumerate(weights.content, start=1):
        inputs.append(x)
        name = "z" if weights.is_modulated() else f"z {i}"  # without a factor z is the next layer's input
        z = tile.products.affine(x.view(-1, weight.shape[1]), weight, bias, scratch, name)
        z = z.view(*tile.rows.shape, n)
        if factors[i] is None:
            x = activation_(z)
        else:
            x = room(i)
            layer_input(z, factors[i], x)
    ensemble = _ensemble(x, tile.corners.share)
    product = ensemble * modulation[-1] if weights.is_modulated() else ensemble
    weight, bias = weights.output
    out = product.to(weight.dtype) @ weight.t() + bias
    return out.to(tile.coord.dtype), Activations(inputs, x, modulation, angles, ensemble)


def _ensemble(f: Tensor, share: Tensor) -> Tensor:
    """sum_v share_v f_v in the shares' dtype: (4, b, T, n) and (4, T) to (b, T, n)."""
    shares = share.unsqueeze(-1)
    total = f[0] * shares[0]
    for corner in range(1, 4):
        total.addcmul_(f[corner].to(total.dtype), shares[corner])
    return total


class TileGradients(NamedTuple):
    """Gradients of a tile; None if not needed."""

    lr_rows: Tensor
    """(4, b, T, n): of the gathered rows, to be added at `Tile.rows`."""
    coord: Tensor | None
    """(T, 2), without the skip's part."""
    cell: Tensor | None
    """(T, 2), of cell times (h, w)."""
    weights: list[Tensor]
    """rel_weight, cell_weight if there is one, then the layers in the order of `MLPWeights.after_first`."""


def tile_backward(
    tile: Tile, saved: Activations, grad: Tensor, scratch: Scratch, lr_size: tuple[int, int], need_coord: bool
) -> TileGradients:
    """Gradients of sum(grad * forward(tile)) for grad (b, T, 3); that of `lr_rows` may be in `scratch`."""
    weights, dtype, n = tile.weights, tile.dtype, tile.lr_rows.shape[1]
    modulated = weights.is_modulated()
    grad2 = grad.reshape(-1, 3).to(dtype)
    grad_s: list[Tensor] = []

    # output layer and ensemble
    product = saved.ensemble * saved.modulation[-1] if modulated else saved.ensemble
    output_grads = [grad2.t() @ product.to(dtype).view(-1, n), grad2.sum(0, dtype=BIAS_SUM)]
    grad_product = (grad2 @ weights.output[0]).view(product.shape)
    grad_ensemble = grad_product
    if modulated:
        # summed over corners and images in the geometry's dtype: half precision would lose the smaller terms
        grad_s = [torch.zeros_like(s, dtype=tile.coord.dtype) for s in saved.modulation]
        grad_s[-1] += (grad_product * saved.ensemble).sum(0)
        grad_ensemble = grad_product * saved.modulation[-1]
    grad_share = None
    if need_coord:
        grad_share = (grad_ensemble * saved.last).sum(dim=(1, 3), dtype=tile.coord.dtype)
    grad_z = scratch.take("grad z", saved.last.shape, dtype)
    for corner, share in enumerate(tile.corners.share.unsqueeze(-1)):
        torch.mul(grad_ensemble, share, out=grad_z[corner])

    # hidden layers, last to first
    content_grads: list[Tensor] = []
    activation_backward_out(saved.last, grad_z, grad_z)
    for i in reversed(range(len(weights.content))):
        weight, x = weights.content[i][0], saved.inputs[i]
        rows = grad_z.view(-1, n)
        flat = x.view(-1, x.shape[-1])
        content_grads[:0] = [weight_gradient(rows, flat), grad_z.sum(0).sum(dim=(0, 1), dtype=BIAS_SUM)]
        grad_x = tile.products.input_gradient(rows, weight, scratch, "grad x").view(x.shape)
        f, grad_f = x[..., :n], grad_x[..., :n]
        if modulated:
            grad_product = grad_x[..., n:]
            grad_f.addcmul_(grad_product, saved.modulation[i])
            grad_s[i] += grad_product.mul_(f).sum(dim=(0, 1), dtype=tile.coord.dtype)
        activation_backward_out(f, grad_f, grad_z)

    # first layer
    grad_z0 = grad_z.to(tile.coord.dtype)
    local = grad_z0.sum(1) if grad_z0.shape[1] > 1 else grad_z0.squeeze(1)
    first_grads = [local.reshape(-1, n).t() @ tile.corners.rel.reshape(-1, 2)]
    grad_cell = None
    if tile.cell is not None and tile.cell_weight is not None:
        summed = local.sum(0)
        first_grads.append(summed.t() @ tile.cell)
        grad_cell = summed @ tile.cell_weight

    # coordinate branch, last to first
    modulator_grads: list[Tensor] = []
    grad_encoding = None
    for i in reversed(range(len(weights.modulator))):
        grad_angle = (grad_s[i] * saved.angles[i].cos()).to(dtype)
        below = saved.modulation[i - 1] if i else fourier_encoding(tile.coord).to(dtype)
        modulator_grads[:0] = [weight_gradient(grad_angle, below), grad_angle.sum(0, dtype=BIAS_SUM)]
        if i or need_coord:
            grad_below = tile.products.input_gradient(grad_angle, weights.modulator[i][0], scratch, "grad below")
            if i:
                grad_s[i - 1] += grad_below
            else:
                grad_encoding = grad_below.to(tile.coord.dtype)

    grad_coord = None
    if grad_share is not None:
        grad_rel = local @ tile.rel_weight
        grad_coord = local_ensemble_backward(tile.corners, lr_size, grad_rel, grad_share)
        if grad_encoding is not None:
            grad_coord = grad_coord + fourier_encoding_backward(tile.coord, grad_encoding)
    return TileGradients(grad_z0, grad_coord, grad_cell, first_grads + content_grads + modulator_grads + output_grads)


TILE = 512
"""Queries of a tile in float32, over all images: 4 x TILE rows of the MLP stay in cache between layers. In half
precision a tile has twice as many, in the same memory."""

GPU_TILE = 16_384
"""TILE on a GPU, which smaller tiles would leave idle between calls: 64 MB per tensor."""

GEOMETRY_TILES = 16
"""Tiles whose coordinates, corners and rows are computed together: for small tensors, call overhead dominates."""


def tiles(problem: Problem, weights: MLPWeights) -> Iterator[tuple[int, int, Tile]]:
    """Yields first, last and tile of queries first .. last - 1. Geometry is computed for several tiles at once.

    `weights` are the layers after the first, in the dtype of the products.
    """
    per_number = weights.output[0].element_size()
    products = Products()
    rel_weight, cell_weight = problem.rel_and_cell_weight
    whole = TILE if problem.lr_map.device.type == "cpu" else GPU_TILE
    step = max(1, whole * 4 // per_number // max(1, problem.images))
    for start in range(0, problem.count, step * GEOMETRY_TILES):
        stop = min(start + step * GEOMETRY_TILES, problem.count)
        coord, corners, rows = _geometry(problem, start, stop)
        for first in range(start, stop, step):
            last = min(first + step, stop)
            part = slice(first - start, last - start)
            tile = Tile(
                lr_rows=problem.lr_rows,
                rows=rows[:, :, part],
                corners=Corners(*(field[:, part] for field in corners)),
                coord=coord[part],
                cell=None if problem.cells is None else problem.cells[first:last],
                rel_weight=rel_weight,
                cell_weight=cell_weight,
                weights=weights,
                products=products,
            )
            yield first, last, tile


def _geometry(problem: Problem, first: int, last: int) -> tuple[Tensor, Corners, Tensor]:
    """Coordinates (T, 2) of queries first .. last - 1, their corners, and these' rows of the LR map (4, images, T)."""
    h, w = problem.lr_size
    device = problem.lr_map.device
    coord = problem.coords(first, last)
    corners = local_ensemble(coord, problem.lr_size)
    rows = corners.lr_pixel.unsqueeze(1) + (torch.arange(problem.images, device=device) * (h * w)).view(1, -1, 1)
    if problem.per_image:
        rows = rows + (torch.arange(first, last, device=device) // problem.per_image) * (h * w)
    return coord, corners, rows
