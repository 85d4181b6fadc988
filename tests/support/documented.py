"""The code blocks of README and docs: found, and run in a folder that holds what they name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "arasfsr" / "assets"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)

SHORT: dict[str, Any] = {"steps": 2, "log_every": 1, "checkpoint_every": 1}
"""What replaces entries of a configuration, so that a training takes seconds; batches become small too."""

SHORT_STEPS = "steps=3"
"""What replaces `--set steps=N`."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, with the line of its first statement."""

    page: Path
    line: int
    text: str


def blocks(page: Path, language: str) -> list[Block]:
    """The page's blocks in that language."""
    text = page.read_text()
    found = [match for match in BLOCK.finditer(text) if match[1] == language]
    return [Block(page, text.count("\n", 0, match.start()) + 2, match[2]) for match in found]


def commands(block: Block) -> list[str]:
    """The commands of a shell block, those on several lines in one piece; comments stay with them."""
    joined = re.sub(r"\\\n\s*", "", block.text)
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def created(command: str) -> list[str]:
    """The files that the comment of a command says it writes."""
    return re.findall(r"#.*?\bwrites (\S+)", command)


def fill(folder: Path) -> None:
    """Put what the pages name into a folder.

    face.png is the sample face; photos/ holds a photograph, faces/ and test-faces/ hold images to train and to score
    on; configs/ are those of the checkout with few steps; liif.pth is a checkpoint of the authors' implementation.
    """
    shutil.copy(ASSETS / "sample.png", folder / "face.png")
    original = Image.open(ASSETS / "sample_hr.png").convert("RGB")
    for name, number, side in (("faces", 6, 96), ("test-faces", 2, 256)):
        (folder / name).mkdir()
        for index in range(number):
            turned = original.rotate(5 * index, Image.Resampling.BICUBIC)
            turned.resize((side, side), Image.Resampling.BICUBIC).save(folder / name / f"{index}.png")
    (folder / "photos").mkdir()
    photograph = np.pad(np.asarray(original), ((60, 60), (60, 60), (0, 0)), "edge")
    Image.fromarray(photograph).save(folder / "photos" / "portrait.jpg", quality=95)
    (folder / "configs").mkdir()
    for path in (ROOT / "configs").glob("*.yaml"):
        config = {**yaml.safe_load(path.read_text()), **SHORT}
        config |= {"budget": {"lr_pixels": 512, "queries": 512}} if "budget" in config else {"batch": 2}
        config["validation"] = {"images": 1, "pairs": [[16, 32]], "every": 2}
        (folder / "configs" / path.name).write_text(yaml.safe_dump(config))
    shutil.copy(ROOT / "tests" / "golden" / "liif-tiny.pth", folder / "liif.pth")


def shortened(command: str) -> str:
    """The command with few steps."""
    return re.sub(r"\bsteps=\d+", SHORT_STEPS, command)


def run(arguments: list[str], folder: Path) -> str:
    """Run a program as a reader does who has activated the environment; its output, stderr included."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    done = subprocess.run(
        arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}"
    return done.stdout
