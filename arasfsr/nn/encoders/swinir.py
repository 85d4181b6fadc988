"""SwinIR (arXiv 2108.10257) as a feature extractor: transformer blocks over shifted windows, no upsampler.

Images are padded to whole windows and the result is cropped. What depends only on the size or the window (attention
masks, indices of the position bias) is computed on the image's device in every forward and not stored in checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arasfsr.config import SwinIRConfig
from arasfsr.nn.encoders.edsr import conv3
from arasfsr.nn.noise import Generators, draw

MASKED = -100.0
"""Added to scores between pixels that only the cyclic shift made neighbours; e^-100 is negligible."""

INITIAL_DEVIATION = 0.02
"""Standard deviation of the initial weights of linear layers and position biases."""

LEAKY_SLOPE = 0.01
"""Negative slope of the activation after the last convolution."""


def pad_to_windows(image: Tensor, window: int) -> Tensor:
    """Pad (B, C, h, w) at the bottom and right to multiples of `window`.

    Reflects without repeating the border pixel; replicates it along a side too short to reflect. The gradient is
    deterministic on every device.
    """
    for dim in (2, 3):
        side = image.shape[dim]
        excess = -side % window
        if excess:
            index = torch.arange(side + excess, device=image.device)
            beyond = 2 * (side - 1) - index if excess < side else torch.full_like(index, side - 1)
            image = image.index_select(dim, torch.minimum(index, beyond))
    return image


def split_windows(x: Tensor, window: int) -> Tensor:
    """(B, H, W, C) to (B * windows, window^2, C), windows and their pixels in row-major order."""
    batch, height, width, channels = x.shape
    tiles = x.view(batch, height // window, window, width // window, window, channels)
    return tiles.transpose(2, 3).reshape(-1, window * window, channels)


def join_windows(windows: Tensor, window: int, size: tuple[int, int]) -> Tensor:
    """The inverse of `split_windows`: (B * windows, window^2, C) to (B, H, W, C)."""
    height, width = size
    tiles = windows.view(-1, height // window, width // window, window, window, windows.shape[-1])
    return tiles.transpose(2, 3).reshape(-1, height, width, windows.shape[-1])


def relative_positions(window: int, device: torch.device) -> Tensor:
    """Row of the position bias table for each pair of a window's pixels: int64 (window^2, window^2)."""
    pixel = torch.arange(window * window, device=device)
    row, column = pixel // window, pixel % window
    down = row.unsqueeze(1) - row + window - 1
    right = column.unsqueeze(1) - column + window - 1
    return down * (2 * window - 1) + right


def shift_mask(size: tuple[int, int], window: int, shift: int, device: torch.device) -> Tensor:
    """Mask to add to the scores for an image rolled up and left by `shift`: (windows, window^2, window^2).

    The last windows along an axis hold pixels from both ends of the image, which must not attend to each other.
    """

    def region(side: int) -> Tensor:
        place = torch.arange(side, device=device)
        return (place >= side - window).long() + (place >= side - shift).long()

    regions = (3 * region(size[0]).unsqueeze(1) + region(size[1])).view(1, *size, 1)
    pixels = split_windows(regions, window).squeeze(-1)
    return (pixels.unsqueeze(1) != pixels.unsqueeze(2)) * MASKED


