"""Random numbers of a model in training, which may be made a function of the image alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from arasfsr.errors import ArgumentError

Generators = torch.Generator | Sequence[torch.Generator] | None
"""What random numbers come from: one generator for a batch; one for each image, whose numbers then do not depend on
the images beside it; or torch's global generator."""


def draw(kind: Callable[..., Tensor], like: Tensor, shape: Sequence[int], generators: Generators) -> Tensor:
    """Numbers (B, *shape), one B for each image of `like`, of its dtype and on its device.

    Args:
        kind: torch.randn or torch.rand.
        like: any tensor whose first axis counts the batch's images.
        generators: of any device, since a CPU's serve a model on any; the numbers depend on it.

    Raises:
        ArgumentError: there are not as many generators as images.
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
