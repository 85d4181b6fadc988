"""Train on whole images: the loss of a step is over every pixel of the target, instead of sampled queries.

`render` is differentiable, and the backward of all backends but `reference` recomputes a tile of pixels at a time
instead of keeping every activation, so that memory hardly grows with the target. Losses that need a picture in one
piece become affordable. By default the images are the packaged sample face, in two sizes:

    python examples/full_image_training.py
    python examples/full_image_training.py --backend reference --epochs 1  # how much is kept for the backward
    python examples/full_image_training.py --data PHOTOGRAPHS --epochs 100 --size 512 --device cuda

`arasfsr train` does so too where its configuration has `queries: null`.
"""

from __future__ import annotations

import argparse
from importlib.resources import files
from itertools import product
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import l1_loss

from arasfsr import DecoderConfig, EncoderConfig, FrequencyConfig, ImplicitSR, ModelConfig
from arasfsr.images.find import find_images
from arasfsr.images.transform import largest_square, read_rgb, resize, to_tensor

SMALL = ModelConfig(
    encoder=EncoderConfig(blocks=2, features=32),
    frequency=FrequencyConfig(width=16, blocks=1),
    decoder=DecoderConfig(width=64),
)

SCALES = (2.0, 2.7, 3.6, 4.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(str(files("arasfsr") / "assets")), help="folder of images")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--size", type=int, default=128, help="largest side of a target")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    paths = find_images(arguments.data)
    model = ImplicitSR(SMALL).to(arguments.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(1, arguments.epochs + 1):
        total = 0.0
        for path, scale in product(paths, SCALES):
            lr, target = (each.to(arguments.device) for each in pair(path, arguments.size, scale))
            with Kept() as kept:
                prediction = model.encode(lr).render((target.shape[2], target.shape[3]), backend=arguments.backend)
            loss = l1_loss(prediction, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(
            f"epoch {epoch}: loss {total / len(paths) / len(SCALES):.4f}, {kept.megabytes():.1f} MB kept for a backward"
        )


def pair(path: Path, largest: int, scale: float) -> tuple[Tensor, Tensor]:
    """An image's largest square, at most `largest` pixels wide, reduced by `scale` and as it is: (1, 3, h, w) each."""
    square = largest_square(read_rgb(path))
    side = min(square.width, largest)
    lr_side = max(1, round(side / scale))
    lr, target = (to_tensor(resize(square, (each, each))).unsqueeze(0) for each in (lr_side, side))
    return lr, target


class Kept:
    """Notes what autograd keeps for the backward of what runs in the context."""

    def __enter__(self) -> Kept:
        self.storages: dict[int, int] = {}  # bytes by address, since several tensors may share one storage
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self.note, lambda tensor: tensor)
        self.hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.hooks.__exit__(*error)

    def note(self, tensor: Tensor) -> Tensor:
        self.storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    def megabytes(self) -> float:
        return sum(self.storages.values()) / 1e6


if __name__ == "__main__":
    main()
