"""The comparison of methods: equal in all but the model, and from two folders of images to one file of scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from arasfsr import ModelConfig
from arasfsr.config import DecoderConfig, EncoderConfig
from benchmarks.__main__ import app
from tools import quality as methods


@pytest.mark.parametrize("method", list(methods.CHANGES))
def test_methods_differ_in_the_model_alone_and_share_encoder_and_width(method: str) -> None:
    ours, theirs = methods.config_of("ARASFSR"), methods.config_of(method)
    assert theirs.model_dump(exclude={"model"}) == ours.model_dump(exclude={"model"})
    assert theirs.model.encoder == ours.model.encoder
    assert theirs.model.decoder.width == ours.model.decoder.width
    assert (theirs.model == ours.model) == (method == "ARASFSR")


def test_the_baselines_are_the_library_s_own() -> None:
    encoder = EncoderConfig(blocks=8, features=32)
    assert methods.config_of("LIIF").model == ModelConfig.liif(encoder, width=96)
    assert methods.config_of("LTE").model == ModelConfig.lte(encoder, width=96, waves=96)
    assert methods.config_of("DIINN").model == ModelConfig.diinn(encoder, width=96)
    ablation = methods.config_of("without modulation").model
    assert isinstance(ablation.decoder, DecoderConfig)
    assert not ablation.decoder.modulated
    assert ablation.frequency is not None
    assert ablation.skip


def test_two_methods_are_trained_scored_and_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for name, count in (("train", 26), ("test", 2)):
        (tmp_path / name).mkdir()
        for i in range(count):
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    monkeypatch.setattr(methods, "CHANGES", {name: methods.CHANGES[name] for name in ("ARASFSR", "LIIF")})
    monkeypatch.setattr(methods, "PAIRS", "16:32")
    arguments = ["methods", "--data", str(tmp_path / "train"), "--test", str(tmp_path / "test"), "--steps", "1"]
    arguments += ["--runs", str(tmp_path / "runs"), "--json", str(tmp_path / "found.json"), "--device", "cpu"]
    for _ in range(2):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        found = json.loads((tmp_path / "found.json").read_text())
        assert found["methods"] == ["bicubic", "ARASFSR", "LIIF"]
        assert found["pairs"][0]["images"] == 2
        assert found["training"] == {"steps": 1, "batch": 8, "images": 2, "held_out": 24}
        (tmp_path / "found.json").unlink()
