"""Launches the Triton kernels of arasfsr.kernels.

The forward is one launch. The backward goes through chunks of queries: the forward once more, with every activation
kept, then the content branch, the weights and, in plain torch, the coordinate branch, which has a quarter of the rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from arasfsr.coords import CORNER_SHIFT
from arasfsr.kernels.backward import backward as backward_kernel
from arasfsr.kernels.configs import INTERPRETER, Config, Table, launch_options, padded_width, table
from arasfsr.kernels.forward import forward as forward_kernel
from arasfsr.kernels.weight_gradient import weight_gradient as weight_gradient_kernel
from arasfsr.query.operator import Arguments
from arasfsr.query.packed import Packed
from arasfsr.query.problem import Problem

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether Triton runs the kernels on the CPU, one program after the other, for tests."""

CHUNK_BYTES = 1 << 29
"""Of activations that the backward keeps at a time."""

WEIGHT_SPLITS = 8
"""Sums of the weights' gradients that run side by side."""


class Kept(NamedTuple):
    """What the forward of a chunk of `size` queries from `first` keeps; Q = tiles x BQ >= size, rows = images Q 4."""

    first: int
    size: int
    tiles: int
    f: Tensor
    """f_1 .. f_L: (L, rows, NP)."""
    s: Tensor
    """s_1 .. s_L: (L, Q, NP)."""
    cosines: Tensor
    """Their derivatives: (L, Q, NP)."""
    cells: Tensor
    """Row of the latent: (rows,) int64."""
    rel: Tensor
    """(rows, 2) float32."""
    share: Tensor
    """Corner's share of the ensemble: (rows,) float32."""


class ContentGradients(NamedTuple):
    """What the backward of the content branch finds of a chunk."""

    z: Tensor
    """Of f_1 .. f_L before their ReLU: (L, rows, NP)."""
    s: Tensor
    """Of s_1 .. s_L from the content branch alone: (L, Q, NP) float32."""
    share: Tensor | None
    """(rows,) float32."""
    combined: Tensor
    """What the output layer read: (images, Q, NP) float32."""


def precision_of(dtype: torch.dtype) -> str:
    """How float32 is multiplied: "tf32" only where torch allows that to matrix products."""
    allowed = dtype != torch.float32 or torch.backends.cuda.matmul.fp32_precision == "tf32"
    return "tf32" if allowed else "ieee"


