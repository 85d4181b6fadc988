"""Launches the native core's kernels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from arasfsr.errors import BackendUnavailable
from arasfsr.nn.decoders.mlp import MLPWeights
from arasfsr.query.call import QueryCall
from arasfsr.query.fused import cuda_core
from arasfsr.query.fused.launcher import ContentGradients, Kept, Launcher
from arasfsr.query.fused.operator import decode, gradients_of
from arasfsr.query.fused.packed import Packed, padded_width
from arasfsr.query.fused.row_sums import product_over_rows, sum_over_rows
from arasfsr.query.operator import Problem, register

NARROWEST = 64
"""Width of the narrowest kernel, the minimum padded width."""

ALIGNMENT = 16
"""Alignment in bytes of the core's pointers."""


def _dense(tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """The tensor, contiguous and aligned as the core requires."""
    dense = tensor.to(dtype or tensor.dtype).contiguous()
    return dense if dense.data_ptr() % ALIGNMENT == 0 else dense.clone()


def _on(device: torch.device) -> torch.cuda.device:
    """Context that makes a CUDA device the current one; no effect for the CPU."""
    return torch.cuda.device(device if device.type == "cuda" else -1)


def _code(core: cuda_core.Core, dtype: torch.dtype) -> int:
    return {torch.bfloat16: core.BFLOAT16, torch.float16: core.FLOAT16, torch.float32: core.TF32}[dtype]


def refusal(call: QueryCall) -> str | None:
    """Why the core has no kernel for a call on its device, or None."""
    device, weights = call.features.device, call.weights
    assert isinstance(weights, MLPWeights)
    sizes = len(weights.content), weights.output[0].shape[1], NARROWEST, int(weights.is_modulated())
    try:
        unsupported = _unsupported(device, call.dtype, *sizes, *call.features.shape[2:])
    except RuntimeError as error:  # such as a driver too old for the extension
        return str(error)
    return None if unsupported is None else f"{unsupported[0]}={unsupported[1]}, for which it has no kernel"


@functools.lru_cache
def _unsupported(
    device: torch.device, dtype: torch.dtype, layers: int, width: int, narrowest: int, modulated: int, h: int, w: int
) -> tuple[str, int] | None:
    """The name and value of the argument that the core's kernels do not support, or None. Cached by problem."""
    core = cuda_core.load()
    problem = core.Problem(
        abi=cuda_core.ABI,
        dtype=_code(core, dtype),
        layers=layers,
        width=width,
        padded=padded_width(width, narrowest),
        modulated=modulated,
        lr_height=h,
        lr_width=w,
        images=1,
    )
    with _on(device):
        return core.supports(problem)


class AlignedPacked(Packed):
    """The weights, contiguous and aligned, with their addresses by the field names of arasfsr_problem."""

    @functools.cached_property
    def addresses(self) -> dict[str, int]:
        return _addresses(self._asdict())


class CudaLauncher(Launcher):
    """Launches the native core's kernels for one problem."""

    narrowest = NARROWEST

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        if problem.dtype == torch.float32 and not self.tf32:  # it may have been allowed at compile time
            raise BackendUnavailable("backend='cuda': torch does not allow TF32 to float32 products any more")
        self.core = cuda_core.load()
        self._tensors = self._inputs()
        """Keeps alive the tensors that the core's problem points to."""
        self._call = self._describe()

    @functools.cached_property
    def _splits(self) -> int:
        """Splits of the weight-gradient kernel; 0 if neither it nor the coordinate branch's kernel is available."""
        with _on(self.device):
            return self.core.weight_splits(self._call)

    @property
    def tile(self) -> int:
        return self.core.TILE

    def pack(self) -> AlignedPacked:
        return AlignedPacked._make(None if part is None else _dense(part) for part in super().pack())

    @property
    def turn(self) -> int:
        with _on(self.device):
            return self.core.turn(self._call)

    @property
    def splits(self) -> int:
        return max(self._splits, 1)

    def _inputs(self) -> dict[str, Tensor]:
        """The tensors of arasfsr_problem, except the packed weights, by field name."""
        problem = self.problem
        rel_weight, cell_weight = problem.rel_and_cell_weight
        tensors = {
            "lr_map": problem.lr_rows,
            "image": problem.image,
            "coord": problem.flat.coord,
            "cell": problem.cells,
            "rel_weight": self.by_axis(rel_weight),
            "cell_weight": None if cell_weight is None else self.by_axis(cell_weight),
        }
        return {name: _dense(value, torch.float32) for name, value in tensors.items() if value is not None}

    def _describe(self) -> Any:
        """The problem as the core's struct, with null pointers for missing tensors."""
        problem, grid = self.problem, self.problem.queries.grid
        assert isinstance(self.packed, AlignedPacked)
        region = {}
        if grid is not None:
            region = {
                "grid_height": grid.size[0],
                "grid_width": grid.size[1],
                "region_top": grid.region[0],
                "region_left": grid.region[1],
                "region_width": grid.width,
            }
        stream = torch.cuda.current_stream(self.device).cuda_stream if self.device.type == "cuda" else 0
        return self.core.Problem(
            abi=cuda_core.ABI,
            dtype=_code(self.core, problem.dtype),
            layers=self.layers,
            width=self.width,
            padded=self.padded,
            modulated=int(problem.modulated),
            lr_height=problem.lr_size[0],
            lr_width=problem.lr_size[1],
            images=problem.images,
            queries=problem.count,
            per_image=problem.per_image,
            stream=stream,
            **region,
            **_addresses(self._tensors),
            **self.packed.addresses,
        )

    def render(self, out: Tensor) -> None:
        with _on(self.device):
            scratch = self._scratch(self.core.render_scratch)
            self.core.render(self._call, out.data_ptr(), scratch.data_ptr(), scratch.numel())

    def _scratch(self, size_of: Callable[[Any], int]) -> Tensor:
        return self.empty(size_of(self._call), dtype=torch.uint8)

    def _chunk(self, kept: Kept) -> Any:
        tensors = (kept.f, kept.s, kept.cosines, kept.lr_rows, kept.rel, kept.share)
        pointers = dict(zip(("f", "s", "cosines", "lr_rows", "rel", "share"), _pointers(*tensors), strict=True))
        return self.core.Kept(first=kept.first, count=kept.size, tiles=kept.tiles, **pointers)

    def keep(self, kept: Kept) -> None:
        with _on(self.device):
            scratch = self._scratch(self.core.keep_scratch)
            self.core.keep(self._call, self._chunk(kept), scratch.data_ptr(), scratch.numel())

    def content_gradients(self, kept: Kept, grad: Tensor, gradients: ContentGradients) -> None:
        dense = _dense(grad)
        names = ("grad", "z", "s", "share", "combined")
        pointers = _pointers(dense, gradients.z, gradients.s, gradients.share, gradients.combined)
        struct = self.core.Gradients(**dict(zip(names, pointers, strict=True)))
        with _on(self.device):
            scratch = self._scratch(self.core.backward_scratch)
            self.core.backward(self._call, self._chunk(kept), struct, scratch.data_ptr(), scratch.numel())

    def add_first_layer(self, lr_rows: Tensor, rel_weight: Tensor, kept: Kept, gradients: ContentGradients) -> None:
        """With atomic adds, unless torch's deterministic algorithms are enabled."""
        if torch.are_deterministic_algorithms_enabled():
            super().add_first_layer(lr_rows, rel_weight, kept, gradients)
            return
        rel = self.empty(self.problem.images * kept.tiles, 2, self.padded, dtype=torch.float32)
        with _on(self.device):
            self.core.scatter(self._call, self._chunk(kept), *_pointers(gradients.z, lr_rows, rel))
        rel_weight += rel.sum(0)[:, : self.width].t()

    def angle_gradients(self, kept: Kept, gradients: ContentGradients) -> Tensor:
        """By the core's kernel, if available."""
        if not self._splits:
            return super().angle_gradients(kept, gradients)
        with _on(self.device):
            scratch = self._scratch(self.core.coordinate_scratch)
            self.core.coordinate(
                self._call, self._chunk(kept), gradients.s.data_ptr(), scratch.data_ptr(), scratch.numel()
            )
        return kept.cosines

    def add_weight_gradients(self, weights: Tensor, biases: Tensor, kept: Kept, gradients: ContentGradients) -> None:
        """By the core's kernel if available, else by matrix products, the second after f *= s in place."""
        hidden = self.layers - 1
        if hidden == 0:
            return
        if self._splits:
            with _on(self.device):
                read, *sums = _pointers(gradients.z, weights, biases)
                self.core.weight_gradients(self._call, self._chunk(kept), read, sums[0], sums[1], self._splits)
            return
        z, f = gradients.z[1:], kept.f[:-1]
        biases[0] += sum_over_rows(z)
        weights[0, :, 0] += product_over_rows(z, f)
        if self.problem.modulated:
            by_query = f.view(hidden, self.problem.images, -1, 4, self.padded)
            by_query *= kept.s[:-1].view(hidden, 1, -1, 1, self.padded)
            weights[0, :, 1] += product_over_rows(z, f)


def _addresses(tensors: Mapping[str, Tensor | None]) -> dict[str, int]:
    return {name: tensor.data_ptr() for name, tensor in tensors.items() if tensor is not None}


def _pointers(*tensors: Tensor | None) -> list[int]:
    return [0 if tensor is None else tensor.data_ptr() for tensor in tensors]


run = register("cuda", functools.partial(decode, CudaLauncher), functools.partial(gradients_of, CudaLauncher))
