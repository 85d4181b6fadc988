"""Side-by-side pictures: the enlarged input, bicubic, each model, the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from arasfsr.errors import ArgumentError
from arasfsr.evaluation.suites import Row
from arasfsr.files import replacing

PANEL_SIDE = 192
"""Smallest side of a panel in pixels; smaller targets are enlarged by an integer factor, nearest neighbour."""

GAP = 4
"""Pixels between panels."""

CAPTION = 14
"""Height in pixels of the strip with the names, above the panels."""

NAMES_SHOWN = 3
"""Image names that an error lists."""


def parse_wanted(text: str) -> int | tuple[str, ...]:
    """Parse a number of images, "4", or their names, "a.png,more/b.png".

    Raises:
        ArgumentError: there is no name, or the number is 0.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names or text.strip() == "0":
        raise ArgumentError(f"pictures must be a number from 1, or names of images as in a.png,b.png, got {text!r}")
    return int(text) if text.strip().isdecimal() else names


@dataclass(frozen=True)
class Pictures:
    """Which images get a side-by-side picture; it is written to FOLDER/LRtoHR/NAME.png."""

    folder: Path
    wanted: int | tuple[str, ...]
    """A number of images, evenly spread over the data, or their paths below the data folder."""
    names: Mapping[Path, str] = field(default_factory=dict)
    """The images chosen by `choose`, each with its path below the data folder."""

    def choose(self, paths: Sequence[Path], root: Path) -> Pictures:
        """Choose the images among `paths`, which lie below `root`.

        Raises:
            ArgumentError: a name is not an image of `paths`.
        """
        known = {path.relative_to(root).as_posix(): path for path in paths}
        if isinstance(self.wanted, int):
            count = min(self.wanted, len(known))
            chosen = [list(known)[round((i + 0.5) * len(known) / count - 0.5)] for i in range(count)]
        else:
            unknown = [name for name in self.wanted if name not in known]
            if unknown:
                some = ", ".join(list(known)[:NAMES_SHOWN]) + (" ..." if len(known) > NAMES_SHOWN else "")
                raise ArgumentError(
                    f"pictures must name images below {root}, got {', '.join(unknown)}; there are {some}"
                )
            chosen = list(self.wanted)
        return replace(self, names={known[name]: name for name in chosen})

    def write(
        self, path: Path, row: Row, lr: Image.Image, outputs: Mapping[str, np.ndarray], target: Image.Image
    ) -> None:
        """Write an image's picture if the image was chosen."""
        if path not in self.names:
            return
        name = self.names[path]
        file = self.folder / f"{row.pair.lr}to{row.pair.hr}" / (name if name.endswith(".png") else f"{name}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary:
            side_by_side(lr, outputs, target).save(temporary)


def side_by_side(lr: Image.Image, outputs: Mapping[str, np.ndarray], target: Image.Image) -> Image.Image:
    """Panels with their names above: the input by nearest pixels, the outputs (side, side, 3), the target."""
    factor = -(-PANEL_SIDE // target.width)
    side = factor * target.width
    panels = {f"input {lr.width} x {lr.height}": lr}
    panels.update((_short(name), Image.fromarray(pixels)) for name, pixels in outputs.items())
    images = [*panels.items(), (f"target {target.width} x {target.height}", target)]
    sheet = Image.new("RGB", (len(images) * (side + GAP) - GAP, CAPTION + side), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for i, (name, image) in enumerate(images):
        left = i * (side + GAP)
        draw.text((left + 1, 1), _fit(name, font, side), fill="black", font=font)
        sheet.paste(image.resize((side, side), Image.Resampling.NEAREST), (left, CAPTION))
    return sheet


def _short(name: str) -> str:
    """Shorten a file to its folder and name, which tell runs apart: runs/a/model.safetensors to a/model."""
    path = Path(name)
    return "/".join([*path.parent.parts[-1:], path.stem]) if path.suffix else name


def _fit(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Cut off the beginning of a name until it fits into `width` pixels."""
    while len(name) > 1 and font.getlength(name) > width:
        name = "~" + name[2:]
    return name
