"""Calls the native core's kernels, and multiplies out the weights' gradients over what they kept."""

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
from arasfsr.query.fused.operator import register
from arasfsr.query.fused.packed import Packed, padded_width
from arasfsr.query.fused.row_sums import product_over_rows, sum_over_rows
from arasfsr.query.operator import Problem

NARROWEST = 64
"""Rows are padded at least to the narrowest kernel's width."""

ALIGNMENT = 16
"""Bytes to which the core's pointers are aligned."""


def _dense(tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor as the core takes them: dense and aligned."""
    dense = tensor.to(dtype or tensor.dtype).contiguous()
    return dense if dense.data_ptr() % ALIGNMENT == 0 else dense.clone()


def _on(device: torch.device) -> torch.cuda.device:
    """Makes a device the current one; the host changes nothing."""
    return torch.cuda.device(device if device.type == "cuda" else -1)


def _code(core: cuda_core.Core, dtype: torch.dtype) -> int:
    return {torch.bfloat16: core.BFLOAT16, torch.float16: core.FLOAT16, torch.float32: core.TF32}[dtype]


def refusal(call: QueryCall) -> str | None:
    """What of a call no kernel takes on its device, as the core says it."""
    device, weights = call.features.device, call.weights
    assert isinstance(weights, MLPWeights)
    sizes = len(weights.content), weights.output[0].shape[1], NARROWEST, int(weights.is_modulated())
    try:
        found = _unsupported(device, call.dtype, *sizes, *call.features.shape[2:])
    except RuntimeError as error:  # such as a driver that is too old for the extension
        return str(error)
    return None if found is None else f"{found[0]}={found[1]}, for which it has no kernel"


@functools.lru_cache
def _unsupported(
    device: torch.device, dtype: torch.dtype, layers: int, width: int, narrowest: int, modulated: int, h: int, w: int
) -> tuple[str, int] | None:
    """What the core's kernels do not take, and its value; asked once for each such problem."""
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
    """The weights, dense and aligned, and their addresses by the names of arasfsr_problem."""

    @functools.cached_property
    def addresses(self) -> dict[str, int]:
        return _addresses(self._asdict())


class CudaLauncher(Launcher):
    """One call's arguments as the native core takes them."""

    narrowest = NARROWEST

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        if problem.dtype == torch.float32 and not self.tf32:  # what was compiled may have been allowed it then
            raise BackendUnavailable("backend='cuda': torch does not allow TF32 to float32 products any more")
        self.core = cuda_core.load()
        self._tensors = self._inputs()
        """What the core's problem points to; they live as long as it does."""
        self._call = self._describe()

    @functools.cached_property
    def _splits(self) -> int:
        """Of the kernel for the weights' gradients; 0 where neither it nor the coordinate branch's is there."""
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
        """The tensors of arasfsr_problem but for the packed ones, by its names."""
        problem = self.problem
        rel_weight, cell_weight = problem.rel_and_cell_weight
        found = {
            "lr_map": problem.lr_rows,
            "image": problem.image,
            "coord": problem.flat.coord,
            "cell": problem.cells,
            "rel_weight": self.by_axis(rel_weight),
            "cell_weight": None if cell_weight is None else self.by_axis(cell_weight),
        }
        return {name: _dense(value, torch.float32) for name, value in found.items() if value is not None}

    def _describe(self) -> Any:
        """The problem as the core's struct; of tensors that are not there it has null pointers."""
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

    def _render(self, out: Tensor) -> None:
        with _on(self.device):
            scratch = self._scratch(self.core.render_scratch)
            self.core.render(self._call, out.data_ptr(), scratch.data_ptr(), scratch.numel())

    def _scratch(self, size_of: Callable[[Any], int]) -> Tensor:
        return self.empty(size_of(self._call), dtype=torch.uint8)

    def _chunk(self, kept: Kept) -> Any:
        tensors = (kept.f, kept.s, kept.cosines, kept.lr_rows, kept.rel, kept.share)
        pointers = dict(zip(("f", "s", "cosines", "lr_rows", "rel", "share"), _pointers(*tensors), strict=True))
        return self.core.Kept(first=kept.first, count=kept.size, tiles=kept.tiles, **pointers)

    def _keep(self, kept: Kept) -> None:
        with _on(self.device):
            scratch = self._scratch(self.core.keep_scratch)
            self.core.keep(self._call, self._chunk(kept), scratch.data_ptr(), scratch.numel())

    def _content_gradients(self, kept: Kept, grad: Tensor, found: ContentGradients) -> None:
        dense = _dense(grad)
        names = ("grad", "z", "s", "share", "combined")
        pointers = _pointers(dense, found.z, found.s, found.share, found.combined)
        gradients = self.core.Gradients(**dict(zip(names, pointers, strict=True)))
        with _on(self.device):
            scratch = self._scratch(self.core.backward_scratch)
            self.core.backward(self._call, self._chunk(kept), gradients, scratch.data_ptr(), scratch.numel())

    def add_first_layer(self, lr_rows: Tensor, rel_weight: Tensor, kept: Kept, found: ContentGradients) -> None:
        """By atomic sums, unless torch is to be deterministic."""
        if torch.are_deterministic_algorithms_enabled():
            super().add_first_layer(lr_rows, rel_weight, kept, found)
            return
        rel = self.empty(self.problem.images * kept.tiles, 2, self.padded, dtype=torch.float32)
        with _on(self.device):
            self.core.scatter(self._call, self._chunk(kept), *_pointers(found.z, lr_rows, rel))
        rel_weight += rel.sum(0)[:, : self.width].t()

    def angle_gradients(self, kept: Kept, found: ContentGradients) -> Tensor:
        """By a kernel, where there is one."""
        if not self._splits:
            return super().angle_gradients(kept, found)
        with _on(self.device):
            scratch = self._scratch(self.core.coordinate_scratch)
            self.core.coordinate(self._call, self._chunk(kept), found.s.data_ptr(), scratch.data_ptr(), scratch.numel())
        return kept.cosines

    def add_weight_gradients(self, weights: Tensor, biases: Tensor, kept: Kept, found: ContentGradients) -> None:
        """By a kernel, or else by matrix products over the chunk's rows, for the second of which f becomes f * s."""
        hidden = self.layers - 1
        if hidden == 0:
            return
        if self._splits:
            with _on(self.device):
                read, *sums = _pointers(found.z, weights, biases)
                self.core.weight_gradients(self._call, self._chunk(kept), read, sums[0], sums[1], self._splits)
            return
        z, f = found.z[1:], kept.f[:-1]
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


run = register("cuda", CudaLauncher)
