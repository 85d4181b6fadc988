"""The public implementations' encoders as a list of their tensors, and as plain functions of them: slow and literal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Shapes = dict[str, tuple[int, ...]]
Tensors = Mapping[str, Tensor]


def _conv(name: str, inputs: int, outputs: int, side: int = 3) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, side, side), f"{name}.bias": (outputs,)}


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def edsr_shapes(blocks: int, n: int) -> Shapes:
    shapes = _conv("sub_mean", 3, 3, 1) | _conv("add_mean", 3, 3, 1) | _conv("head.0", 3, n)
    for i in range(blocks):
        shapes |= _conv(f"body.{i}.body.0", n, n) | _conv(f"body.{i}.body.2", n, n)
    return shapes | _conv(f"body.{blocks}", n, n)


def rdn_shapes(blocks: int, layers: int, growth: int, n: int) -> Shapes:
    shapes = _conv("SFENet1", 3, n) | _conv("SFENet2", n, n)
    for i in range(blocks):
        for c in range(layers):
            shapes |= _conv(f"RDBs.{i}.convs.{c}.conv.0", n + c * growth, growth)
        shapes |= _conv(f"RDBs.{i}.LFF", n + layers * growth, n, 1)
    return shapes | _conv("GFF.0", blocks * n, n, 1) | _conv("GFF.1", n, n)


def rcan_shapes(groups: int, blocks: int, n: int, reduction: int) -> Shapes:
    shapes = _conv("sub_mean", 3, 3, 1) | _conv("add_mean", 3, 3, 1) | _conv("head.0", 3, n)
    for g in range(groups):
        for b in range(blocks):
            name = f"body.{g}.body.{b}.body"
            shapes |= _conv(f"{name}.0", n, n) | _conv(f"{name}.2", n, n)
            shapes |= _conv(f"{name}.3.conv_du.0", n, n // reduction, 1)
            shapes |= _conv(f"{name}.3.conv_du.2", n // reduction, n, 1)
        shapes |= _conv(f"body.{g}.body.{blocks}", n, n)
    return shapes | _conv(f"body.{groups}", n, n)


def swinir_shapes(depths: tuple[int, ...], width: int, heads: int, window: int, hidden: int, n: int) -> Shapes:
    shapes = _conv("conv_first", 3, width) | _norm("patch_embed.norm", width)
    for i, depth in enumerate(depths):
        for j in range(depth):
            name = f"layers.{i}.residual_group.blocks.{j}"
            shapes |= _norm(f"{name}.norm1", width) | _norm(f"{name}.norm2", width)
            shapes |= {f"{name}.attn.relative_position_bias_table": ((2 * window - 1) ** 2, heads)}
            shapes |= {f"{name}.attn.relative_position_index": (window**2, window**2)}
            shapes |= {f"{name}.attn_mask": (36, window**2, window**2)} if j % 2 else {}
            shapes |= _linear(f"{name}.attn.qkv", width, 3 * width) | _linear(f"{name}.attn.proj", width, width)
            shapes |= _linear(f"{name}.mlp.fc1", width, hidden) | _linear(f"{name}.mlp.fc2", hidden, width)
        shapes |= _conv(f"layers.{i}.conv", width, width)
    return (
        shapes
        | _norm("norm", width)
        | _conv("conv_after_body", width, width)
        | _conv("conv_before_upsample.0", width, n)
    )


def tensors_of(shapes: Shapes) -> dict[str, Tensor]:
    """Random tensors that keep a signal's size."""
    fan_in = {name: max(1, torch.Size(shape[1:]).numel()) for name, shape in shapes.items()}
    tensors = {name: torch.randn(shape) / fan_in[name] ** 0.5 for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        if name.endswith("relative_position_index"):
            tensors[name] = tensor.long()
        if "norm" in name and name.endswith("weight"):
            tensors[name] = 1 + tensor / 4
    return tensors


def write_public(path: Path, name: str, args: dict[str, Any], encoder: Tensors) -> None:
    """A LIIF checkpoint with that encoder, as the public implementation would write it."""
    features = [tensor for key, tensor in encoder.items() if key.endswith("weight")][-1].shape[0]
    decoder = tensors_of(_linear("imnet.layers.0", 9 * features + 4, 8) | _linear("imnet.layers.2", 8, 3))
    spec = {
        "encoder_spec": {"name": name, "args": {"no_upsampling": True, **args}},
        "imnet_spec": {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [8]}},
    }
    tensors = {**{f"encoder.{key}": tensor for key, tensor in encoder.items()}, **decoder}
    torch.save({"model": {"name": "liif", "args": spec, "sd": tensors}, "epoch": 1}, path)


