"""The operator's registration with torch.library, shared by all backends with an explicit backward.

`register(NAME, forward, backward)` defines `arasfsr::NAME` and `arasfsr::NAME_backward` with fakes and autograd, so
that they compose with torch.compile and torch.export.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from arasfsr.coords import times
from arasfsr.nn.decoders.mlp import MLPWeights
from arasfsr.query.call import Grid, Queries, QueryCall, geometry_dtype
from arasfsr.query.lr_map import first_layer

BIAS_SUM = torch.float64
"""Dtype of sums for biases' gradients. Their terms nearly cancel over all queries: float32 would be less accurate than
autograd, which sums the four corners separately."""


@dataclass(frozen=True)
class Problem:
    """The operator's arguments, and their layout for tiles of queries.

    If images share coordinates, a tile holds the same queries of all images; otherwise each query belongs to one image.
    """

    lr_map: Tensor
    """The LR map G (B, h, w, n)."""
    image: Tensor | None
    """(B, 3, h, w) for the skip."""
    queries: Queries
    """As given, per image."""
    cell: Tensor | None
    """(1 or B, Q, 2) if cells differ between queries, else None: the LR map includes their term."""
    rel_weight: Tensor
    """(n, 2)."""
    cell_weight: Tensor | None
    """(n, 2), with `cell`."""
    weights: Sequence[Tensor]
    """`MLPWeights.after_first`."""
    modulated: bool
    dtype: torch.dtype
    """Compute dtype."""
    geometry: torch.dtype
    """Dtype of coordinates, ensemble, skip and output."""
    batch: int
    lr_size: tuple[int, int]
    images: int
    """Number of images if they share coordinates, else 1."""
    per_image: int
    """Queries per image if images have separate coordinates, else 0."""
    count: int
    """Queries in the flat layout: those of one image if images share coordinates, else those of all images."""

    @classmethod
    def of(
        cls,
        lr_map: Tensor,
        image: Tensor | None,
        coord: Tensor | None,
        cell: Tensor | None,
        grid: Sequence[int] | None,
        rel_weight: Tensor,
        cell_weight: Tensor | None,
        weights: Sequence[Tensor],
        modulated: bool,
        dtype: torch.dtype,
    ) -> Problem:
        """From the operator's arguments, in order; `grid` is H, W, top, left, bottom, right."""
        region = None
        if grid is not None:
            height, width, top, left, bottom, right = grid
            region = Grid((height, width), (top, left, bottom, right))
        queries = Queries(coord, region)
        batch, h, w, _ = lr_map.shape
        count = queries.count()
        shared = coord is None or (coord.shape[0] == 1 and (cell is None or cell.shape[0] == 1))
        return cls(
            lr_map=lr_map,
            image=image,
            queries=queries,
            cell=cell,
            rel_weight=rel_weight,
            cell_weight=cell_weight,
            weights=weights,
            modulated=modulated,
            dtype=dtype,
            geometry=geometry_dtype(dtype),
            batch=batch,
            lr_size=(h, w),
            images=batch if shared else 1,
            per_image=0 if shared else count,
            count=count if shared else batch * count,
        )

    @cached_property
    def flat(self) -> Queries:
        """The queries in the flat layout: coord is (1, `count`, 2)."""
        coord = self.queries.coord
        if coord is None or not self.per_image:
            return self.queries
        return Queries(self._flatten(coord).unsqueeze(0), None)

    def coords(self, first: int, last: int) -> Tensor:
        """Coordinates of flat queries first .. last - 1: (last - first, 2) in the geometry's dtype."""
        return self.flat.coords(first, last, self.geometry, self.lr_map.device)[0]

    @cached_property
    def cells(self) -> Tensor | None:
        """The flat queries' cells times (h, w): (`count`, 2) in the geometry's dtype."""
        return None if self.cell is None else self._flatten(times(self.cell, self.lr_size).to(self.geometry))

    def _flatten(self, pairs: Tensor) -> Tensor:
        return pairs.expand(self.batch, -1, -1).reshape(-1, 2) if self.per_image else pairs[0]

    @cached_property
    def lr_rows(self) -> Tensor:
        """(B h w, n): the LR map in the geometry's dtype, one row per LR pixel."""
        return self.lr_map.to(self.geometry).reshape(-1, self.lr_map.shape[3])

    @cached_property
    def rel_and_cell_weight(self) -> tuple[Tensor, Tensor | None]:
        """`rel_weight` and `cell_weight` in the geometry's dtype."""
        cell_weight = None if self.cell_weight is None else self.cell_weight.to(self.geometry)
        return self.rel_weight.to(self.geometry), cell_weight

    def per_query(self, flat: Tensor | None, argument: Tensor | None) -> Tensor | None:
        """Reshape (`count`, 2) to the shape of `argument`, summed over images that share coordinates or cells."""
        if flat is None or argument is None:
            return None
        shaped = flat.view(-1 if self.per_image else 1, argument.shape[1], 2)
        return shaped if shaped.shape[0] == argument.shape[0] else shaped.sum(0, keepdim=True)