class WindowAttention(nn.Module):
    """Multi-head attention among a window's pixels, with a learned bias for every relative position."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        nn.init.trunc_normal_(self.bias_table, std=INITIAL_DEVIATION)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """(B * windows, window^2, width) to the same; see `relative_positions` and `shift_mask`."""
        count, pixels, width = x.shape
        query, key, value = self.qkv(x).view(count, pixels, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.bias_table[positions].permute(2, 0, 1).unsqueeze(0)
        if mask is not None:
            bias = (bias + mask.unsqueeze(1)).repeat(count // mask.shape[0], 1, 1, 1)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        mixed: Tensor = self.output(seen.transpose(1, 2).reshape(count, pixels, width))
        return mixed


def stochastic_depth(images: Tensor, dropped: Sequence[float], generators: Generators) -> Tensor:
    """Factors (blocks, 2, B, 1, 1, 1) of each block's two branches; `dropped` holds the blocks' drop probabilities.

    A factor is 0 if the branch is dropped for that image, else 1 / (1 - probability).
    """
    probability = images.new_tensor(dropped).unsqueeze(1)
    kept = draw(torch.rand, images, (len(dropped), 2), generators) >= probability
    return (kept / (1 - probability)).permute(1, 2, 0)[..., None, None, None]


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)), on (B, H, W, width)."""

    def __init__(self, config: SwinIRConfig, shift: int) -> None:
        super().__init__()
        width, hidden = config.width, round(config.width * config.mlp_ratio)
        self.window, self.shift = config.window, shift
        self.attention_norm = nn.LayerNorm(width)
        self.attention = WindowAttention(width, config.heads, config.window)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor, factors: Tensor | None) -> Tensor:
        """`factors` (2, B, 1, 1, 1) from `stochastic_depth`, None if no branch is dropped."""
        changed: Tensor = self._attend(self.attention_norm(x), positions, mask)
        x = x + (changed if factors is None else changed * factors[0])
        changed = self.mlp(self.mlp_norm(x))
        out: Tensor = x + (changed if factors is None else changed * factors[1])
        return out

    def _attend(self, x: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        size = (x.shape[1], x.shape[2])
        if not self.shift:
            return join_windows(self.attention(split_windows(x, self.window), positions, None), self.window, size)
        x = x.roll((-self.shift, -self.shift), (1, 2))
        x = join_windows(self.attention(split_windows(x, self.window), positions, mask), self.window, size)
        return x.roll((self.shift, self.shift), (1, 2))


class Group(nn.Module):
    """x + conv(blocks(x)); every second block's windows are shifted by half a window."""

    def __init__(self, config: SwinIRConfig, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(config, config.window // 2 if i % 2 else 0) for i in range(depth))
        self.conv = conv3(config.width, config.width)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor, factors: Tensor | None) -> Tensor:
        """`factors` (blocks, 2, B, 1, 1, 1) from `stochastic_depth`, None if no branch is dropped."""
        residual = x
        for i, block in enumerate(self.blocks):
            residual = block(residual, positions, mask, None if factors is None else factors[i])
        changed: Tensor = self.conv(residual.permute(0, 3, 1, 2))
        return x + changed.permute(0, 2, 3, 1)


class SwinIR(nn.Module):
    """Convolution, residual groups, convolution, plus the first activation; then a convolution and leaky ReLU."""

    def __init__(self, config: SwinIRConfig) -> None:
        super().__init__()
        self.window, self.depths = config.window, config.depths
        self.first = conv3(3, config.width)
        self.first_norm = nn.LayerNorm(config.width)
        last = max(1, sum(config.depths) - 1)
        self.dropped = [config.drop_path * i / last for i in range(sum(config.depths))]
        self.groups = nn.ModuleList(Group(config, depth) for depth in config.depths)
        self.last_norm = nn.LayerNorm(config.width)
        self.after_groups = conv3(config.width, config.width)
        self.last = conv3(config.width, config.features)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=INITIAL_DEVIATION)
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor, generators: Generators = None) -> Tensor:
        """(B, 3, h, w) in [-1, 1] to (B, features, h, w); in training, `generators` supply the stochastic depth."""
        h, w = image.shape[2:]
        first: Tensor = self.first(pad_to_windows(image, self.window))
        size = (first.shape[2], first.shape[3])
        positions = relative_positions(self.window, image.device)
        mask = shift_mask(size, self.window, self.window // 2, image.device)
        x = self.first_norm(first.permute(0, 2, 3, 1))
        factors = None
        if self.training and any(self.dropped):
            factors = stochastic_depth(image, self.dropped, generators)
        block = 0
        for group, depth in zip(self.groups, self.depths, strict=True):
            x = group(x, positions, mask, None if factors is None else factors[block : block + depth])
            block += depth
        residual: Tensor = self.after_groups(self.last_norm(x).permute(0, 3, 1, 2))
        return F.leaky_relu(self.last(first + residual), LEAKY_SLOPE)[:, :, :h, :w]
