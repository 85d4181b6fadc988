"""Random numbers for a model in training, optionally from one generator per image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from arasfsr.errors import ArgumentError

Generators = torch.Generator | Sequence[torch.Generator] | None
"""Source of random numbers: one generator for the batch; one per image, so that an image's numbers do not depend on the
other images; or None, torch's global generator."""


def draw(kind: Callable[..., Tensor], like: Tensor, shape: Sequence[int], generators: Generators) -> Tensor:
    """Random numbers (B, *shape), with the batch size, dtype and device of `like`.

    Args:
        kind: torch.randn or torch.rand.
        like: any tensor whose first dimension is the batch.
        generators: on any device, on which the numbers are drawn and which they depend on.

    Raises:
        ArgumentError: the number of generators differs from that of images.
    """
    batch = like.shape[0]
    if generators is None or isinstance(generators, torch.Generator):
        device = like.device if generators is None else generators.device
        return kind((batch, *shape), generator=generators, device=device, dtype=like.dtype).to(like.device)
    if len(generators) != batch:
        raise ArgumentError(f"generator must be one, or one for each of {batch} images, got {len(generators)}")
    if not batch:
        return like.new_empty((0, *shape))
    each = [kind(tuple(shape), generator=own, device=own.device, dtype=like.dtype) for own in generators]
    return torch.stack(each).to(like.device)