class Need(NamedTuple):
    """Which of the optional gradients are wanted."""

    image: bool
    coord: bool
    cell: bool


class Gradients(NamedTuple):
    """Results of a backward; None for those not needed. Shapes may be any view of the arguments'."""

    lr_map: Tensor
    image: Tensor | None
    coord: Tensor | None
    cell: Tensor | None
    rel_weight: Tensor
    cell_weight: Tensor | None
    weights: list[Tensor]


def arguments_of(call: QueryCall) -> tuple[Any, ...]:
    """The operator's arguments for a call. The LR map is computed in plain torch, whose autograd differentiates it."""
    assert isinstance(call.weights, MLPWeights)
    first, grid, cell = first_layer(call.weights), call.queries.grid, call.cell
    if cell is not None and cell.shape[1] == 1:
        cell = None
    return (
        call.lr_map(first),
        call.image,
        call.queries.coord,
        cell,
        None if grid is None else [*grid.size, *grid.region],
        first.rel,
        None if cell is None else first.cell,
        call.weights.after_first(),
        call.weights.is_modulated(),
        call.dtype,
    )


def problem_of(call: QueryCall) -> Problem:
    """The problem that a call passes to a backend's functions."""
    return Problem.of(*arguments_of(call))


_SCHEMA = (
    "Tensor lr_map, Tensor? image, Tensor? coord, Tensor? cell, int[]? grid, Tensor rel_weight, Tensor? cell_weight, "
    "Tensor[] weights, bool modulated, ScalarType dtype"
)
_library = torch.library.Library("arasfsr", "DEF")


