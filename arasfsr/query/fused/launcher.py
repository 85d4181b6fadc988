"""Base class of the fused backends' launchers: buffers, chunks, and the interface to the kernels.

The forward is one launch. The backward processes chunks of queries: the forward again with every activation kept, then
the content branch, the weights and, in plain torch, the coordinate branch, which has a quarter of the rows.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from arasfsr.nn.decoders.mlp import MLPWeights
from arasfsr.nn.memo import remembered
from arasfsr.query.fused.limits import tf32_allowed
from arasfsr.query.fused.packed import NARROWEST, Packed, padded_width
from arasfsr.query.fused.row_sums import add_product, product_over_rows
from arasfsr.query.operator import Problem

CHUNK_BYTES = 900 << 20
"""Activations and gradients that the backward holds at a time; up to twice that to fill a wave of the device."""

WEIGHT_SPLITS = 8
"""Default number of partial sums of the weights' gradients that run in parallel."""


class Kept(NamedTuple):
    """Activations of a chunk of `size` queries from `first`, kept by the forward; Q = tiles x BQ, rows = images Q 4."""

    first: int
    size: int
    tiles: int
    f: Tensor
    """f_1 .. f_L: (L, rows, NP); the order of the rows is the backend's choice."""
    s: Tensor
    """s_1 .. s_L: (L, Q, NP)."""
    cosines: Tensor
    """Derivatives of s_1 .. s_L: (L, Q, NP)."""
    lr_rows: Tensor
    """Each row's LR pixel, a row of the LR map: (rows,) int64."""
    rel: Tensor
    """(rows, 2) float32."""
    share: Tensor
    """The corners' shares of the ensemble: (rows,) float32."""


class ContentGradients(NamedTuple):
    """Gradients of the content branch for a chunk."""

    z: Tensor
    """Of f_1 .. f_L before the ReLU: (L, rows, NP); after the first, the order of the rows is the backend's choice."""
    s: Tensor
    """Of s_1 .. s_L, from the content branch only: (L, Q, NP) float32."""
    share: Tensor | None
    """(rows,) float32."""
    combined: Tensor
    """Not a gradient: the output layer's input, (images, Q, NP) float32."""


