"""Put an encoder of your own in front of the operator, and train both.

The operator decodes any feature map: an `Encoding` holds the map (B, D, h, w), the LR image for the skip and a
decoder's parameters, and `query` and `render` are differentiable with respect to all of them. Here a few plain
convolutions take the place of the bundled encoders, and learn the packaged sample face at a random scale in each step:

    python examples/custom_encoder.py
"""

from __future__ import annotations

import argparse
from importlib.resources import files

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from arasfsr import DecoderConfig, Encoding
from arasfsr.coords import make_cell, make_coord
from arasfsr.evaluation.metrics import from_pixels, psnr
from arasfsr.images.transform import resize, to_tensor
from arasfsr.nn.decoders import build_decoder
from arasfsr.upscaling import upscale_pil


class MyModel(nn.Module):
    """Convolutions that keep the size, then ARASFSR's decoder."""

    def __init__(self, features: int = 32, width: int = 64) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, features, 5, padding=2),
            nn.GELU(),
            nn.Conv2d(features, features, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(features, features, 3, padding=1),
        )
        self.decoder = build_decoder(DecoderConfig(width=width), channels=features)

    def encode(self, image: Tensor) -> Encoding:
        """Encode (B, 3, h, w) in [-1, 1]. Pass None instead of the image for a decoder without the skip."""
        return Encoding(self.encoder(image), image, self.decoder.weights())

    def forward(self, image: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
        """(B, 3, h, w), (B, Q, 2) and a cell to (B, Q, 3)."""
        return self.encode(image).query(coord, cell)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--queries", type=int, default=1024, help="target pixels of a step")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    face = Image.open(str(files("arasfsr") / "assets" / "sample_hr.png"))
    size = (face.height, face.width)
    pixels, coord, cell = to_tensor(face).flatten(1).T, make_coord(size), make_cell(size)  # (H W, 3), (H W, 2), (2,)
    model = MyModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    total, every = 0.0, max(1, arguments.steps // 5)
    for step in range(1, arguments.steps + 1):
        side = int(torch.randint(face.width // 6, face.width // 2, ()))  # scales from 2 to 6
        lr = to_tensor(resize(face, (side, side))).unsqueeze(0)
        chosen = torch.randperm(len(pixels))[: arguments.queries]
        loss = (model(lr, coord[chosen].unsqueeze(0), cell) - pixels[chosen]).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
        if step % every == 0:
            print(f"step {step}: loss {total / every:.4f}")
            total = 0.0

    small = resize(face, (45, 45))
    ours, bicubic = upscale_pil(model, small, size), resize(small, face.size)
    print(f"the face it saw, 45 x 45 to {size[1]} x {size[0]}, in dB:", end=" ")
    print(f"this model {decibels(ours, face):.2f}, bicubic {decibels(bicubic, face):.2f}")


def decibels(picture: Image.Image, original: Image.Image) -> float:
    """PSNR of the luma."""
    return psnr(from_pixels(np.asarray(picture)), from_pixels(np.asarray(original)), "y-float")


if __name__ == "__main__":
    main()