class Functions:
    """The encoders' arithmetic, on tensors by their public names."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors

    def conv(self, x: Tensor, name: str) -> Tensor:
        weight = self.tensors[f"{name}.weight"]
        return F.conv2d(x, weight, self.tensors[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def norm(self, x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]

    def edsr(self, image: Tensor, blocks: int, scale: float) -> Tensor:
        first = x = self.conv(image, "head.0")
        for i in range(blocks):
            x = x + scale * self.conv(self.conv(x, f"body.{i}.body.0").relu(), f"body.{i}.body.2")
        return first + self.conv(x, f"body.{blocks}")

    def rdn(self, image: Tensor, blocks: int, layers: int) -> Tensor:
        first = self.conv(image, "SFENet1")
        x, outputs = self.conv(first, "SFENet2"), []
        for i in range(blocks):
            seen = [x]
            for c in range(layers):
                seen.append(self.conv(torch.cat(seen, 1), f"RDBs.{i}.convs.{c}.conv.0").relu())
            x = x + self.conv(torch.cat(seen, 1), f"RDBs.{i}.LFF")
            outputs.append(x)
        return first + self.conv(self.conv(torch.cat(outputs, 1), "GFF.0"), "GFF.1")

    def rcan(self, image: Tensor, groups: int, blocks: int) -> Tensor:
        first = x = self.conv(image, "head.0")
        for g in range(groups):
            y = x
            for b in range(blocks):
                name = f"body.{g}.body.{b}.body"
                z = self.conv(self.conv(y, f"{name}.0").relu(), f"{name}.2")
                means = z.flatten(2).mean(2)[:, :, None, None]
                factors = self.conv(self.conv(means, f"{name}.3.conv_du.0").relu(), f"{name}.3.conv_du.2").sigmoid()
                y = y + z * factors
            x = x + self.conv(y, f"body.{g}.body.{blocks}")
        return first + self.conv(x, f"body.{groups}")

    def swinir(self, image: Tensor, depths: tuple[int, ...], heads: int, window: int) -> Tensor:
        """Of an image of whole windows."""
        first = self.conv(image, "conv_first")
        x = self.norm(first.permute(0, 2, 3, 1), "patch_embed.norm")
        for i, depth in enumerate(depths):
            y = x
            for j in range(depth):
                name = f"layers.{i}.residual_group.blocks.{j}"
                shift = window // 2 if j % 2 else 0
                y = y + self.attention(self.norm(y, f"{name}.norm1"), f"{name}.attn", heads, window, shift)
                hidden = F.gelu(self.linear(self.norm(y, f"{name}.norm2"), f"{name}.mlp.fc1"))
                y = y + self.linear(hidden, f"{name}.mlp.fc2")
            x = x + self.conv(y.permute(0, 3, 1, 2), f"layers.{i}.conv").permute(0, 2, 3, 1)
        x = first + self.conv(self.norm(x, "norm").permute(0, 3, 1, 2), "conv_after_body")
        return F.leaky_relu(self.conv(x, "conv_before_upsample.0"), 0.01)

    def attention(self, x: Tensor, name: str, heads: int, window: int, shift: int) -> Tensor:
        """Pixel by pixel: each sees those of its window, and windows are cut where the image ends."""
        batch, height, width, channels = x.shape
        query, key, value = self.linear(x, f"{name}.qkv").unflatten(-1, (3, heads, channels // heads)).unbind(3)
        table = self.tensors[f"{name}.relative_position_bias_table"]
        out = []
        for row in range(height):
            for column in range(width):
                top, left = (shift + (place - shift) // window * window for place in (row, column))
                rows, columns = (
                    range(max(0, start), min(start + window, side)) for start, side in ((top, height), (left, width))
                )
                pixels = [(r, c) for r in rows for c in columns]
                keys, values = (
                    torch.stack([source[:, r, c] for r, c in pixels], dim=-2) for source in (key, value)
                )  # (B, heads, pixels, channels / heads)
                scores = (keys @ query[:, row, column].unsqueeze(-1)).squeeze(-1) / (channels // heads) ** 0.5
                bias = [table[(row - r + window - 1) * (2 * window - 1) + column - c + window - 1] for r, c in pixels]
                scores = scores + torch.stack(bias, dim=-1)
                seen = scores.softmax(-1).unsqueeze(-2) @ values
                out.append(seen.reshape(batch, channels))
        return self.linear(torch.stack(out, dim=1).view(x.shape), f"{name}.proj")
