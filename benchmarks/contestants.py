"""Who is measured: the authors' implementation, the same under torch.compile and autocast, and our backends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from arasfsr import backends
from arasfsr.model import Encoding
from arasfsr.nn.decoders.mlp import MLPWeights
from arasfsr.query import Queries, QueryCall, reference
from benchmarks.ceilings import TORCH_DTYPES
from benchmarks.workload import Inputs

PUBLIC_CHUNK = 30_000  # queries an image that the authors' implementation decodes at a time
HALVES = ("bfloat16", "float16")

Decode = Callable[[Inputs, MLPWeights], Tensor]
"""Inputs and weights to (B, Q, 3)."""


@dataclass(frozen=True)
class Contestant:
    """A way to compute a case."""

    name: str
    dtype: str  # as `Case.dtype`
    backend: str | None = None  # ours; None is the authors' implementation
    compiled: bool = False


def contestants(dtype: str, device: torch.device, only: tuple[str, ...] = ()) -> list[Contestant]:
    """Who computes in `dtype` on that device.

    `only` names contestants or backends; by default all but `reference`. In half precision the authors' implementation
    runs under autocast, as its users would run it.
    """
    public = "public-autocast" if dtype in HALVES else "public"
    found = [Contestant(public, dtype), Contestant(f"{public}-compile", dtype, compiled=True)]
    found += [Contestant(name, dtype, name) for name in backends() if name not in unavailable(device)]
    return [each for each in found if (each.name in only if only else each.name != "reference")]


def unavailable(device: torch.device) -> dict[str, str]:
    """Our backends that cannot compute on that device, with the reasons."""
    reasons = {name: reason for name, reason in backends().items() if reason is not None}
    if device.type == "cpu" and torch.cuda.is_available():
        reasons |= dict.fromkeys(("triton", "cuda"), "the device is a CPU")
    return reasons


def known() -> list[str]:
    """Every name that `contestants(only=...)` takes."""
    public = [f"public{autocast}{compiled}" for autocast in ("", "-autocast") for compiled in ("", "-compile")]
    return public + list(backends())


def _literal(features: Tensor, image: Tensor | None, coord: Tensor, cell: Tensor, weights: MLPWeights) -> Tensor:
    """The literal method as plain torch sees it: float32 parameters and arithmetic, unless autocast is on.

    `dispatch` would turn autocast off and cast everything itself.
    """
    return reference.run(QueryCall(features, image, Queries(coord, None), cell, weights, torch.float32))


def _public(contestant: Contestant, device: torch.device, chunk: int | None) -> Decode:
    literal: Callable[..., Tensor] = _literal
    if contestant.compiled:
        torch._dynamo.reset()  # the shapes of earlier cases count against its limit of recompilations
        literal = torch.compile(_literal, dynamic=False, fullgraph=True)

    def decode(inputs: Inputs, weights: MLPWeights) -> Tensor:
        count = inputs.coord.shape[1]
        with autocast(contestant.dtype, device):
            chunks = [inputs.at(slice(i, i + (chunk or count))) for i in range(0, count, chunk or count)]
            parts = [literal(part.features, part.image, part.coord, part.cell, weights) for part in chunks]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    return decode


def autocast(dtype: str, device: torch.device) -> Any:
    return torch.autocast(device.type, TORCH_DTYPES[dtype]) if dtype in HALVES else nullcontext()


def _ours(contestant: Contestant) -> Decode:
    backend, dtype = contestant.backend or "auto", TORCH_DTYPES[contestant.dtype]

    def decode(inputs: Inputs, weights: MLPWeights) -> Tensor:
        encoding = Encoding(inputs.features, inputs.image, weights)  # a new one: no LR map of an earlier run
        if inputs.grid is None:
            return encoding.query(inputs.coord, inputs.cell, backend, dtype)
        rendered = encoding.render(inputs.grid, inputs.region, backend, dtype)
        return rendered.permute(0, 2, 3, 1).reshape(rendered.shape[0], -1, 3)

    return decode


def decoder(contestant: Contestant, device: torch.device, training: bool) -> Decode:
    """How the contestant decodes. In training the authors' implementation takes all queries at once."""
    return _ours(contestant) if contestant.backend else _public(contestant, device, None if training else PUBLIC_CHUNK)


def gradients(out: Tensor, inputs: Inputs, weights: MLPWeights, upstream: Tensor) -> list[Tensor]:
    """Gradients to the feature map, then content, modulator and output, weight before bias."""
    parameters = [*weights.content[0], *weights.after_first()]
    return list(torch.autograd.grad(out, [inputs.features, *parameters], upstream))