def register(
    name: str, forward: Callable[[Problem], Tensor], backward: Callable[[Tensor, Problem, Need], Gradients]
) -> Callable[[QueryCall], Tensor]:
    """Register a backend's two functions; returns the function that runs a call.

    `forward` returns (B, Q, 3) in the geometry's dtype; `backward` takes its gradient. Neither is called without
    queries or under autocast.
    """

    def run(call: QueryCall) -> Tensor:
        arguments = arguments_of(call)
        if _can_skip_dispatch(arguments[0]):
            return forward_op(*arguments)
        out: Tensor = getattr(torch.ops.arasfsr, name)(*arguments)
        return out

    def forward_op(*arguments: Any) -> Tensor:
        problem = Problem.of(*arguments)
        device = problem.lr_map.device.type
        if not problem.batch * problem.count:
            return _forward_fake(*arguments)
        if not torch.is_autocast_enabled(device):
            return forward(problem)
        with torch.autocast(device, enabled=False):
            return forward(problem)

    def backward_op(grad: Tensor, *rest: Any) -> list[Tensor]:
        problem, need = Problem.of(*rest[:-1]), Need(*rest[-1])
        if not grad.numel():
            return [torch.zeros_like(gradient) for gradient in _backward_fake(grad, *rest)]
        with torch.autocast(grad.device.type, enabled=False):
            return _as_arguments(backward(grad.to(problem.geometry), problem, need), problem)

    def autograd(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        lr_map, image, coord, cell, rel_weight, cell_weight, *weights = ctx.saved_tensors
        tensors, rest = (lr_map, image, coord, cell), (rel_weight, cell_weight, weights)
        need = list(ctx.needs_input_grad[1:4])
        operator = getattr(torch.ops.arasfsr, f"{name}_backward")
        grads = operator(grad, *tensors, ctx.grid, *rest, ctx.modulated, ctx.dtype, need)
        optional = [gradient if wanted else None for gradient, wanted in zip(grads[1:4], need, strict=True)]
        return grads[0], *optional, None, grads[4], None if cell_weight is None else grads[5], grads[6:], None, None

    def no_double_backward(ctx: Any, *grads: Any) -> None:
        raise NotImplementedError(f'the {name} backend has no second derivative; compute it with backend="reference"')

    _library.define(f"{name}({_SCHEMA}) -> Tensor")
    _library.define(f"{name}_backward(Tensor grad, {_SCHEMA}, bool[] need) -> Tensor[]")
    _library.impl(name, forward_op, "CompositeExplicitAutograd")
    _library.impl(f"{name}_backward", backward_op, "CompositeExplicitAutograd")
    torch.library.register_fake(f"arasfsr::{name}", _forward_fake)
    torch.library.register_fake(f"arasfsr::{name}_backward", _backward_fake)
    torch.library.register_autograd(f"arasfsr::{name}", autograd, setup_context=_setup_context)
    torch.library.register_autograd(f"arasfsr::{name}_backward", no_double_backward)
    return run


def _can_skip_dispatch(lr_map: Tensor) -> bool:
    """Whether no autograd, tracing or dispatch mode observes the call.

    torch's dispatcher would then only call the operator's function, through Python wrappers that take as long as the
    kernel for a small picture.
    """
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or torch._C._is_tracing():
        return False
    return type(lr_map) is Tensor and torch._C._len_torch_dispatch_stack() == 0


def _as_arguments(gradients: Gradients, problem: Problem) -> list[Tensor]:
    """Each gradient in its argument's shape and dtype, contiguous like the fakes; an empty tensor if there is none."""

    def like(gradient: Tensor | None, argument: Tensor | None) -> Tensor:
        if gradient is None or argument is None:
            return problem.lr_map.new_empty(0)
        return gradient.reshape(argument.shape).to(argument.dtype).contiguous()

    return [
        like(gradients.lr_map, problem.lr_map),
        like(gradients.image, problem.image),
        like(gradients.coord, problem.queries.coord),
        like(gradients.cell, problem.cell),
        like(gradients.rel_weight, problem.rel_weight),
        like(gradients.cell_weight, problem.cell_weight),
        *map(like, gradients.weights, problem.weights),
    ]


def _forward_fake(*arguments: Any) -> Tensor:
    problem = Problem.of(*arguments)
    return problem.lr_map.new_empty((problem.batch, problem.queries.count(), 3), dtype=problem.geometry)


def _backward_fake(grad: Tensor, *rest: Any) -> list[Tensor]:
    problem, need = Problem.of(*rest[:-1]), rest[-1]

    def like(tensor: Tensor | None, wanted: bool = True) -> Tensor:
        return problem.lr_map.new_empty(0) if tensor is None or not wanted else tensor.new_empty(tensor.shape)

    return [
        like(problem.lr_map),
        *map(like, (problem.image, problem.queries.coord, problem.cell), need),
        like(problem.rel_weight),
        like(problem.cell_weight),
        *map(like, problem.weights),
    ]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    lr_map, image, coord, cell, grid, rel_weight, cell_weight, weights, modulated, dtype = inputs
    ctx.save_for_backward(lr_map, image, coord, cell, rel_weight, cell_weight, *weights)
    ctx.grid, ctx.modulated, ctx.dtype = grid, modulated, dtype
