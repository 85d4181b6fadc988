"""The models bundled with the package."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import resources
from pathlib import Path

WEIGHTS = resources.files("arasfsr") / "weights"
SUFFIX = ".safetensors"


def bundled_models() -> list[str]:
    """Names of the models bundled with the package."""
    if not WEIGHTS.is_dir():
        return []
    names = (Path(entry.name) for entry in WEIGHTS.iterdir())
    return sorted(name.stem for name in names if name.suffix == SUFFIX)


def bundled_file(name: str) -> AbstractContextManager[Path]:
    """The file of a bundled model, which is there until the block ends."""
    return resources.as_file(WEIGHTS / f"{name}{SUFFIX}")