class Launcher:
    """One call's arguments as the kernels take them."""

    def __init__(self, given: Arguments) -> None:
        self.given = given
        self.problem = Problem.of(given, given.dtype)
        self.n = given.latent.shape[3]
        self.width = padded_width(self.n)
        self.packed = Packed.of(self.problem.weights, self.width)
        self.layers = len(self.problem.weights.content) + 1
        self.device = given.latent.device
        precision = precision_of(given.dtype)
        self.table: Table = table(self._capability(), self.width, given.dtype, precision)
        self.common = {
            "LAYERS": self.layers,
            "NP": self.width,
            "PRECISION": precision,
            "EMULATED": INTERPRETED and given.dtype == torch.bfloat16,
        }
        self.halves = 2 if given.modulated else 1

    def _capability(self) -> tuple[int, int]:
        return torch.cuda.get_device_capability(self.device) if self.device.type == "cuda" else INTERPRETER

    def _processors(self) -> int:
        if self.device.type != "cuda":
            return 2
        return torch.cuda.get_device_properties(self.device).multi_processor_count

    def _empty(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.empty(shape, dtype=dtype or self.given.dtype, device=self.device)

    def _launch(self, kernel: Any, grid: tuple[int, ...], config: Config, **arguments: Any) -> None:
        with torch.cuda.device(self.device if self.device.type == "cuda" else -1):
            kernel[grid](**arguments, **self.common, **launch_options(config))

    def _cut(self, config: Config) -> dict[str, Any]:
        """How the layers of forward or backward are cut."""
        return {
            "BQ": self.table.queries,
            "BM": config.rows,
            "BN": config.columns,
            "BK": config.depth,
            "BG": self.table.gather,
            "STAGES": config.stages,
            "MODULATED": self.given.modulated,
        }

    def _forward(self, programs: int, **outputs: Any) -> None:
        given, problem, packed = self.given, self.problem, self.packed
        h, w = problem.lr_size
        grid = problem.grid
        height, width = grid.size if grid is not None else (1, 1)
        skip = outputs["out"] is not None and given.image is not None
        self._launch(
            forward_kernel,
            (programs,),
            self.table.forward,
            latent=problem.latent,
            image=given.image.to(torch.float32).contiguous() if skip and given.image is not None else None,
            coord=None if problem.coord is None else problem.coord.to(torch.float32).contiguous(),
            cell=None if problem.cell is None else problem.cell.contiguous(),
            rel_weight=self._by_axis(problem.rel_weight),
            cell_weight=None if problem.cell_weight is None else self._by_axis(problem.cell_weight),
            **packed._asdict(),
            h=h,
            w=w,
            shift_up=-1 / h + CORNER_SHIFT,
            shift_down=1 / h + CORNER_SHIFT,
            shift_left=-1 / w + CORNER_SHIFT,
            shift_right=1 / w + CORNER_SHIFT,
            width=grid.width if grid is not None else 1,
            top=grid.region[0] if grid is not None else 0,
            left=grid.region[1] if grid is not None else 0,
            step_y=2 / height,
            start_y=1 / height - 1,
            step_x=2 / width,
            start_x=1 / width - 1,
            images=problem.images,
            queries=problem.queries,
            per_image=problem.per_image,
            N=self.n,
            OWN=problem.per_image > 0,
            GRID=grid is not None,
            CELLS=problem.cell is not None,
            SKIP=skip,
            CN=self.table.coordinate[0],
            CK=self.table.coordinate[1],
            **outputs,
            **self._cut(self.table.forward),
        )

    def _by_axis(self, weight: Tensor) -> Tensor:
        """(n, 2) as (2, NP)."""
        padded = weight.new_zeros((2, self.width))
        padded[:, : self.n] = weight.t()
        return padded

    def render(self) -> Tensor:
        """The output, (images, queries, 3) float32."""
        problem, table = self.problem, self.table
        tiles = -(-problem.queries // table.queries)
        programs = min(tiles, self._processors() * table.blocks)
        rows = programs * table.forward.rows
        out = self._empty(problem.images, problem.queries, 3, dtype=torch.float32)
        s = self._empty(self.layers, programs * table.queries if self.given.modulated else 0, self.width)
        self._forward(
            programs,
            out=out,
            f=self._empty(2, rows, self.width),
            s=s,
            cosines=s,  # these four are neither read nor written
            cells=s,
            rel=s,
            share=s,
            first=0,
            count=problem.queries,
            tiles=tiles,
            rows=rows,
            KEEP=False,
        )
        return out

    def chunks(self) -> Iterator[tuple[int, int]]:
        """First query and number of queries of each chunk of the backward."""
        size, images, queries = self.given.dtype.itemsize, self.problem.images, self.table.queries
        content = images * 4 * self.width * (2 * self.layers * size + 4)
        coordinate = self.width * (self.layers * (2 * size + 4) + images * 4)
        step = max(1, CHUNK_BYTES // (content + coordinate) // queries) * queries
        for first in range(0, self.problem.queries, step):
            yield first, min(step, self.problem.queries - first)

    def keep(self, first: int, count: int) -> Kept:
        """The forward of a chunk, with all that the backward needs of it."""
        table, layers, width = self.table, self.layers, self.width
        tiles = -(-count // table.queries)
        padded = tiles * table.queries
        rows = self.problem.images * padded * 4
        kept = Kept(
            first=first,
            size=count,
            tiles=tiles,
            f=self._empty(layers, rows, width),
            s=self._empty(layers, padded, width),
            cosines=self._empty(layers, padded, width),
            cells=self._empty(rows, dtype=torch.int64),
            rel=self._empty(rows, 2, dtype=torch.float32),
            share=self._empty(rows, dtype=torch.float32),
        )
        programs = min(tiles, self._processors() * table.blocks)
        tensors = {name: value for name, value in kept._asdict().items() if name != "size"}
        self._forward(programs, out=None, rows=rows, count=count, KEEP=True, **tensors)
        return kept

    def content_gradients(self, kept: Kept, grad: Tensor, need_share: bool) -> ContentGradients:
        """The content branch backward; `grad` is (images, queries, 3) float32 of all queries, dense."""
        rows, config = kept.f.shape[1], self.table.backward
        padded = kept.s.shape[1]
        found = ContentGradients(
            z=torch.empty_like(kept.f),
            s=self._empty(*kept.s.shape, dtype=torch.float32),
            share=self._empty(rows, dtype=torch.float32) if need_share else None,
            combined=self._empty(self.problem.images, padded, self.width, dtype=torch.float32),
        )
        self._launch(
            backward_kernel,
            (padded * 4 // config.rows,),
            config,
            z_gradients=found.z,
            s_gradients=found.s,
            share_gradients=kept.share if found.share is None else found.share,
            combined=found.combined,
            f=kept.f,
            s=kept.s,
            share=kept.share,
            grad=grad,
            content_weight=self.packed.content_weight,
            output_weight=self.packed.output_weight,
            images=self.problem.images,
            queries=self.problem.queries,
            first=kept.first,
            count=kept.size,
            tiles=kept.tiles,
            rows=rows,
            GEOMETRY=need_share,
            **self._cut(config),
        )
        return found

    def weight_sums(self) -> tuple[Tensor, Tensor]:
        """Where the hidden layers' gradients are summed: weights (splits, L - 1, halves, NP, NP), biases in float64."""
        shape = (WEIGHT_SPLITS, self.layers - 1, self.halves, self.width, self.width)
        weights = torch.zeros(shape, dtype=torch.float32, device=self.device)
        biases = torch.zeros((*shape[:2], self.width), dtype=torch.float64, device=self.device)
        return weights, biases

    def add_weight_gradients(self, weights: Tensor, biases: Tensor, kept: Kept, found: ContentGradients) -> None:
        """Add a chunk's part of the hidden layers' gradients to `weight_sums`."""
        if self.layers == 1:
            return
        config, rows = self.table.weights, kept.f.shape[1]
        steps = -(-rows // config.depth)
        blocks = (self.width // config.rows) * (self.width // config.columns)
        for half in range(self.halves):
            self._launch(
                weight_gradient_kernel,
                (blocks, self.layers - 1, WEIGHT_SPLITS),
                config,
                weight_sums=weights,
                bias_sums=biases,
                z_gradients=found.z,
                f=kept.f,
                s=kept.s,
                rows=rows,
                share_of_rows=-(-steps // WEIGHT_SPLITS) * config.depth,
                queries=kept.s.shape[1],
                BO=config.rows,
                BI=config.columns,
                BR=config.depth,
                STAGES=config.stages,
                HALVES=self.halves,
                HALF=half,
            )
