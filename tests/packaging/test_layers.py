"""The package's layers: imports go down, without circles, and only what is optional is imported late."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def layers() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "tools" / "layers.py"))


def test_the_package_keeps_to_its_layers(layers: dict[str, Any]) -> None:
    assert layers["problems"]() == []


def test_docs_show_the_layers_as_they_are(layers: dict[str, Any]) -> None:
    assert f"```mermaid\n{layers['drawing']()}\n```" in (ROOT / "docs" / "architecture.md").read_text()


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"nn/a.py": "import arasfsr.query.call", "query/call.py": ""}, "which is not below it"),
        ({"nn/a.py": "from arasfsr.images import b", "images/b.py": "import arasfsr.nn.a"}, "a circle among"),
        ({"nn/a.py": "def f():\n    import arasfsr.coords", "coords.py": ""}, "inside a function"),
        ({"nn/a.py": "def f():\n    import numpy"}, "inside a function"),
        ({"nn/a.py": "def f():\n    import triton"}, None),
        ({"commands/a.py": "def f():\n    import arasfsr.model", "model.py": ""}, None),
    ],
)
def test_what_breaks_the_layers_is_named(
    layers: dict[str, Any], tmp_path: Path, files: dict[str, str], problem: str | None
) -> None:
    for name, text in files.items():
        (tmp_path / "arasfsr" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "arasfsr" / name).write_text(text)
    layers["problems"].__globals__["ROOT"] = tmp_path
    found = layers["problems"]()
    assert any(problem in each for each in found) if problem else found == []


def test_the_command_line_loads_no_torch() -> None:
    code = "import sys, arasfsr.cli; print({'torch', 'numpy', 'PIL'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
