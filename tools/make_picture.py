"""Make docs/sample.png, the README's picture: input, bicubic, a bundled model and the original, at two scales.

Uses the sample face bundled with the package.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from arasfsr import load_model

ROOT = Path(__file__).parents[1]
MODEL = "edsr"
LR_SIDES = (64, 32)
SHOWN = 332
"""Side of a tile in pixels, twice the original's."""
MARGIN, CAPTION = 8, 26


def main() -> None:
    original = Image.open(ROOT / "arasfsr" / "assets" / "sample_hr.png").convert("RGB")
    side = original.width
    model = load_model(MODEL)
    columns = 4
    sheet = Image.new(
        "RGB",
        (columns * (SHOWN + MARGIN) + MARGIN, len(LR_SIDES) * (SHOWN + CAPTION + MARGIN) + MARGIN),
        "white",
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for row, lr_side in enumerate(LR_SIDES):
        lr = original.resize((lr_side, lr_side), Image.Resampling.BICUBIC)
        tiles = {
            f"input, {lr_side} x {lr_side}": lr,
            f"bicubic, x{side / lr_side:.2f}": lr.resize((side, side), Image.Resampling.BICUBIC),
            f"arasfsr {MODEL}, x{side / lr_side:.2f}": model.upscale(lr, size=(side, side)),
            f"original, {side} x {side}": original,
        }
        for column, (caption, tile) in enumerate(tiles.items()):
            x, y = MARGIN + column * (SHOWN + MARGIN), MARGIN + row * (SHOWN + CAPTION + MARGIN)
            sheet.paste(tile.resize((SHOWN, SHOWN), Image.Resampling.NEAREST), (x, y))
            draw.text((x, y + SHOWN + 4), caption, "black", font)
    target = ROOT / "docs" / "sample.png"
    target.parent.mkdir(exist_ok=True)
    sheet.save(target, optimize=True)
    print(target)


if __name__ == "__main__":
    main()
