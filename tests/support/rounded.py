"""What the fused kernels compute in half precision and TF32, rounded where they round, in plain torch.

Against float64, such a format's own error hides a kernel's: a few queries' gradients are off by a tenth where a ReLU
flips. This differs from the kernels in the order of sums alone, so a small problem of any shape tells right from wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from arasfsr.config import FOURIER_OCTAVES
from arasfsr.coords import fourier_encoding, local_ensemble
from arasfsr.query.fused import cuda
from arasfsr.query.fused.launcher import ContentGradients, Kept, Launcher
from arasfsr.query.fused.operator import decode, gradients_of
from arasfsr.query.fused.packed import ENCODING_ROWS, rounded_to_tf32
from arasfsr.query.operator import register
from arasfsr.query.skip import add_skip

aten = torch.ops.aten

UNIT = 1 << 20
"""The emulation's unit rounds sines to multiples of its inverse."""

TURNS_OF_ONE = 0.15915493667125702
TURN = (6.2831854820251465, -1.7484555314695172e-7)
ROUNDS = 12582912.0
"""As in csrc/src/numerics.h: 1 / 2 pi in float32, 2 pi in two parts, and 1.5 x 2^23."""

SUMS = (aten.addmm, aten.baddbmm, aten.baddbmm_)
"""Products that are added to their first argument."""
PRODUCTS = (aten.mm, aten.bmm, *SUMS)
CONVOLUTIONS = (aten.convolution, aten.convolution_backward)


class RoundedToTf32(TorchDispatchMode):
    """Rounds what matrix products and convolutions read to TF32: plain torch where it is allowed it, on any device."""

    def __init__(self, functions: Collection[Any] = (*PRODUCTS, *CONVOLUTIONS)) -> None:
        super().__init__()
        self._functions = functions

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket in self._functions:
            first = 1 if func.overloadpacket in SUMS else 0
            rounded = [
                rounded_to_tf32(arg) if isinstance(arg, Tensor) and arg.dtype == torch.float32 else arg
                for arg in args[first:]
            ]
            args = [*args[:first], *rounded]
        return func(*args, **(kwargs or {}))


