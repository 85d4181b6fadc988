"""The package's layers: `python tools/layers.py` prints the diagram of their imports for docs/architecture.md."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]

LAYERS = (
    ("_version", "architectures", "bundled", "defaults", "errors", "config", "files"),
    ("coords", "devices", "images"),
    ("nn", "kernels", "preparation"),
    ("query",),
    ("upscaling",),
    ("model",),
    ("checkpoints", "testing"),
    ("evaluation", "functional"),
    ("training",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
"""Modules and subpackages of arasfsr, from the lowest layer to the highest. A layer imports from those below it."""

OPTIONAL = ("triton", "cv2", "tifffile", "tensorboard", "torch.utils.tensorboard")
"""Third-party modules that are imported only when needed."""

BEHIND_OPTIONAL = ("arasfsr.query.fused.triton_launch", "arasfsr.query.fused.cuda_launch")
"""Modules of the package that import those, or the extension."""


class Import(NamedTuple):
    """One import of a module of the package."""

    source: str
    target: str
    lazy: bool
    """Inside a function."""
    line: int


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted((ROOT / "arasfsr").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports() -> Iterator[Import]:
    """Every import in the package except those for type checking; names resolve to their submodules."""
    known = modules()
    for source, path in known.items():
        tree = ast.parse(path.read_text())
        skipped = {id(node) for block in ast.walk(tree) if _is_type_checking(block) for node in ast.walk(block)}
        lazy = {
            id(node)
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef)
            for node in ast.walk(function)
        }
        for node in ast.walk(tree):
            if id(node) in skipped:
                continue
            for target in _targets(node, known):
                yield Import(source, target, id(node) in lazy, getattr(node, "lineno", 0))


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _targets(node: ast.AST, known: dict[str, Path]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name if name in known else node.module for name in names)


def layer_of(module: str) -> int | None:
    """The layer of a module; None outside the package and for the package itself, whose imports are lazy."""
    parts = module.split(".")
    if parts[0] != "arasfsr" or len(parts) < 2:
        return None
    return next(number for number, names in enumerate(LAYERS) if parts[1] in names)


def problems() -> list[str]:
    """Imports that do not go to a lower layer, import cycles, and unnecessary lazy imports."""
    found = []
    edges: dict[str, set[str]] = {}
    for each in imports():
        place = f"{each.source}, line {each.line}, imports {each.target}"
        low, high = layer_of(each.target), layer_of(each.source)
        same = each.source.split(".")[:2] == each.target.split(".")[:2]
        if low is not None and high is not None and not same and low >= high:
            found.append(f"{place}, which is not below it")
        optional = each.target.startswith(OPTIONAL) or each.target in BEHIND_OPTIONAL
        if each.lazy and not optional and not each.source.startswith("arasfsr.commands"):
            found.append(f"{place} inside a function")
        if low is not None and not each.lazy and each.target != each.source:
            edges.setdefault(each.source, set()).add(each.target)
    return found + _circles(edges)


def _circles(edges: dict[str, set[str]]) -> list[str]:
    """Repeatedly remove modules without remaining imports; what is left is part of, or leads to, a cycle."""
    left = {source: set(targets) for source, targets in edges.items()}
    while left:
        free = {source for source, targets in left.items() if not targets & left.keys()}
        if not free:
            return [f"a circle among {', '.join(sorted(left))}"]
        left = {source: targets for source, targets in left.items() if source not in free}
    return []


def drawing() -> str:
    """The layers, highest first, as a Mermaid diagram. Arrows are imports, without those implied by others."""
    edges: dict[str, set[str]] = {}
    for each in imports():
        source, target = each.source.split(".")[1:2], each.target.split(".")[1:2]
        if each.target.startswith("arasfsr.") and source and source != target and source != ["__main__"]:
            edges.setdefault(source[0], set()).add(target[0])

    def reached(name: str) -> set[str]:
        return set().union(*({each} | reached(each) for each in edges.get(name, ())))

    lines = ["flowchart TD"]
    for names in reversed(LAYERS):
        for name in names:
            direct = edges.get(name, set())
            needed = direct - set().union(*(reached(each) for each in direct))
            lines += [f"    {name} --> {target}" for target in sorted(needed)]
    return "\n".join(lines)


if __name__ == "__main__":
    print(drawing())
    sys.exit("\n".join(problems()) or 0)
