"""The gate: no speed is reported for results that break the numerical contract."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from arasfsr.config import CORNERS
from arasfsr.coords import CORNER_SHIFT
from arasfsr.model import Encoding
from arasfsr.nn.decoders.mlp import MLPWeights
from arasfsr.query.skip import bilinear_skip
from arasfsr.testing import LEAST_COSINE, REFERENCE_FACTOR, error_bar, relative_rms
from benchmarks.ceilings import TORCH_DTYPES
from benchmarks.contestants import gradients
from benchmarks.workload import Inputs

SAMPLE = 512  # queries of a batch, all images together, that are compared with float64
BAND = 1e-6  # queries whose corner lies so near to a boundary between LR pixels may pick either


@dataclass(frozen=True)
class Verdict:
    """What the gate found of one quantity."""

    quantity: str  # output, gradient or file
    error: float  # relative RMS error against float64; of gradients the mean over feature map and parameters
    limit: float  # the largest error that passes
    cosine: float | None = None  # the least cosine of a gradient with its truth, where the contract asks for one

    @property
    def ok(self) -> bool:
        return self.error <= self.limit and (self.cosine is None or self.cosine >= LEAST_COSINE)


def clear_of_boundaries(coord: Tensor, lr_size: tuple[int, int]) -> Tensor:
    """Which of the queries (..., 2) have all four corners farther than BAND from a boundary between LR pixels.

    That is before the method's shift of the corner and after it. The picture's own edge is no such boundary.
    """
    v, n = (torch.tensor(each, dtype=torch.float64, device=coord.device) for each in (CORNERS, lr_size))
    corner = (coord.double().unsqueeze(-2) + v / n).clamp(-1, 1)
    boundary = ((corner + 1) * n / 2).round()
    distance = (corner - (boundary * 2 / n - 1)).abs()
    return ((distance > BAND + CORNER_SHIFT) | (boundary <= 0) | (boundary >= n)).all(-1).all(-1)


def sample(inputs: Inputs, count: int = SAMPLE) -> Tensor:
    """Queries to compare, the same of every image, spread over all of them: int64 indices, clear of boundaries."""
    queries, images = inputs.coord.shape[1], inputs.features.shape[0]
    wanted = max(1, min(queries, count // images))
    drawn = torch.randperm(queries, generator=torch.Generator().manual_seed(0))[: 8 * wanted].to(inputs.coord.device)
    clear = clear_of_boundaries(inputs.coord[:, drawn], (inputs.features.shape[2], inputs.features.shape[3])).all(0)
    return drawn[clear][:wanted]


def _own(out: Tensor, inputs: Inputs) -> Tensor:
    """The decoder's own output in float64: the skip, which hides errors, taken off."""
    out = out.detach().double()
    return out if inputs.image is None else out - bilinear_skip(inputs.image.double(), inputs.coord.double())


def reference(inputs: Inputs, weights: MLPWeights, dtype: torch.dtype) -> Tensor:
    return Encoding(inputs.features, inputs.image, weights).query(inputs.coord, inputs.cell, "reference", dtype)


@torch.no_grad()
def judge_output(out: Tensor, inputs: Inputs, weights: MLPWeights, dtype: str) -> Verdict:
    """Compare a contestant's whole output (B, Q, 3) with float64 `reference` on a sample of its queries."""
    index, compute = sample(inputs), TORCH_DTYPES[dtype]
    few = inputs.at(index)
    truth = _own(reference(few, weights, torch.float64), few)
    plain = relative_rms(_own(reference(few, weights, compute), few), truth)
    error = relative_rms(_own(out[:, index], few), truth)
    return Verdict("output", error, error_bar(compute, plain, tf32=dtype == "tf32"))


def sampled_upstream(inputs: Inputs, count: int = SAMPLE) -> Tensor:
    """An incoming gradient that is zero but on the sample: a whole training step whose truth is cheap."""
    assert inputs.upstream is not None
    index = sample(inputs, count)
    return torch.zeros_like(inputs.upstream).index_copy_(1, index, inputs.upstream[:, index])


def judge_gradients(
    found: list[Tensor], inputs: Inputs, weights: MLPWeights, dtype: str, count: int = SAMPLE
) -> Verdict:
    """Compare the gradients of a step with `sampled_upstream` with those of float64 `reference` on the sample."""
    assert inputs.upstream is not None
    index = sample(inputs, count)
    few, upstream = inputs.at(index), inputs.upstream[:, index]

    def plain(compute: torch.dtype, storage: torch.dtype) -> list[Tensor]:
        new = (few.features, weights)
        features, cast = tree_map(lambda tensor: tensor.detach().to(storage, copy=True).requires_grad_(), new)
        own = replace(few, features=features)
        out = reference(own, cast, compute)
        return gradients(out, own, cast, upstream.to(out.dtype))

    truth = plain(torch.float64, torch.float64)
    same = plain(TORCH_DTYPES[dtype], torch.float32)
    error, least = (sum(map(relative_rms, which, truth)) / len(truth) for which in (found, same))
    cosine = None
    if dtype == "float32":
        pairs = zip(found, truth, strict=True)
        cosine = min(torch.cosine_similarity(a.double().flatten(), b.flatten(), 0).item() for a, b in pairs)
    return Verdict("gradient", error, REFERENCE_FACTOR * least, cosine)
