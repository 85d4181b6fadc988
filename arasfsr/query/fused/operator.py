"""Forward and backward of the fused operators, in terms of a launcher's kernels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from arasfsr.coords import fourier_encoding, fourier_encoding_backward, local_ensemble, local_ensemble_backward, times
from arasfsr.query.fused.launcher import ContentGradients, Kept, Launcher
from arasfsr.query.fused.packed import ENCODING_ROWS, unpacked
from arasfsr.query.fused.row_sums import product_over_rows, sum_over_rows
from arasfsr.query.operator import BIAS_SUM, Gradients, Need, Problem
from arasfsr.query.skip import skip_gradients


class _ChunkSums:
    """Accumulates the chunks' gradients."""

    def __init__(self, launcher: Launcher, need: Need) -> None:
        problem, padded = launcher.problem, launcher.padded
        self.launcher, self.need = launcher, need

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=launcher.device)

        self.lr_rows = zeros(*problem.lr_rows.shape)
        self.rel_weight = zeros(launcher.width, 2)
        self.cell_weight = None if problem.cell_weight is None else zeros(launcher.width, 2)
        self.coord = zeros(problem.count, 2) if need.coord else None
        self.cell = zeros(problem.count, 2) if need.cell else None
        self.content, self.content_bias = launcher.weight_sums()
        branch = launcher.layers if launcher.problem.modulated else 0
        self.encoding = zeros(padded, ENCODING_ROWS)
        self.modulator = zeros(max(branch - 1, 0), padded, padded)
        self.modulator_bias = zeros(branch, padded, dtype=BIAS_SUM)
        self.output = zeros(3, padded)

    def add(self, grad: Tensor, kept: Kept) -> None:
        """Add a chunk's gradients; `grad` is (images, queries, 3) of all queries."""
        gradients = self.launcher.new_gradients(kept, self.need.coord)
        self.launcher.content_gradients(kept, grad, gradients)
        self.launcher.add_weight_gradients(self.content, self.content_bias, kept, gradients)
        part = slice(kept.first, kept.first + kept.size)
        of_queries = self._padded(grad[:, part], kept).flatten(0, 1)
        self.output += product_over_rows(of_queries, gradients.combined.flatten(0, 1))
        grad_coord = self._geometry(kept, gradients)
        if self.launcher.problem.modulated:
            grad_encoding = self._coordinate_branch(kept, gradients)
            if grad_coord is not None and grad_encoding is not None:
                grad_coord += fourier_encoding_backward(self._coords(kept), grad_encoding)
        if self.coord is not None and grad_coord is not None:
            self.coord[part] = grad_coord

    @staticmethod
    def _padded(of_queries: Tensor, kept: Kept) -> Tensor:
        """Pads (.., count, n) with zeros to whole tiles."""
        missing = kept.s.shape[1] - kept.size
        return F.pad(of_queries, (0, 0, 0, missing)) if missing else of_queries

    def _coords(self, kept: Kept) -> Tensor:
        """Coordinates of the chunk's queries: (count, 2) float32."""
        return self.launcher.problem.coords(kept.first, kept.first + kept.size)

    def _geometry(self, kept: Kept, gradients: ContentGradients) -> Tensor | None:
        """Backward of the first layer: LR map, rel and cell; returns coord's gradient through rel and the shares."""
        problem, n, count = self.launcher.problem, self.launcher.width, kept.size
        self.launcher.add_first_layer(self.lr_rows, self.rel_weight, kept, gradients)
        z = gradients.z[0, :, :n].view(problem.images, -1, 4, n)[:, :count]
        rel_weight, cell_weight = problem.rel_and_cell_weight
        if problem.cells is not None and cell_weight is not None and self.cell_weight is not None:
            of_query = z.sum((0, 2), dtype=torch.float32)
            last = kept.first + count
            self.cell_weight += product_over_rows(of_query, problem.cells[kept.first : last])
            if self.cell is not None:
                self.cell[kept.first : last] = of_query @ cell_weight
        if gradients.share is None:
            return None
        grad_rel = (z.to(torch.float32) @ rel_weight).sum(0).transpose(0, 1)
        grad_share = gradients.share.view(problem.images, -1, 4)[:, :count].sum(0).t()
        corners = local_ensemble(self._coords(kept), problem.lr_size)
        return local_ensemble_backward(corners, problem.lr_size, grad_rel, grad_share)

    def _coordinate_branch(self, kept: Kept, gradients: ContentGradients) -> Tensor | None:
        """Backward of the coordinate branch, last layer to first; returns the encoding's gradient (count, 42).

        Includes the padding of the last tile, whose gradients are zero.
        """
        packed = self.launcher.packed
        assert packed.encoding_weight is not None
        angles = self.launcher.angle_gradients(kept, gradients)
        encoding = fourier_encoding(self._coords(kept))
        channels = encoding.shape[1]
        below = angles.new_zeros(angles.shape[1], ENCODING_ROWS)
        below[: kept.size, :channels] = encoding
        self.encoding += product_over_rows(angles[0], below)
        self.modulator += product_over_rows(angles[1:], kept.s[:-1])
        self.modulator_bias += sum_over_rows(angles)
        if not self.need.coord:
            return None
        return (angles[0, : kept.size] @ packed.encoding_weight)[:, :channels].to(torch.float32)

    def weights(self, grad: Tensor) -> list[Tensor]:
        """Gradients in the order of `MLPWeights.after_first`."""
        n = self.launcher.width
        modulator = [self.encoding, *self.modulator] if self.launcher.problem.modulated else []
        matrices = unpacked(self.content.sum(0), modulator, self.output, n)
        biases = [*self.content_bias.sum(0), *self.modulator_bias]
        output_bias = grad.sum((0, 1), dtype=BIAS_SUM)
        return [t for pair in zip(matrices, [*(bias[:n] for bias in biases), output_bias], strict=True) for t in pair]


def decode(launcher_of: Callable[[Problem], Launcher], problem: Problem) -> Tensor:
    """The forward of a backend's operator, (B, Q, 3) float32."""
    launcher = launcher_of(problem)
    out = launcher.new_output()
    launcher.render(out)
    return out.view(problem.batch, problem.queries.count(), 3)


def gradients_of(launcher_of: Callable[[Problem], Launcher], grad: Tensor, problem: Problem, need: Need) -> Gradients:
    """The backward of a backend's operator, chunk by chunk."""
    launcher = launcher_of(problem)
    sums = _ChunkSums(launcher, need)
    flat = grad.reshape(problem.images, problem.count, 3).contiguous()
    for first, count in launcher.chunks():
        kept = launcher.new_kept(first, count)
        launcher.keep(kept)
        sums.add(flat, kept)
    image, skip_coord = skip_gradients(grad, problem, need)
    coord = problem.per_query(sums.coord, problem.queries.coord)
    cell = problem.per_query(sums.cell, problem.cell)
    return Gradients(
        lr_map=sums.lr_rows,
        image=image,
        coord=coord if coord is None or skip_coord is None else coord + skip_coord,
        cell=None if cell is None else times(cell, problem.lr_size),
        rel_weight=sums.rel_weight,
        cell_weight=sums.cell_weight,
        weights=sums.weights(flat),
    )
