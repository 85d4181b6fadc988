"""`arasfsr upscale` in a folder of its own, and pictures for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner, Result

from arasfsr.cli import app


class Command:
    """`arasfsr upscale --model SMALL` in a folder of its own."""

    def __init__(self, model_file: Path) -> None:
        self.model_file = model_file

    def __call__(self, *arguments: str) -> Result:
        defaults = ("--model", str(self.model_file), "--device", "cpu")
        return CliRunner().invoke(app, ["upscale", *defaults, *arguments])

    def refusal(self, *arguments: str) -> str:
        """What is said about a usage error, on one line."""
        result = self(*arguments)
        assert result.exit_code == 2, result.output
        return " ".join(result.stderr.replace("│", " ").split())


def draw(path: str, width: int = 6, height: int = 4) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)


def size_of(path: str) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def files() -> list[str]:
    return sorted(path.as_posix() for path in Path().rglob("*") if path.is_file())
