"""Encoded LR images, and how to decode them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from arasfsr.nn.decoders import Weights
from arasfsr.nn.frequency import Latent
from arasfsr.query.call import (
    Grid,
    Queries,
    QueryCall,
    check_coord_cell,
    check_encoding,
    check_region,
    check_size,
    compute_dtype,
)
from arasfsr.query.dispatch import dispatch


@dataclass(frozen=True)
class Encoding:
    """A batch of encoded LR images, which can be decoded at any scale.

    `ImplicitSR.encode` returns one. With an encoder of your own, make it from the feature map, the LR image and the
    `weights()` of a decoder from `arasfsr.nn.decoders.build_decoder`; arguments that do not fit together raise
    ArgumentError or ArgumentTypeError.
    """

    features: Tensor
    """Feature map F (B, D, h, w)."""
    image: Tensor | None
    """The LR image for the skip (B, 3, h, w) in [-1, 1]; None in a model without one."""
    weights: Weights
    """The parameters of a decoder of D channels, `decoder.weights()`."""
    latent: Latent | None = None
    """The frequency module's latent, for its KL divergence; None in a model without one."""
    _cache: dict[tuple[int, int], Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check_encoding(self.features, self.image, self.weights)

    def query(
        self, coord: Tensor, cell: Tensor, backend: str = "auto", dtype: torch.dtype | str | None = None
    ) -> Tensor:
        """Decode queries at given coordinates.

        Args:
            coord: (B, Q, 2), (y, x) in [-1, 1], float32 or float64; (1, Q, 2) is shared by all images. Outside
                [-1, 1] the corners are clamped to the border's LR pixels, and the decoder extrapolates from there.
            cell: (B, Q, 2), the size of a target pixel, 2/H and 2/W; (B, 1, 2), (1, 1, 2) or (2,) if queries share
                it, which is also faster.
            backend: auto, reference, tiled, triton or cuda.
            dtype: compute dtype of the decoder, or its name: float32, bfloat16 or float16 (float64 for checks); by
                default autocast's if enabled, else the features'.

        Returns:
            (B, Q, 3) in about [-1, 1], float32 (float64 if dtype is float64), differentiable with respect to
            features, parameters, image, coord and cell.

        Raises:
            ValueError, TypeError: an argument is invalid.
            BackendUnavailable: the requested backend cannot run the call.
        """
        coord, cell = check_coord_cell(coord, cell, self.features)
        return dispatch(self._call(Queries(coord, None), cell, dtype), backend)

    def render(
        self,
        size: tuple[int, int],
        region: tuple[int, int, int, int] | None = None,
        backend: str = "auto",
        dtype: torch.dtype | str | None = None,
    ) -> Tensor:
        """Decode a regular grid of `size` = (H, W) pixels, or only `region` = (top, left, bottom, right) of it.

        Returns (B, 3, bottom - top, right - left), a view of contiguous (B, H, W, 3). Otherwise as `query`, without
        a tensor of coordinates.
        """
        size = check_size(size)
        grid = Grid(size, check_region(region, size))
        out = dispatch(self._call(Queries(None, grid), None, dtype), backend)
        return out.view(out.shape[0], grid.height, grid.width, 3).permute(0, 3, 1, 2)

    def _call(self, queries: Queries, cell: Tensor | None, dtype: torch.dtype | str | None) -> QueryCall:
        compute = compute_dtype(dtype, self.features)
        return QueryCall(self.features, self.image, queries, cell, self.weights, compute, self._cache)
