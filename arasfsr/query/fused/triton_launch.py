"""Launches the Triton kernels of arasfsr.kernels."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from arasfsr.coords import CORNER_SHIFT
from arasfsr.kernels.backward import backward as backward_kernel
from arasfsr.kernels.configs import INTERPRETER, ROCM, Config, launch_options, table
from arasfsr.kernels.forward import forward as forward_kernel
from arasfsr.kernels.weight_gradient import weight_gradient as weight_gradient_kernel
from arasfsr.query.fused.launcher import WEIGHT_SPLITS, ContentGradients, Kept, Launcher
from arasfsr.query.fused.limits import tf32_allowed
from arasfsr.query.fused.operator import decode, gradients_of
from arasfsr.query.operator import Problem, register


def precision_of(dtype: torch.dtype) -> str:
    """Precision of float32 products: "tf32" only if torch allows it for matrix products."""
    return "tf32" if dtype != torch.float32 or tf32_allowed() else "ieee"


def arithmetic(dtype: torch.dtype, precision: str, capability: tuple[int, int]) -> str:
    """How the kernels round and compute sines: ARITHMETIC in kernels/numerics.py."""
    if dtype == torch.float32:
        return "tf32" if precision == "tf32" else "plain"
    if capability == INTERPRETER:
        return "bfloat16" if dtype == torch.bfloat16 else "plain"
    return "plain" if capability == ROCM else "unit"


class TritonLauncher(Launcher):
    """Launches the Triton kernels for one problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        precision = precision_of(problem.dtype)
        self.table = table(self._capability(), self.padded, problem.dtype, precision)
        self._common = {
            "LAYERS": self.layers,
            "NP": self.padded,
            "PRECISION": precision,
            "ARITHMETIC": arithmetic(problem.dtype, precision, self._capability()),
        }

    @property
    def tile(self) -> int:
        return int(self.table.queries)

    @property
    def turn(self) -> int:
        return self._processors() * int(self.table.blocks)

    def _capability(self) -> tuple[int, int]:
        capability: tuple[int, int] = ROCM if torch.version.hip else INTERPRETER
        if self.device.type == "cuda" and not torch.version.hip:
            capability = torch.cuda.get_device_capability(self.device)
        return capability

    def _processors(self) -> int:
        if self.device.type != "cuda":
            return 2
        return torch.cuda.get_device_properties(self.device).multi_processor_count

    def _launch(self, kernel: Any, grid: tuple[int, ...], config: Config, **arguments: Any) -> None:
        options = launch_options(config, bool(torch.version.hip))
        with torch.cuda.device(self.device if self.device.type == "cuda" else -1):
            self._start(kernel, grid, {**arguments, **self._common, **options})

    def _start(self, kernel: Any, grid: tuple[int, ...], arguments: dict[str, Any]) -> None:
        """Launch a kernel; the only place that does, for code that intercepts launches."""
        kernel[grid](**arguments)

    def _cut(self, config: Config) -> dict[str, Any]:
        """Block sizes of the layers in forward or backward."""
        return {
            "BQ": self.table.queries,
            "BM": config.rows,
            "BN": config.columns,
            "BK": config.depth,
            "BG": self.table.gather,
            "STAGES": config.stages,
            "MODULATED": self.problem.modulated,
        }

    def _forward(self, programs: int, **outputs: Any) -> None:
        problem, packed = self.problem, self.packed
        h, w = problem.lr_size
        rel_weight, cell_weight = problem.rel_and_cell_weight
        grid = problem.queries.grid
        height, width = grid.size if grid is not None else (1, 1)
        skip = outputs["out"] is not None and problem.image is not None
        self._launch(
            forward_kernel,
            (programs,),
            self.table.forward,
            lr_map=problem.lr_rows,
            image=problem.image.to(torch.float32).contiguous() if skip and problem.image is not None else None,
            coord=None if problem.flat.coord is None else problem.flat.coord.to(torch.float32).contiguous(),
            cell=None if problem.cells is None else problem.cells.contiguous(),
            rel_weight=self.by_axis(rel_weight),
            cell_weight=None if cell_weight is None else self.by_axis(cell_weight),
            **packed._asdict(),
            h=h,
            w=w,
            shift_up=-1 / h + CORNER_SHIFT,
            shift_down=1 / h + CORNER_SHIFT,
            shift_left=-1 / w + CORNER_SHIFT,
            shift_right=1 / w + CORNER_SHIFT,
            region_width=grid.width if grid is not None else 1,
            region_top=grid.region[0] if grid is not None else 0,
            region_left=grid.region[1] if grid is not None else 0,
            step_y=2 / height,
            start_y=1 / height - 1,
            step_x=2 / width,
            start_x=1 / width - 1,
            images=problem.images,
            queries=problem.count,
            per_image=problem.per_image,
            N=self.width,
            PER_IMAGE=problem.per_image > 0,
            GRID=grid is not None,
            HAS_CELL=problem.cell is not None,
            SKIP=skip,
            CN=self.table.coordinate[0],
            CK=self.table.coordinate[1],
            **outputs,
            **self._cut(self.table.forward),
        )

    def render(self, out: Tensor) -> None:
        table = self.table
        tiles = -(-self.problem.count // self.tile)
        programs = self._programs(tiles)
        rows = programs * table.forward.rows
        s = self.empty(self.layers, programs * self.tile if self.problem.modulated else 0, self.padded)
        self._forward(
            programs,
            out=out,
            f=self.empty(2, rows, self.padded),
            s=s,
            cosines=s,  # this and the next three are unused
            lr_rows=s,
            rel=s,
            share=s,
            first=0,
            count=self.problem.count,
            tiles=tiles,
            rows=rows,
            KEEP=False,
        )

    def _programs(self, tiles: int) -> int:
        return min(tiles, self._processors() * int(self.table.blocks))

    def keep(self, kept: Kept) -> None:
        tensors = {name: value for name, value in kept._asdict().items() if name != "size"}
        programs = self._programs(kept.tiles)
        self._forward(programs, out=None, rows=kept.f.shape[1], count=kept.size, KEEP=True, **tensors)

    def content_gradients(self, kept: Kept, grad: Tensor, gradients: ContentGradients) -> None:
        config = self.table.backward
        self._launch(
            backward_kernel,
            (kept.s.shape[1] * 4 // config.rows,),
            config,
            z_gradients=gradients.z,
            s_gradients=gradients.s,
            share_gradients=kept.share if gradients.share is None else gradients.share,
            combined=gradients.combined,
            f=kept.f,
            s=kept.s,
            share=kept.share,
            grad=grad,
            content_weight=self.packed.content_weight,
            output_weight=self.packed.output_weight,
            images=self.problem.images,
            queries=self.problem.count,
            first=kept.first,
            count=kept.size,
            tiles=kept.tiles,
            rows=kept.f.shape[1],
            GEOMETRY=gradients.share is not None,
            **self._cut(config),
        )

    def add_weight_gradients(self, weights: Tensor, biases: Tensor, kept: Kept, gradients: ContentGradients) -> None:
        if self.layers == 1:
            return
        config, rows = self.table.weights, kept.f.shape[1]
        steps = -(-rows // config.depth)
        blocks = (self.padded // config.rows) * (self.padded // config.columns)
        for half in range(self.halves):
            self._launch(
                weight_gradient_kernel,
                (blocks, self.layers - 1, WEIGHT_SPLITS),
                config,
                weight_sums=weights,
                bias_sums=biases,
                z_gradients=gradients.z,
                f=kept.f,
                s=kept.s,
                rows=rows,
                split_rows=-(-steps // WEIGHT_SPLITS) * config.depth,
                queries=kept.s.shape[1],
                BO=config.rows,
                BI=config.columns,
                BR=config.depth,
                STAGES=config.stages,
                HALVES=self.halves,
                HALF=half,
            )


run = register("triton", functools.partial(decode, TritonLauncher), functools.partial(gradients_of, TritonLauncher))
