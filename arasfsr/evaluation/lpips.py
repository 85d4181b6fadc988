"""LPIPS (Zhang et al., arXiv 1801.03924), version 0.1 with VGG-16, from local weight files.

Nothing is downloaded. Supported are state dicts, .pth or .safetensors, in one file or in several, with the names of
torchvision's vgg16 (features.0.weight ...), of the linear layers of the package lpips (lin0.model.1.weight ..., its
lpips/weights/v0.1/vgg.pth) or of its whole model (net.slice1.0.weight ...).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, relu

from arasfsr.errors import ArgumentError, CheckpointError

STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
"""Indices, in torchvision's vgg16.features, of the 3 x 3 convolutions before each pooling; the last activations of each
stage are compared."""

CHANNELS = (64, 128, 256, 512, 512)
"""Channels of each stage's activations."""

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""RGB in [-1, 1] becomes (RGB - SHIFT) / SCALE, ImageNet's normalisation."""

SMALLEST_SIDE = 2 ** (len(STAGES) - 1)
"""Smallest side of a picture in pixels: one pixel is left after the poolings."""

NORM_EPSILON = 1e-10
"""Added to the norm of a pixel's activations before dividing by it."""


def _shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors, by the names of torchvision and of lpips' linear layers."""
    shapes: dict[str, tuple[int, ...]] = {}
    before = 3
    for stage, (indices, channels) in enumerate(zip(STAGES, CHANNELS, strict=True)):
        for index in indices:
            shapes[f"features.{index}.weight"] = (channels, before, 3, 3)
            shapes[f"features.{index}.bias"] = (channels,)
            before = channels
        shapes[f"lin{stage}.model.1.weight"] = (1, channels, 1, 1)
    return shapes


SHAPES = _shapes()


class LPIPS:
    """LPIPS distance of two pictures; 0 if they are equal, lower is better."""

    def __init__(self, tensors: dict[str, Tensor], device: torch.device | str = "cpu") -> None:
        """`tensors` must hold the names of SHAPES."""
        self.device = torch.device(device)
        self._tensors = {name: tensors[name].to(self.device, torch.float32) for name in SHAPES}
        self._shift, self._scale = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (SHIFT, SCALE))

    @torch.inference_mode()
    def features(self, image: Tensor) -> list[Tensor]:
        """Last activations (1, C, h, w) of every stage, normalised per pixel, of a picture (3, H, W) in [0, 1].

        Raises:
            ArgumentError: the picture has another shape, or a side below SMALLEST_SIDE.
        """
        if image.dim() != 3 or image.shape[0] != 3 or min(image.shape[1:]) < SMALLEST_SIDE:
            raise ArgumentError(
                f"picture must be (3, H, W) with sides of at least {SMALLEST_SIDE} for LPIPS, got {tuple(image.shape)}"
            )
        x = (image.to(self.device, torch.float32).clamp(0, 1).unsqueeze(0) * 2 - 1 - self._shift) / self._scale
        activations = []
        for stage, indices in enumerate(STAGES):
            if stage:
                x = max_pool2d(x, 2)
            for index in indices:
                weight, bias = (self._tensors[f"features.{index}.{name}"] for name in ("weight", "bias"))
                x = relu(conv2d(x, weight, bias, padding=1))
            activations.append(x / (x.square().sum(1, keepdim=True).sqrt() + NORM_EPSILON))
        return activations

    @torch.inference_mode()
    def distance(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
        """Distance of two pictures from their `features`: weighted squared differences, means summed over stages."""
        total = 0.0
        for stage, (one, other) in enumerate(zip(first, second, strict=True)):
            weighted = conv2d((one - other).square(), self._tensors[f"lin{stage}.model.1.weight"])
            total += float(weighted.mean())
        return total

    def __call__(self, prediction: Tensor, target: Tensor) -> float:
        """Distance of two pictures (3, H, W) in [0, 1]."""
        return self.distance(self.features(prediction), self.features(target))


def load_lpips(paths: Sequence[Path], device: torch.device | str = "cpu") -> LPIPS:
    """Load LPIPS from files that together hold VGG-16's convolutions and LPIPS' linear layers.

    Other tensors in them are ignored.

    Raises:
        FileNotFoundError: a file is missing.
        CheckpointError: a file holds anything but tensors, or a tensor is missing or has another shape.
    """
    tensors: dict[str, Tensor] = {}
    for path in paths:
        tensors.update((_plain_name(name), tensor) for name, tensor in _read(path).items())
    names = ", ".join(map(str, paths))
    missing = [name for name in SHAPES if name not in tensors]
    if missing:
        part = "LPIPS' linear layers" if missing[0].startswith("lin") else "VGG-16's convolutions"
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CheckpointError(f"{names}: not LPIPS weights for VGG-16: {part} are missing ({missing[0]}{more})")
    for name, shape in SHAPES.items():
        found = tensors[name]
        if found.shape != shape or not found.is_floating_point():
            raise CheckpointError(
                f"{names}: not LPIPS weights for VGG-16: {name} must be {shape} of floating point, got "
                f"{tuple(found.shape)} of {found.dtype}"
            )
        if not found.isfinite().all():
            raise CheckpointError(f"{names}: {name} has non-finite values")
    return LPIPS(tensors, device)


def _plain_name(name: str) -> str:
    """Map lpips' names of convolutions to torchvision's, and its second names of linear layers to the first."""
    name = re.sub(r"^net\.slice[1-5]\.", "features.", name)
    return re.sub(r"^lins\.(\d)\.", r"lin\1.", name)


def _read(path: Path) -> dict[str, Tensor]:
    """Read a state dict; nothing in the file is executed."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        if path.suffix.lower() == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes an unpickler raise anything at all
        reason = f"{type(error).__name__}: {error}".strip().split("\n")[0].split(". ")[0]
        raise CheckpointError(f"{path}: damaged, or holds more than tensors ({reason})") from error
    if not isinstance(content, dict) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise CheckpointError(f"{path}: not a state dict of tensors by name")
    return content
