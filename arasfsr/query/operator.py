"""The fused operator as torch.library sees it, written once for every backend that has a backward of its own.

`register(NAME, forward, backward)` makes `arasfsr::NAME` and `arasfsr::NAME_backward`, with fakes and autograd, so that
they compose with torch.compile and torch.export.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from arasfsr.coords import times
from arasfsr.nn.decoder import is_modulated
from arasfsr.query.call import Grid, QueryCall, geometry_dtype
from arasfsr.query.lr_map import first_layer


class Arguments(NamedTuple):
    """The arguments of the operator, in its order."""

    latent: Tensor
    """The LR map G (B, h, w, n)."""
    image: Tensor | None
    """(B, 3, h, w) for the skip."""
    coord: Tensor | None
    """(1 or B, Q, 2), or None with `grid`."""
    cell: Tensor | None
    """(1 or B, Q, 2) where cells differ from query to query, else None: their term is in the latent."""
    grid: Sequence[int] | None
    """H, W, top, left, bottom, right of a regular grid's region."""
    rel_weight: Tensor
    """(n, 2)."""
    cell_weight: Tensor | None
    """(n, 2), with `cell`."""
    weights: Sequence[Tensor]
    """`DecoderWeights.after_first`."""
    modulated: bool
    dtype: torch.dtype
    """Compute dtype."""

    @property
    def region(self) -> Grid | None:
        if self.grid is None:
            return None
        height, width, top, left, bottom, right = self.grid
        return Grid((height, width), (top, left, bottom, right))

    @property
    def queries(self) -> int:
        """Queries an image."""
        if self.grid is not None:
            _, _, top, left, bottom, right = self.grid
            return (bottom - top) * (right - left)
        assert self.coord is not None
        return self.coord.shape[1]

    @property
    def geometry(self) -> torch.dtype:
        """Dtype of coordinates, ensemble, skip and output."""
        return geometry_dtype(self.dtype)


class Need(NamedTuple):
    """Which of the optional gradients are wanted."""

    image: bool
    coord: bool
    cell: bool


class Gradients(NamedTuple):
    """What a backward finds; None is what was not asked for. Shapes may be any view of the arguments'."""

    latent: Tensor
    image: Tensor | None
    coord: Tensor | None
    cell: Tensor | None
    rel_weight: Tensor
    cell_weight: Tensor | None
    weights: list[Tensor]


def arguments_of(call: QueryCall) -> Arguments:
    """The operator's arguments for a call; what gradients need of the LR map flows through plain torch."""
    first = first_layer(call.weights)
    per_query_cell = call.cell is not None and call.cell.shape[1] > 1
    return Arguments(
        latent=call.latent(first),
        image=call.image,
        coord=call.coord,
        cell=call.cell if per_query_cell else None,
        grid=None if call.grid is None else [*call.grid.size, *call.grid.region],
        rel_weight=first.rel,
        cell_weight=first.cell if per_query_cell else None,
        weights=call.weights.after_first(),
        modulated=is_modulated(call.weights),
        dtype=call.dtype,
    )


_SCHEMA = (
    "Tensor latent, Tensor? image, Tensor? coord, Tensor? cell, int[]? grid, Tensor rel_weight, Tensor? cell_weight, "
    "Tensor[] weights, bool modulated, ScalarType dtype"
)
_library = torch.library.Library("arasfsr", "DEF")


