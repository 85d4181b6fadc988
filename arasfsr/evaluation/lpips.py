"""LPIPS (Zhang et al., arXiv 1801.03924), version 0.1 with VGG-16, from weights that the user has as files.

Nothing is downloaded. Read are state dicts under the names of torchvision's vgg16 (features.0.weight ...), of the
package lpips' linear layers (lin0.model.1.weight ..., its lpips/weights/v0.1/vgg.pth) and of its whole model
(net.slice1.0.weight ...), .pth or .safetensors, in one file or in several.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, relu

from arasfsr.errors import CheckpointError

STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
"""Indices in torchvision's vgg16.features of the 3 x 3 convolutions before each pooling; a stage's last activation is
compared."""

CHANNELS = (64, 128, 256, 512, 512)
"""Of each stage's activations."""

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""RGB in [-1, 1] becomes (RGB - SHIFT) / SCALE, ImageNet's normalisation."""

SMALLEST_SIDE = 2 ** (len(STAGES) - 1)
"""Pixels that are left after the poolings between the stages as one."""

NORM_EPSILON = 1e-10
"""Added to the norm of a pixel's activations before dividing by it."""


def _shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor that is read, under the names of torchvision and of lpips' linear layers."""
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
    """The distance of two pictures as their VGG-16 activations see it; 0 for equal ones, lower is better."""

    def __init__(self, tensors: dict[str, Tensor], device: torch.device | str = "cpu") -> None:
        """`tensors` are those of SHAPES."""
        self.device = torch.device(device)
        self._tensors = {name: tensors[name].to(self.device, torch.float32) for name in SHAPES}
        self._shift, self._scale = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (SHIFT, SCALE))

    @torch.inference_mode()
    def features(self, image: Tensor) -> list[Tensor]:
        """Of a picture (3, H, W) in [0, 1], sides at least SMALLEST_SIDE: every stage's last activations
        (1, C, h, w), each pixel's of length 1.

        Raises:
            ValueError: the picture has another shape or is smaller.
        """
        if image.dim() != 3 or image.shape[0] != 3 or min(image.shape[1:]) < SMALLEST_SIDE:
            raise ValueError(
                f"picture is {tuple(image.shape)}; LPIPS takes (3, H, W) with sides of at least {SMALLEST_SIDE}"
            )
        x = (image.to(self.device, torch.float32).clamp(0, 1).unsqueeze(0) * 2 - 1 - self._shift) / self._scale
        found = []
        for stage, indices in enumerate(STAGES):
            if stage:
                x = max_pool2d(x, 2)
            for index in indices:
                weight, bias = (self._tensors[f"features.{index}.{name}"] for name in ("weight", "bias"))
                x = relu(conv2d(x, weight, bias, padding=1))
            found.append(x / (x.square().sum(1, keepdim=True).sqrt() + NORM_EPSILON))
        return found

    @torch.inference_mode()
    def distance(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
        """Of two pictures' `features`: weighted squared differences, means over pixels, summed over the stages."""
        total = 0.0
        for stage, (one, other) in enumerate(zip(first, second, strict=True)):
            weighted = conv2d((one - other).square(), self._tensors[f"lin{stage}.model.1.weight"])
            total += float(weighted.mean())
        return total

    def __call__(self, prediction: Tensor, target: Tensor) -> float:
        """Of two pictures (3, H, W) in [0, 1]."""
        return self.distance(self.features(prediction), self.features(target))


def load_lpips(paths: Sequence[Path], device: torch.device | str = "cpu") -> LPIPS:
    """LPIPS from files that together hold VGG-16's convolutions and LPIPS' linear layers; what else they hold is
    passed over.

    Raises:
        FileNotFoundError: a file is missing.
        CheckpointError: in one line, a file is none of tensors alone, or tensors are missing or of another shape.
    """
    tensors: dict[str, Tensor] = {}
    for path in paths:
        tensors.update((_plain_name(name), tensor) for name, tensor in _read(path).items())
    names = ", ".join(map(str, paths))
    missing = [name for name in SHAPES if name not in tensors]
    if missing:
        part = "LPIPS' linear layers" if missing[0].startswith("lin") else "VGG-16's convolutions"
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CheckpointError(f"{names}: no LPIPS weights with VGG-16: {part} are missing ({missing[0]}{more})")
    for name, shape in SHAPES.items():
        found = tensors[name]
        if found.shape != shape or not found.is_floating_point():
            raise CheckpointError(
                f"{names}: no LPIPS weights with VGG-16: {name} is {tuple(found.shape)} of {found.dtype}, not {shape} "
                "of floating point"
            )
        if not found.isfinite().all():
            raise CheckpointError(f"{names}: {name} has values that are not finite")
    return LPIPS(tensors, device)


def _plain_name(name: str) -> str:
    """lpips' name of a convolution to torchvision's; its second names of the linear layers to the first."""
    name = re.sub(r"^net\.slice[1-5]\.", "features.", name)
    return re.sub(r"^lins\.(\d)\.", r"lin\1.", name)


def _read(path: Path) -> dict[str, Tensor]:
    """A state dict; nothing in the file is executed."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        if path.suffix.lower() == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes an unpickler raise anything at all
        reason = f"{type(error).__name__}: {error}".strip().split("\n")[0].split(". ")[0]
        raise CheckpointError(f"{path}: not a whole file of tensors alone ({reason})") from error
    if not isinstance(content, dict) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise CheckpointError(f"{path}: holds no state dict, names with a tensor each")
    return content
