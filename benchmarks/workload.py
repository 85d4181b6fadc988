"""The weights and inputs of a case, the same for every contestant: seeded, several sets to rotate among."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from arasfsr import ImplicitSR, load_model
from arasfsr.config import ModelConfig
from arasfsr.coords import grid_coords, make_cell
from arasfsr.nn.decoders.mlp import MLPWeights
from arasfsr.testing import keep_signal
from benchmarks.cases import Case

SEED = 3
SETS = 3  # sets of inputs, so that no run finds its own in a cache
MANY = 1 << 23  # queries of a batch beyond which two sets are enough: the coordinates of one are larger than any cache


def model_of(name: str) -> ImplicitSR:
    """`tiny` as bundled, or `full`: ARASFSR in the paper's size with seeded weights that keep the signal's size."""
    if name == "tiny":
        return load_model("tiny")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = ImplicitSR(ModelConfig())
        keep_signal(model.decoder)
    return model.eval()


@dataclass(frozen=True)
class Inputs:
    features: Tensor  # (B, D, h, w); requires a gradient in training
    image: Tensor | None  # (B, 3, h, w) in [-1, 1] for the skip; None in a model without one
    coord: Tensor  # (1 or B, Q, 2)
    cell: Tensor  # (1, 1, 2), or (B, Q, 2) with random queries
    upstream: Tensor | None  # (B, Q, 3), the incoming gradient in training
    grid: tuple[int, int] | None  # (H, W) where the queries are those of a grid that may be rendered
    region: tuple[int, int, int, int] | None = None  # which part of the grid they are; None is all of it

    def at(self, index: Tensor | slice) -> Inputs:
        """The inputs with only those queries, the incoming gradient left as it is."""
        cell = self.cell if self.cell.shape[1] == 1 else self.cell[:, index]
        return replace(self, coord=self.coord[:, index], cell=cell, grid=None)


@dataclass
class Workload:
    """What a case computes with: features and images are drawn, since the encoder is not part of it."""

    case: Case
    device: torch.device
    weights: MLPWeights  # of a float32 decoder; they require gradients in training
    config: ModelConfig
    sets: list[Inputs] = field(default_factory=list)

    @classmethod
    def of(cls, case: Case, device: torch.device) -> Workload:
        """Draw the case's weights and inputs, the same at every call."""
        model: Any = model_of(case.model).to(device).requires_grad_(case.suite == "train")
        workload = cls(case, device, model.decoder.weights(), model.config)
        generator = torch.Generator().manual_seed(SEED)
        sets = SETS if case.batch * case.queries <= MANY else SETS - 1
        workload.sets = [workload._draw(generator) for _ in range(sets)]
        return workload

    def _draw(self, generator: torch.Generator) -> Inputs:
        case, (h, w), training = self.case, self.case.lr, self.case.suite == "train"

        def uniform(*shape: int, low: float = -1, high: float = 1) -> Tensor:
            return (torch.rand(shape, generator=generator) * (high - low) + low).to(self.device)

        features = torch.randn(case.batch, self.config.feature_channels, h, w, generator=generator).to(self.device)
        image = uniform(case.batch, 3, h, w) if self.config.skip else None
        if case.scattered:
            coord = uniform(case.batch, case.queries, 2)
            cell = uniform(case.batch, case.queries, 2, low=0.5 / max(h, w), high=2 / max(h, w))
        else:
            top, _, _, width = case.region
            coord = grid_coords(case.output, 0, case.queries, width, (top, 0), self.device).unsqueeze(0)
            cell = make_cell(case.output, self.device).view(1, 1, 2)
        upstream = torch.randn(case.batch, case.queries, 3, generator=generator).to(self.device) if training else None
        place = (None, None) if case.scattered or training else (case.output, case.region)
        return Inputs(features.requires_grad_(training), image, coord, cell, upstream, *place)