def register(
    name: str, forward: Callable[[Arguments], Tensor], backward: Callable[[Tensor, Arguments, Need], Gradients]
) -> Callable[[QueryCall], Tensor]:
    """Register a backend's two functions and return the one that serves a call.

    `forward` gives (B, Q, 3) in the geometry's dtype; `backward` gets the gradient of that. Neither is called
    without queries or under autocast.
    """

    def run(call: QueryCall) -> Tensor:
        arguments = arguments_of(call)
        if _nobody_asks(arguments):
            return forward_op(*arguments)
        out: Tensor = getattr(torch.ops.arasfsr, name)(*arguments)
        return out

    def forward_op(*arguments: Any) -> Tensor:
        given = Arguments(*arguments)
        if not given.latent.shape[0] * given.queries:
            return _forward_fake(*arguments)
        if not torch.is_autocast_enabled(given.latent.device.type):
            return forward(given)
        with torch.autocast(given.latent.device.type, enabled=False):
            return forward(given)

    def backward_op(grad: Tensor, *rest: Any) -> list[Tensor]:
        given, need = Arguments(*rest[:-1]), Need(*rest[-1])
        if not grad.numel():
            return [torch.zeros_like(gradient) for gradient in _backward_fake(grad, *rest)]
        with torch.autocast(given.latent.device.type, enabled=False):
            return _as_given(backward(grad.to(given.geometry), given, need), given)

    def autograd(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        latent, image, coord, cell, rel_weight, cell_weight, *weights = ctx.saved_tensors
        tensors, rest = (latent, image, coord, cell), (rel_weight, cell_weight, weights)
        need = list(ctx.needs_input_grad[1:4])
        operator = getattr(torch.ops.arasfsr, f"{name}_backward")
        grads = operator(grad, *tensors, ctx.grid, *rest, ctx.modulated, ctx.dtype, need)
        optional = [found if wanted else None for found, wanted in zip(grads[1:4], need, strict=True)]
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


def _nobody_asks(arguments: Arguments) -> bool:
    """Whether nothing records, traces or transforms what is called.

    Then torch's dispatch would only come to the operator's own function, by wrappers in Python that take as long as a
    small picture's kernel.
    """
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or torch._C._is_tracing():
        return False
    return type(arguments.latent) is Tensor and torch._C._len_torch_dispatch_stack() == 0


def _as_given(found: Gradients, given: Arguments) -> list[Tensor]:
    """Each gradient in its argument's shape and dtype, dense as fakes are; an empty tensor for what is not there."""

    def like(gradient: Tensor | None, argument: Tensor | None) -> Tensor:
        if gradient is None or argument is None:
            return given.latent.new_empty(0)
        return gradient.reshape(argument.shape).to(argument.dtype).contiguous()

    return [
        like(found.latent, given.latent),
        like(found.image, given.image),
        like(found.coord, given.coord),
        like(found.cell, given.cell),
        like(found.rel_weight, given.rel_weight),
        like(found.cell_weight, given.cell_weight),
        *map(like, found.weights, given.weights),
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


class Problem(NamedTuple):
    """The operator's arguments, cast and flattened: what a backend's tiles are cut from."""

    latent: Tensor
    """(B h w, n), in the geometry's dtype."""
    coord: Tensor | None
    """(queries, 2), None with a grid."""
    cell: Tensor | None
    """(queries, 2), times (h, w)."""
    grid: Grid | None
    rel_weight: Tensor
    cell_weight: Tensor | None
    lr_size: tuple[int, int]
    images: int
    """Images that share the coordinates: their rows are decoded together. 1 where every query names its image."""
    queries: int
    per_image: int
    """Queries that belong to one image, where every query names its image, else 0."""
    geometry: torch.dtype

    @classmethod
    def of(cls, given: Arguments) -> Problem:
        """Lay out the operator's arguments, but for the layers after the first."""
        batch, h, w, n = given.latent.shape
        geometry = given.geometry
        coord, cell, queries = given.coord, given.cell, given.queries
        shared = coord is None or (coord.shape[0] == 1 and (cell is None or cell.shape[0] == 1))
        if coord is not None:
            coord = coord[0] if shared else coord.expand(batch, -1, -1).reshape(-1, 2)
        if cell is not None:
            scaled = times(cell, (h, w)).to(geometry)
            cell = scaled[0] if shared else scaled.expand(batch, -1, -1).reshape(-1, 2)
        return cls(
            latent=given.latent.to(geometry).reshape(-1, n),
            coord=coord,
            cell=cell,
            grid=given.region,
            rel_weight=given.rel_weight.to(geometry),
            cell_weight=None if given.cell_weight is None else given.cell_weight.to(geometry),
            lr_size=(h, w),
            images=batch if shared else 1,
            queries=queries if shared else batch * queries,
            per_image=0 if shared else queries,
            geometry=geometry,
        )

    def per_query(self, found: Tensor | None, given: Tensor | None) -> Tensor | None:
        """(queries, 2) in the shape of what was given, summed over the images that one coordinate or cell served."""
        if found is None or given is None:
            return None
        shaped = found.view(-1 if self.per_image else 1, given.shape[1], 2)
        return shaped if shaped.shape[0] == given.shape[0] else shaped.sum(0, keepdim=True)
