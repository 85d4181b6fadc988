"""Side-by-side pictures: the input enlarged, bicubic, each model, the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from arasfsr.evaluation.suites import Row
from arasfsr.files import replacing

PANEL_SIDE = 192
"""Pixels of a panel's side at least; smaller targets are repeated pixel by pixel, by whole factors."""

GAP = 4
"""Pixels between panels."""

CAPTION = 14
"""Pixels of the strip with the names, above the panels."""

NAMES_TOLD = 3
"""Names of images that an error lists."""


def parse_wanted(text: str) -> int | tuple[str, ...]:
    """A number of images, or their names: "4" or "a.png,more/b.png".

    Raises:
        ValueError: no name at all, or a number below 1.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names or text.strip() == "0":
        raise ValueError(f"{text!r}; taken is a number from 1, or names of images below the folder, as a.png,b.png")
    return int(text) if text.strip().isdecimal() else names


@dataclass(frozen=True)
class Pictures:
    """Which images are shown, and where the pictures go: FOLDER/LRtoHR/NAME.png."""

    folder: Path
    wanted: int | tuple[str, ...]
    """A number of images, evenly spread over the data, or paths below the data's folder."""
    names: Mapping[Path, str] = field(default_factory=dict)
    """What `choose` found: the path below the data's folder of each image that is shown."""

    def choose(self, paths: Sequence[Path], root: Path) -> Pictures:
        """The same, knowing its images.

        Raises:
            ValueError: a name is none of the images'.
        """
        known = {path.relative_to(root).as_posix(): path for path in paths}
        if isinstance(self.wanted, int):
            count = min(self.wanted, len(known))
            chosen = [list(known)[round((i + 0.5) * len(known) / count - 0.5)] for i in range(count)]
        else:
            unknown = [name for name in self.wanted if name not in known]
            if unknown:
                some = ", ".join(list(known)[:NAMES_TOLD]) + (" ..." if len(known) > NAMES_TOLD else "")
                raise ValueError(f"pictures of {', '.join(unknown)}: no such image below {root}; there are {some}")
            chosen = list(self.wanted)
        return replace(self, names={known[name]: name for name in chosen})

    def write(
        self, path: Path, row: Row, lr: Image.Image, outputs: Mapping[str, np.ndarray], target: Image.Image
    ) -> None:
        """Write an image's picture, if it is one of those to show."""
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
    """Of a file its folder and name, which tell runs apart: runs/a/model.safetensors is a/model."""
    path = Path(name)
    return "/".join([*path.parent.parts[-1:], path.stem]) if path.suffix else name


def _fit(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The name, its beginning left out where it is too long."""
    while len(name) > 1 and font.getlength(name) > width:
        name = "~" + name[2:]
    return name