class RoundedLauncher(Launcher):
    """The launches as loops over layers: products summed in float64, activations rounded to the compute dtype."""

    narrowest = 64

    @property
    def tile(self) -> int:
        return 64

    def _rounded(self, x: Tensor) -> Tensor:
        rounded = x.to(self.problem.dtype)
        return (rounded_to_tf32(rounded) if rounded.dtype == torch.float32 else rounded).double()

    def _encoding(self, coord: Tensor) -> Tensor:
        """The Fourier encoding of (Q, 2), with sines as the kernels have them."""
        if not self.coarse:
            return fourier_encoding(coord)
        octaves = coord.unsqueeze(1) * 2.0 ** torch.arange(FOURIER_OCTAVES, device=coord.device).view(1, -1, 1)
        return torch.cat((coord, torch.cat(self._waves(octaves), dim=2).flatten(1).float()), dim=1)

    @property
    def coarse(self) -> bool:
        """Whether sines are those of the native core's emulation of the special-function unit, for 16 bits."""
        return bool(cuda.emulated()) and self.problem.dtype != torch.float32

    def _waves(self, angle: Tensor) -> tuple[Tensor, Tensor]:
        """Sines and cosines as the kernels have them, in float64."""
        if not self.coarse:
            return angle.sin(), angle.cos()
        x = angle.float()  # as csrc/src/numerics.h takes whole turns off, a product and a sum rounded once
        turns = (x.double() * TURNS_OF_ONE + ROUNDS).float().double() - ROUNDS
        for part in TURN:
            x = (x.double() - turns * part).float()
        sine, cosine = ((wave.float() * UNIT).round().double() / UNIT for wave in (x.double().sin(), x.double().cos()))
        return sine, cosine

    def _coords(self, kept: Kept) -> Tensor:
        """(Q, 2): those of the chunk, and its first one's where the last tile is not full."""
        return self._fill(self.problem.coords(kept.first, kept.first + kept.size), kept)

    def _fill(self, rows: Tensor, kept: Kept) -> Tensor:
        return torch.cat((rows, rows[:1].expand(kept.tiles * self.tile - kept.size, -1)))

    def _halves(self, layer: int) -> list[Tensor]:
        return list(self.packed.content_weight[layer].double())

    def _coordinate_branch(self, coord: Tensor, kept: Kept) -> None:
        packed = self.packed
        assert packed.encoding_weight is not None
        assert packed.modulator_weight is not None
        assert packed.modulator_bias is not None
        below = torch.nn.functional.pad(self._encoding(coord), (0, ENCODING_ROWS - 42))
        weight = packed.encoding_weight
        for layer in range(self.layers):
            angle = self._rounded(below) @ weight.double().t() + packed.modulator_bias[layer]
            kept.s[layer], kept.cosines[layer] = map(self._rounded, self._waves(angle))
            below = kept.s[layer]
            weight = packed.modulator_weight[layer] if layer + 1 < self.layers else weight

    def keep(self, kept: Kept) -> None:
        problem = self.problem
        coord = self._coords(kept)
        corners = local_ensemble(coord, problem.lr_size)
        pixels = problem.lr_size[0] * problem.lr_size[1]
        image = torch.arange(problem.images, device=self.device).view(-1, 1, 1)
        if problem.per_image:
            query = torch.arange(kept.first, kept.first + kept.size, device=self.device).unsqueeze(1)
            image = self._fill(query, kept) // problem.per_image
        kept.lr_rows[:] = (corners.lr_pixel.t() + image * pixels).reshape(-1)
        shape = (problem.images, -1, -1, -1)
        kept.rel[:] = corners.rel.transpose(0, 1).expand(*shape).reshape(-1, 2)
        kept.share[:] = corners.share.t().expand(*shape[:3]).reshape(-1)
        rel_weight, cell_weight = problem.rel_and_cell_weight
        z = problem.lr_rows[kept.lr_rows].double() + kept.rel.double() @ rel_weight.double().t()
        if problem.cells is not None and cell_weight is not None:
            cell = self._fill(problem.cells[kept.first : kept.first + kept.size], kept)
            term = cell.double() @ cell_weight.double().t()
            z += term.unsqueeze(1).expand(-1, 4, -1).expand(*shape).reshape(z.shape)
        kept.f[0] = torch.nn.functional.pad(self._rounded(z.clamp_min(0)), (0, self.padded - self.width))
        if self.problem.modulated:
            self._coordinate_branch(coord, kept)
        for layer in range(self.layers - 1):
            f, halves = kept.f[layer], self._halves(layer)
            above = f.double() @ halves[0].t() + self.packed.content_bias[layer]
            if self.problem.modulated:
                above += self._rounded(f.double() * self._of_rows(kept.s[layer])) @ halves[1].t()
            kept.f[layer + 1] = self._rounded(above.clamp_min(0))

    def _of_rows(self, s: Tensor) -> Tensor:
        """(Q, NP) for every row: (images Q 4, NP)."""
        return s.double().view(1, -1, 1, self.padded).expand(self.problem.images, -1, 4, -1).reshape(-1, self.padded)

    def _ensemble(self, kept: Kept) -> Tensor:
        """sum over corners of share f_L, times s_L: (images, Q, NP)."""
        shared = kept.f[-1].double() * kept.share.double().unsqueeze(1)
        found = shared.view(self.problem.images, -1, 4, self.padded).sum(2)
        return found * kept.s[-1].double() if self.problem.modulated else found

    def render(self, out: Tensor) -> None:
        for first, count in self.chunks():
            kept = self.new_kept(first, count)
            self.keep(kept)
            found = self._ensemble(kept)[:, :count]
            out[:, first : first + count] = found @ self.packed.output_weight.double().t() + self.packed.output_bias
        add_skip(out.view(-1, self.problem.queries.count(), 3), self.problem)

    def content_gradients(self, kept: Kept, grad: Tensor, found: ContentGradients) -> None:
        images, modulated = self.problem.images, self.problem.modulated
        of_query = grad.new_zeros(images, kept.s.shape[1], 3)
        of_query[:, : kept.size] = grad[:, kept.first : kept.first + kept.size]
        rows = of_query.double().unsqueeze(2).expand(-1, -1, 4, -1).reshape(-1, 3)
        of_f = rows @ self.packed.output_weight.double()
        share = kept.share.double().unsqueeze(1)
        found.combined[:] = self._ensemble(kept)
        last = kept.f[-1].double()
        if modulated:
            found.s[-1] = self._over_rows(last * share * of_f)
            of_f = of_f * self._of_rows(kept.s[-1])
        if found.share is not None:
            found.share[:] = (of_f * last).sum(1)
        found.z[-1] = self._rounded(of_f * share * (last > 0))
        for layer in reversed(range(self.layers - 1)):
            f, halves = kept.f[layer].double(), self._halves(layer)
            above = found.z[layer + 1].double()
            of_f = above @ halves[0]
            if modulated:
                of_product = above @ halves[1]
                found.s[layer] = self._over_rows(of_product * f)
                of_f += of_product * self._of_rows(kept.s[layer])
            found.z[layer] = self._rounded(of_f * (f > 0))

    def _over_rows(self, x: Tensor) -> Tensor:
        """Sums over images and corners: (Q, NP)."""
        return x.view(self.problem.images, -1, 4, self.padded).sum((0, 2))

    def add_weight_gradients(self, weights: Tensor, biases: Tensor, kept: Kept, found: ContentGradients) -> None:
        for layer in range(self.layers - 1):
            z, f = found.z[layer + 1].double(), kept.f[layer].double()
            biases[0, layer] += z.sum(0)
            weights[0, layer, 0] += z.t() @ f
            if self.problem.modulated:
                weights[0, layer, 1] += z.t() @ self._rounded(f * self._of_rows(kept.s[layer]))


run = register("rounded", partial(decode, RoundedLauncher), partial(gradients_of, RoundedLauncher))