class Launcher(abc.ABC):
    """Launches the kernels for one problem; subclasses implement the launches."""

    narrowest = NARROWEST
    """Minimum padded width; widths are padded to a power of two."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.width = problem.lr_map.shape[3]
        self.padded = padded_width(self.width, self.narrowest)
        self.tf32 = problem.dtype == torch.float32 and tf32_allowed()
        """Whether float32 is multiplied in TF32."""
        self.packed = remembered(problem.weights, (type(self), problem.dtype, self.padded, self.tf32), self.pack)
        self.layers = self.packed.content_bias.shape[0] + 1
        self.device = problem.lr_map.device
        self.halves = 2 if problem.modulated else 1

    @property
    @abc.abstractmethod
    def tile(self) -> int:
        """Queries per tile, BQ; chunks are padded to whole tiles."""

    @property
    def turn(self) -> int:
        """Tiles in one wave, which the device processes concurrently."""
        return 1

    @property
    def splits(self) -> int:
        """Partial sums of the weights' gradients that run in parallel."""
        return WEIGHT_SPLITS

    @abc.abstractmethod
    def render(self, out: Tensor) -> None:
        """Decode all queries, including the skip, into out (images, queries, 3) float32."""

    @abc.abstractmethod
    def keep(self, kept: Kept) -> None:
        """Run the forward of a chunk, writing its activations to `kept`."""

    @abc.abstractmethod
    def content_gradients(self, kept: Kept, grad: Tensor, gradients: ContentGradients) -> None:
        """Run the content branch's backward, from contiguous grad (images, queries, 3) float32 of all queries."""

    @abc.abstractmethod
    def add_weight_gradients(self, weights: Tensor, biases: Tensor, kept: Kept, gradients: ContentGradients) -> None:
        """Add a chunk's part of the hidden layers' gradients to `weight_sums`; may overwrite `kept.f`."""

    def add_first_layer(self, lr_rows: Tensor, rel_weight: Tensor, kept: Kept, gradients: ContentGradients) -> None:
        """Add a chunk's part of the gradients of the LR map (B h w, n) and of rel's weight (n, 2)."""
        z = gradients.z[0, :, : self.width].to(torch.float32)
        lr_rows.index_add_(0, kept.lr_rows, z)
        rel_weight += product_over_rows(z, kept.rel)

    def angle_gradients(self, kept: Kept, gradients: ContentGradients) -> Tensor:
        """Gradients of the coordinate branch's angles, last layer to first: (L, Q, NP), overwriting the cosines."""
        angles, weights = kept.cosines, self.packed.modulator_weight
        assert weights is not None
        for layer in reversed(range(self.layers)):
            torch.mul(gradients.s[layer], angles[layer], out=angles[layer])
            if layer:
                add_product(gradients.s[layer - 1], angles[layer], weights[layer - 1])
        return angles

    def empty(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """An uninitialised tensor on the LR map's device, by default in the compute dtype."""
        return torch.empty(shape, dtype=dtype or self.problem.dtype, device=self.device)

    def pack(self) -> Packed:
        """The layers after the first as the kernels read them."""
        weights = [weight.detach() for weight in self.problem.weights]
        packed = Packed.of(MLPWeights.unflatten(weights, self.problem.modulated), self.padded, self.problem.dtype)
        return packed.in_tf32() if self.tf32 else packed

    def by_axis(self, weight: Tensor) -> Tensor:
        """(n, 2) transposed and padded to (2, NP)."""

        def pad() -> Tensor:
            return F.pad(weight.detach().t(), (0, self.padded - self.width)).contiguous()

        return remembered([weight], ("by axis", self.padded, weight.storage_offset()), pad)

    def new_output(self) -> Tensor:
        """Memory for `render`: (images, queries, 3) float32."""
        return self.empty(self.problem.images, self.problem.count, 3, dtype=torch.float32)

    def chunks(self) -> Iterator[tuple[int, int]]:
        """Yields first query and number of queries of each chunk of the backward: whole waves, if they fit."""
        size, images = self.problem.dtype.itemsize, self.problem.images
        content = images * 4 * self.padded * 2 * self.layers * size
        coordinate = self.padded * (self.layers * (2 * size + 4) + images * 4)
        of_tile, turn = (content + coordinate) * self.tile, self.turn
        tiles = max(1, CHUNK_BYTES // of_tile)
        if turn * of_tile <= 2 * CHUNK_BYTES:
            tiles = max(1, tiles // turn) * turn
        step = tiles * self.tile
        for first in range(0, self.problem.count, step):
            yield first, min(step, self.problem.count - first)

    def new_kept(self, first: int, count: int) -> Kept:
        """Memory for `keep`: what the backward needs of a chunk's forward."""
        layers, width = self.layers, self.padded
        tiles = -(-count // self.tile)
        padded = tiles * self.tile
        rows = self.problem.images * padded * 4
        return Kept(
            first=first,
            size=count,
            tiles=tiles,
            f=self.empty(layers, rows, width),
            s=self.empty(layers, padded, width),
            cosines=self.empty(layers, padded, width),
            lr_rows=self.empty(rows, dtype=torch.int64),
            rel=self.empty(rows, 2, dtype=torch.float32),
            share=self.empty(rows, dtype=torch.float32),
        )

    def new_gradients(self, kept: Kept, need_share: bool) -> ContentGradients:
        """Memory for `content_gradients`."""
        rows, padded = kept.f.shape[1], kept.s.shape[1]
        return ContentGradients(
            z=torch.empty_like(kept.f),
            s=self.empty(*kept.s.shape, dtype=torch.float32),
            share=self.empty(rows, dtype=torch.float32) if need_share else None,
            combined=self.empty(self.problem.images, padded, self.padded, dtype=torch.float32),
        )

    def weight_sums(self) -> tuple[Tensor, Tensor]:
        """Zeros for the hidden layers' gradients: weights (splits, L - 1, halves, NP, NP), biases in float64."""
        shape = (self.splits, self.layers - 1, self.halves, self.padded, self.padded)
        weights = torch.zeros(shape, dtype=torch.float32, device=self.device)
        biases = torch.zeros((*shape[:2], self.padded), dtype=torch.float64, device=self.device)
        return weights, biases
