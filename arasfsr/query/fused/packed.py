"""The decoder's parameters as the fused kernels read them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from arasfsr.config import FOURIER_CHANNELS
from arasfsr.nn.decoders.base import Layer
from arasfsr.nn.decoders.mlp import MLPWeights

ENCODING_ROWS = 64
"""Padded length of the Fourier encoding in the kernels; its 42 elements are followed by zeros."""

NARROWEST = 16
"""Depth of a matrix instruction, the minimum padded width."""


def padded_width(width: int, narrowest: int = NARROWEST) -> int:
    """The width padded to a power of two, at least `narrowest`."""
    return max(narrowest, 1 << (width - 1).bit_length())


def rounded_to_tf32(x: Tensor) -> Tensor:
    """float32 rounded to TF32's ten mantissa bits, ties away from zero, as on GPUs; NaN stays NaN."""
    bits = (x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF
    return torch.where(x.isnan(), x, bits.view(torch.float32))


class Packed(NamedTuple):
    """The layers after the first as the kernels read them: padded to NP, the halves for f and f * s separate."""

    content_weight: Tensor
    """(L - 1, 2 or 1, NP, NP) as (output, input): of f, and with modulation of f * s."""
    content_bias: Tensor
    """(L - 1, NP) float32."""
    encoding_weight: Tensor | None
    """(NP, 64)."""
    modulator_weight: Tensor | None
    """(L - 1, NP, NP)."""
    modulator_bias: Tensor | None
    """(L, NP) float32."""
    output_weight: Tensor
    """(3, NP) float32."""
    output_bias: Tensor
    """(3,) float32."""

    @classmethod
    def of(cls, weights: MLPWeights, width: int, dtype: torch.dtype) -> Packed:
        """Round the parameters to the compute dtype, pad and stack them, with few operators."""
        n = weights.output[0].shape[1]
        pad = width - n

        def padded(matrix: Tensor, columns: int, rows: int) -> Tensor:
            return F.pad(matrix, (0, columns, 0, rows)) if columns or rows else matrix

        def squares(layers: list[Layer]) -> Tensor:
            """(layers, 2 or 1, NP, NP)"""
            stacked = torch.stack([weight for weight, _ in layers]).to(dtype)
            return padded(stacked.unflatten(2, (-1, n)).transpose(1, 2), pad, pad).contiguous()

        none = weights.output[0].new_empty(0, dtype=dtype)
        hidden, encoding = weights.modulator[1:], None
        if weights.is_modulated():
            first = weights.modulator[0][0].to(dtype)
            encoding = padded(first, ENCODING_ROWS - first.shape[1], pad)
        layers = [*weights.content, *weights.modulator]
        biases = none.float()
        if layers:
            biases = padded(torch.stack([bias for _, bias in layers]).to(dtype).float(), pad, 0)
        content = len(weights.content)
        return cls(
            content_weight=squares(weights.content) if content else none,
            content_bias=biases[:content],
            encoding_weight=encoding,
            modulator_weight=(squares(hidden)[:, 0] if hidden else none) if weights.is_modulated() else None,
            modulator_bias=biases[content:] if weights.is_modulated() else None,
            output_weight=padded(weights.output[0].to(dtype).float(), pad, 0).contiguous(),
            output_bias=weights.output[1].to(dtype).float(),
        )

    def in_tf32(self) -> Packed:
        """A copy with the operands of matrix products rounded to TF32."""
        encoding, modulator = (
            None if weight is None else rounded_to_tf32(weight)
            for weight in (self.encoding_weight, self.modulator_weight)
        )
        content = rounded_to_tf32(self.content_weight)
        return self._replace(content_weight=content, encoding_weight=encoding, modulator_weight=modulator)


def unpacked(content: Tensor, modulator: list[Tensor], output: Tensor, n: int) -> list[Tensor]:
    """Gradients of the weights, without biases, in the order and shapes of `MLPWeights.after_first`; padding removed.

    `content` is (L - 1, 2 or 1, NP, NP), `modulator` the coordinate branch's matrices, `output` (3, NP).
    """
    hidden = [halves[:, :n, :n].transpose(0, 1).reshape(n, -1) for halves in content]
    return [
        *hidden,
        *(weight[:n, : FOURIER_CHANNELS if i == 0 else n] for i, weight in enumerate(modulator)),
        output[:, :n],
    ]
