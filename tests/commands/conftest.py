"""`arasfsr upscale` with a small model."""

from __future__ import annotations

from pathlib import Path

import pytest
from models import small_model
from upscale_command import Command

from arasfsr import save_model


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_model(small_model("without frequency"), path)
    return path


@pytest.fixture
def upscale(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(model_file)
