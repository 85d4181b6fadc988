"""The decoders of LTE and DIINN: backends, chunks, memory, configuration; query/test_golden.py has their numbers."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from models import BASELINES, gradients, random_queries, small_model, without_skip
from operators import saved_for_backward
from PIL import Image
from pydantic import ValidationError
from tolerances import FLOAT64
from typer.testing import CliRunner

from arasfsr import (
    BackendUnavailable,
    DecoderConfig,
    DIINNConfig,
    EncoderConfig,
    FrequencyConfig,
    ImplicitSR,
    LTEConfig,
    ModelConfig,
    load_model,
    save_model,
)
from arasfsr.cli import app
from arasfsr.query.tiled import chunks
from arasfsr.testing import keep_signal, relative_rms
from arasfsr.training.config import load_config


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("backend", ["triton", "cuda"])
def test_fused_backends_refuse_and_name_the_decoder(name: str, backend: str) -> None:
    with pytest.raises(
        BackendUnavailable, match=f"backend='{backend}': the decoder is {name.upper()}, .*tiled"
    ) as caught:
        small_model(name)(torch.rand(1, 3, 4, 4), *random_queries(1, 5), backend=backend)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", BASELINES)
def test_auto_takes_tiled(name: str, caplog: pytest.LogCaptureFixture) -> None:
    model = small_model(name)
    arguments = (torch.rand(1, 3, 4, 4), *random_queries(1, 5))
    with caplog.at_level(logging.DEBUG, logger="arasfsr"):
        found = model(*arguments)
    assert torch.equal(found, model(*arguments, backend="tiled"))
    assert f"backend triton passed over: the decoder is {name.upper()}" in caplog.text


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("chunk", [1, 7, 40, 1000])
def test_gradients_do_not_depend_on_chunks(name: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model(name).double()
    inp = torch.rand(2, 3, 5, 7, dtype=torch.float64) * 2 - 1
    coord, cell = random_queries(2, 40, torch.float64)
    truth = gradients(model, inp, coord, cell, backend="reference")
    monkeypatch.setattr(chunks, "CHUNK", chunk)
    found = gradients(model, inp, coord, cell, backend="tiled")
    assert max(map(relative_rms, found, truth)) <= FLOAT64


@pytest.mark.parametrize("name", BASELINES)
def test_memory_kept_for_the_backward_does_not_grow_with_the_decoder(name: str) -> None:
    model = small_model(name)
    encoding = model.encode(torch.rand(1, 3, 4, 4))
    queries = 3 * chunks.CHUNK
    coord, cell = random_queries(1, queries)
    with saved_for_backward() as kept:
        out = encoding.query(coord, cell, backend="tiled")
    assert out.requires_grad
    one_layer = 4 * queries * model.config.decoder.width * 4
    assert sum(kept.values()) < one_layer / 2


@pytest.mark.parametrize("name", BASELINES)
def test_a_bfloat16_model_decodes(name: str) -> None:
    model = small_model(name)
    keep_signal(model.decoder)
    inp, (coord, cell) = torch.rand(2, 3, 5, 7) * 2 - 1, random_queries(2, 40)
    truth = without_skip(model.encode(inp)).query(coord, cell)
    found = without_skip(model.to(torch.bfloat16).encode(inp.to(torch.bfloat16))).query(coord, cell)
    assert found.dtype == torch.float32
    assert relative_rms(found, truth) < 0.05


def test_phases_are_not_rounded_before_the_cosine() -> None:
    """A cell of hundreds of cycles: in bfloat16 its phase would be anything."""
    model = small_model("lte")
    keep_signal(model.decoder)
    with torch.no_grad():
        model.decoder.texture.phase *= 1000  # type: ignore[union-attr]
    inp, (coord, cell) = torch.rand(1, 3, 5, 7) * 2 - 1, random_queries(1, 40)
    encoding = without_skip(model.encode(inp))
    truth = encoding.query(coord, cell)
    for backend in ("reference", "tiled"):
        assert relative_rms(encoding.query(coord, cell, backend=backend, dtype=torch.bfloat16), truth) < 0.05


@pytest.mark.parametrize(
    ("config", "kind", "skip"),
    [
        (ModelConfig(), DecoderConfig, True),
        (ModelConfig.lte(), LTEConfig, True),
        (ModelConfig.diinn(), DIINNConfig, False),
    ],
)
def test_config_json_round_trip(config: ModelConfig, kind: type, skip: bool) -> None:
    found = ModelConfig.model_validate_json(config.model_dump_json())
    assert found == config
    assert type(found.decoder) is kind
    assert found.skip is skip


def test_decoder_defaults_to_the_mlp() -> None:
    found = ModelConfig.model_validate({"decoder": {"width": 32, "layers": 2, "modulated": False}})
    assert found.decoder == DecoderConfig(width=32, layers=2, modulated=False)


@pytest.mark.parametrize(("name", "method"), [("lte", ModelConfig.lte()), ("diinn", ModelConfig.diinn())])
def test_a_decoder_name_alone_selects_the_method(name: str, method: ModelConfig) -> None:
    assert ModelConfig.model_validate({"decoder": {"name": name}}) == method
    assert ModelConfig(decoder=method.decoder) == method


def test_unknown_decoder_name() -> None:
    with pytest.raises(ValidationError, match="name must be one of mlp, lte, diinn"):
        ModelConfig.model_validate({"decoder": {"name": "siren"}})


def test_unknown_decoder_option_error_lists_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("model: {decoder: {name: lte, wave: 3}}")
    with pytest.raises(
        ValueError, match=r"model\.decoder\.lte\.wave: unknown entry; known are name, width, layers, waves"
    ):
        load_config(path)


@pytest.mark.parametrize("name", BASELINES)
def test_frequency_and_skip_work_with_any_decoder(name: str, tmp_path: Path) -> None:
    decoder = LTEConfig(width=8, waves=6) if name == "lte" else DIINNConfig(width=8)
    frequency = FrequencyConfig(channels=2, width=4, blocks=1)
    encoder = EncoderConfig(blocks=1, features=4)
    model = ImplicitSR(ModelConfig(encoder=encoder, frequency=frequency, decoder=decoder, skip=True)).eval()
    assert model.frequency is not None
    assert model.config.skip
    save_model(model, tmp_path / "model.safetensors")
    arguments = (torch.rand(1, 3, 4, 4), *random_queries(1, 5))
    assert torch.equal(load_model(tmp_path / "model.safetensors")(*arguments), model(*arguments))


@pytest.mark.parametrize("name", BASELINES)
def test_the_same_commands_train_evaluate_and_upscale(name: str, tmp_path: Path) -> None:
    data, config = tmp_path / "data", tmp_path / "run.yaml"
    data.mkdir()
    for i in range(3):
        Image.effect_noise((24, 24 + i), 60).convert("RGB").save(data / f"{i}.png")
    config.write_text(
        "model:\n  encoder: {blocks: 1, features: 6}\n  frequency: null\n"
        f"  decoder: {{name: {name}, width: 8, layers: 2}}\n"
        "data: {lr_sizes: [6, 8], scale: [1, 3], queries: 32}\n"
        "validation: {images: 1, pairs: [[8, 16]], every: 2}\n"
        "steps: 2\nbatch: 1\n"
    )
    trained = tmp_path / "run" / "model.safetensors"
    commands = (
        ("train", config, "--data", data, "--output", tmp_path / "run", "--device", "cpu"),
        ("eval", trained, "--data", data, "--pairs", "8:20", "--device", "cpu"),
        (
            "upscale",
            data / "0.png",
            "--model",
            trained,
            "--scale",
            "1.5",
            "--output",
            tmp_path / "sr.png",
            "--device",
            "cpu",
        ),
    )
    for command in commands:
        result = CliRunner().invoke(app, [str(part) for part in command])
        assert result.exit_code == 0, result.output
    assert Image.open(tmp_path / "sr.png").size == (36, 36)
    assert load_model(trained).config.decoder.name == name
