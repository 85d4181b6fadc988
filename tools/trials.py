"""Changes to ARASFSR that were tried beside the others' trainings (docs/learning.md); none is part of the library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from arasfsr.model import ImplicitSR
from arasfsr.nn.decoders.mlp import MLPDecoder, split_first_layer
from arasfsr.nn.frequency import FrequencyEstimator, Latent
from arasfsr.nn.noise import Generators
from arasfsr.training import step


@dataclass(frozen=True)
class Trial:
    """What a trial changes: entries of the model, or the code while it trains and is scored."""

    model: dict[str, Any] = field(default_factory=dict)
    code: Callable[[], AbstractContextManager[None]] = nullcontext


@contextmanager
def own_rate(factor: float) -> Iterator[None]:
    """I_0's columns for rel and cell learn at `factor` times the rate of the other parameters."""
    build = step.build_optimizer

    def built(model: ImplicitSR, *arguments: Any) -> Any:
        optimizer, schedule = build(model, *arguments)
        assert isinstance(model.decoder, MLPDecoder)
        first = split_first_layer(model.decoder.weights())
        columns = [part.detach() for part in (first.rel, first.cell)]
        before: list[Tensor] = []

        def keep(*_: Any) -> None:
            before[:] = [part.clone() for part in columns]

        def move(*_: Any) -> None:
            for part, old in zip(columns, before, strict=True):
                part.copy_(old + factor * (part - old))

        optimizer.register_step_pre_hook(keep)
        optimizer.register_step_post_hook(move)
        return optimizer, schedule

    with patch.object(step, "build_optimizer", built):
        yield


@contextmanager
def waves() -> Iterator[None]:
    """Frequency maps are waves: cos and sin of (frequency . LR pixel), of half as many pairs of frequencies."""
    forward = FrequencyEstimator.forward

    def estimate(
        self: FrequencyEstimator, image: Tensor, sample: bool, generators: Generators = None
    ) -> tuple[Tensor, Latent]:
        maps, latent = forward(self, image, sample, generators)
        frequency = maps.unflatten(1, (-1, 2)).float()
        y, x = (torch.arange(side, device=maps.device) - (side - 1) / 2 for side in maps.shape[2:])
        argument = frequency[:, :, 0] * y.unsqueeze(-1) + frequency[:, :, 1] * x
        return torch.cat((argument.cos(), argument.sin()), dim=1).to(maps.dtype), latent

    with patch.object(FrequencyEstimator, "forward", estimate):
        yield


FREQUENCY = {"channels": 8, "width": 4, "blocks": 4}

TRIALS: dict[str, Trial] = {
    "rel and cell at 3 times the rate": Trial(code=lambda: own_rate(3)),
    "frequency module at a quarter of its width": Trial({"frequency": FREQUENCY}),
    "frequency maps as waves": Trial(code=waves),
    "decoder of width 64": Trial({"decoder": {"width": 64}}),  # as many MACs as LTE
}
