"""Make the README's pictures in docs/images from the packaged sample face: `python -m tools.figures`.

The strip compares the model with bicubic interpolation and the original at four scales; the sweep renders one
encoding at growing scales, into an eye. Each is made for a light and for a dark page.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from arasfsr import ImplicitSR, load_model
from arasfsr.evaluation.metrics import from_pixels, psnr
from arasfsr.images.transform import resize, to_tensor
from arasfsr.upscaling import denormalise

IMAGES = Path(__file__).parents[1] / "docs" / "images"
MODEL = "edsr"

LR_SIDES = (83, 45, 32, 21)
"""Inputs of the strip: the original, 166 x 166, reduced to these sides."""

FACE = (35, 51, 131, 147)
"""What the strip shows of a 166 x 166 picture, in pixels: left, top, right, bottom."""

ZOOM = 3
"""Side of the square in which the strip shows a pixel."""

SWEEP = (64, 48, 32, 24, 16)
"""What the tiles of the sweep show of the input: squares of so many of its pixels."""

EYE = (0.44, 0.38)
"""Where the sweep zooms to, (y, x) as fractions of the side."""

TILE = (FACE[2] - FACE[0]) * ZOOM
GAP, LINE, SIZE = 24, 40, 26
"""Pixels between tiles, a line of text, and its font's size; a page shows two of these pixels as one."""


class Theme(NamedTuple):
    """Colours of a page."""

    background: str
    text: str


THEMES = {"light": Theme("#ffffff", "#1f2328"), "dark": Theme("#0d1117", "#e6edf3")}


class Cell(NamedTuple):
    """A tile, TILE pixels wide and high, and the line below it."""

    tile: Image.Image
    caption: str


Rows = list[list[Cell]]


def main() -> None:
    model, assets = load_model(MODEL), files("arasfsr") / "assets"
    with (assets / "sample_hr.png").open("rb") as original, (assets / "sample.png").open("rb") as lr:
        figures = {"strip": strip(model, Image.open(original)), "sweep": sweep(model, Image.open(lr))}
    IMAGES.mkdir(exist_ok=True)
    for name, rows in figures.items():
        for page, theme in THEMES.items():
            draw(rows, theme).save(IMAGES / f"{name}-{page}.png", optimize=True)


def strip(model: ImplicitSR, original: Image.Image, lr_sides: tuple[int, ...] = LR_SIDES) -> Rows:
    """Rows of inputs, bicubic and the model's, a column for each input; the original ends the middle row."""

    def scored(name: str, picture: Image.Image) -> Cell:
        return Cell(face(picture), f"{name}, {decibels(picture, original):.1f} dB")

    width, height = original.size
    inputs, bicubic, ours = [], [], []
    for side in lr_sides:
        lr = resize(original, (side, side))
        pixels = lr.resize(original.size, Image.Resampling.NEAREST)
        inputs.append(Cell(face(pixels), f"input {side} x {side}, x{width / side:.3g}"))
        bicubic.append(scored("bicubic", resize(lr, original.size)))
        ours.append(scored("arasfsr", model.upscale(lr, size=(height, width))))
    bicubic.append(Cell(face(original), f"original, {width} x {height}"))
    return [inputs, bicubic, ours]


def face(picture: Image.Image) -> Image.Image:
    """The part FACE of a picture, every pixel as a square."""
    return picture.crop(FACE).resize((TILE, TILE), Image.Resampling.NEAREST)


def decibels(picture: Image.Image, original: Image.Image) -> float:
    """PSNR of the whole picture's luma."""
    first, second = (from_pixels(np.asarray(each)) for each in (picture, original))
    return psnr(first, second, "y-float")


@torch.no_grad()
def sweep(model: ImplicitSR, lr: Image.Image, sides: tuple[int, ...] = SWEEP) -> Rows:
    """Rows of the input's and of the model's pixels, a column for each side; one encoding serves all scales."""
    encoding = model.encode(to_tensor(lr).unsqueeze(0))
    inputs, ours = [], []
    for side in sides:
        scale = TILE / side
        size = round(scale * lr.width)
        top, left = (min(max(round(at * size) - TILE // 2, 0), size - TILE) for at in EYE)
        bottom, right = top + TILE, left + TILE
        region = denormalise(encoding.render((size, size), (top, left, bottom, right)))[0]
        pixels = (region.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        enlarged = lr.resize((size, size), Image.Resampling.NEAREST).crop((left, top, right, bottom))
        inputs.append(Cell(enlarged, f"{side} x {side} input pixels"))
        ours.append(Cell(Image.fromarray(pixels), f"arasfsr, x{scale:.3g}"))
    return [inputs, ours]


def place(row: int, column: int) -> tuple[int, int]:
    """The left and the top of a tile in a figure."""
    return column * (TILE + GAP), row * (TILE + LINE + GAP)


def draw(rows: Rows, theme: Theme) -> Image.Image:
    """The tiles in rows, each above its caption."""
    columns = max(map(len, rows))
    width, height = place(len(rows), columns)
    figure = Image.new("RGB", (width - GAP, height - GAP), theme.background)
    pen, font = ImageDraw.Draw(figure), ImageFont.load_default(SIZE)
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            left, top = place(row, column)
            figure.paste(cell.tile, (left, top))
            pen.text((left + TILE // 2, top + TILE + LINE), cell.caption, theme.text, font, anchor="md")
    return figure


if __name__ == "__main__":
    main()
