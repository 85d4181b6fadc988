"""Checkpoints: what is written comes back; what does not fit is refused in one line, and nothing in it runs."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_set import GOLDEN
from models import small_model
from safetensors.torch import save_file
from typer.testing import CliRunner

from arasfsr import CheckpointError, ImplicitSR, bundled_models, load_model, save_model
from arasfsr.cli import app
from arasfsr.testing import relative_rms

PUBLIC = GOLDEN / "liif-tiny.pth"

LARGEST = {"tiny": 4_000_000, "edsr": 8_000_000}
"""Bytes that a bundled model may have."""


def public_content() -> dict[str, Any]:
    content: dict[str, Any] = torch.load(PUBLIC, weights_only=True)
    return content


def refusal(path: Path) -> str:
    """The one line that loading `path` is refused with."""
    with pytest.raises(CheckpointError) as caught:
        load_model(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def test_a_model_comes_back_as_it_was_saved(model: ImplicitSR, tmp_path: Path) -> None:
    save_model(model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.config == model.config
    assert not loaded.training
    inp, coord, cell = torch.rand(1, 3, 4, 4), torch.rand(1, 9, 2), torch.rand(1, 9, 2)
    assert torch.equal(loaded(inp, coord, cell), model(inp, coord, cell))


@pytest.mark.parametrize("source", ["tiny", PUBLIC])
def test_a_file_that_does_not_name_its_initialisation_started_as_in_the_paper(source: str | Path) -> None:
    assert load_model(source).config.init == "paper"


def test_float16_halves_the_file(tmp_path: Path) -> None:
    model = small_model()
    save_model(model, tmp_path / "half.safetensors", torch.float16)
    loaded = load_model(tmp_path / "half.safetensors")
    weight = loaded.decoder.content[0].weight
    assert weight.dtype == torch.float32
    assert relative_rms(weight, model.decoder.content[0].weight) < 1e-3


def test_a_loaded_model_can_be_trained(tmp_path: Path) -> None:
    save_model(small_model(), tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    loaded(torch.rand(1, 3, 4, 4), torch.rand(1, 9, 2), torch.rand(1, 9, 2)).sum().backward()
    assert loaded.encoder.head.weight.grad is not None


def test_convert_writes_what_the_public_file_holds(tmp_path: Path) -> None:
    out = tmp_path / "liif.safetensors"
    result = CliRunner().invoke(app, ["convert", str(PUBLIC), str(out)])
    assert result.exit_code == 0
    assert result.output == f"wrote {out}\n"
    assert list(tmp_path.iterdir()) == [out]
    assert torch.equal(load_model(out).decoder.output.weight, load_model(PUBLIC).decoder.output.weight)


def test_convert_says_that_it_overwrote_a_file(tmp_path: Path) -> None:
    out = tmp_path / "liif.safetensors"
    out.touch()
    assert CliRunner().invoke(app, ["convert", str(PUBLIC), str(out)]).output == f"overwrote {out}\n"


def test_convert_takes_the_folder_of_a_run(tmp_path: Path) -> None:
    model = small_model()
    save_model(model, tmp_path / "model.safetensors")
    out = tmp_path / "half.safetensors"
    assert CliRunner().invoke(app, ["convert", str(tmp_path), str(out), "--half"]).exit_code == 0
    assert load_model(out).config == model.config


def test_convert_of_a_missing_file_speaks_of_a_file(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["convert", "none.pth", str(tmp_path / "out.safetensors")])
    assert result.exit_code == 2
    assert "'none.pth' does not exist" in result.stderr


def test_convert_takes_only_safetensors_as_target(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["convert", str(PUBLIC), str(tmp_path / "out.pth")])
    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source", ["native", "public"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_file_is_refused(source: str, share: float, tmp_path: Path) -> None:
    if source == "native":
        path = tmp_path / "model.safetensors"
        save_model(small_model(), path)
        content = path.read_bytes()
    else:
        path = tmp_path / "model.pth"
        content = PUBLIC.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "damaged, or not a" in refusal(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_another_kind_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"picture{suffix}"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8)
    refusal(path)


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"anything")
    assert "the suffix must be .safetensors, .pth or .pt, got" in refusal(path)


def test_a_safetensors_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    assert "not a model of arasfsr" in refusal(path)


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    content = public_content()
    content["model"]["sd"]["imnet.layers.2.weight"] = torch.zeros(5, 5)
    del content["model"]["sd"]["imnet.layers.8.bias"]
    torch.save(content, path)
    message = refusal(path)
    assert "decoder.output.bias is missing" in message
    assert "decoder.content.1.weight has shape (5, 5), not (64, 64)" in message


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda content: content["model"].update(name="ltep"), "diinn, got 'ltep'"),
        (lambda content: content["model"]["args"]["encoder_spec"].update(name="hat"), "swinir, got 'hat'"),
        (lambda content: content["model"]["args"]["imnet_spec"]["args"].update(hidden_list=[64, 32]), "hidden_list"),
        (lambda content: content.pop("model"), "not in the authors' format"),
        (lambda content: content["model"].update(sd=3), "not in the authors' format"),
    ],
)
def test_a_public_file_of_another_model_is_refused(change: Any, wanted: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    content = public_content()
    change(content)
    torch.save(content, path)
    assert wanted in refusal(path)


class _Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_nothing_in_a_file_is_executed(write: Any, tmp_path: Path) -> None:
    path, trace = tmp_path / "evil.pth", tmp_path / "executed"
    write({"model": _Payload(trace)}, path)
    refusal(path)
    assert not trace.exists()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    save_model(small_model(seed=1), path)
    before = path.read_bytes()

    def fail(tensors: Any, target: Path, **options: Any) -> None:
        Path(target).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("arasfsr.checkpoints.native.save_file", fail)
    with pytest.raises(OSError, match="No space left"):
        save_model(small_model(seed=2), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_is_nothing_says_what_a_model_can_be() -> None:
    wanted = r"model must be a bundled one \(edsr, tiny\), a file or the folder of a training run"
    with pytest.raises(FileNotFoundError, match=f"{wanted}, got 'no-such-model', which does not exist"):
        load_model("no-such-model")


def test_the_folder_of_a_run_is_its_model(tmp_path: Path) -> None:
    model = small_model()
    save_model(model, tmp_path / "model.safetensors")
    assert torch.equal(load_model(tmp_path).decoder.output.weight, model.decoder.output.weight)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"got the folder {tmp_path}, which has no model.safetensors"):
        load_model(tmp_path)


def test_every_bundled_model_loads_and_is_small() -> None:
    from importlib import resources

    assert "tiny" in bundled_models()
    for name in bundled_models():
        load_model(name)
        assert (resources.files("arasfsr") / "weights" / f"{name}.safetensors").stat().st_size <= LARGEST[name]


def test_a_folder_of_a_bundled_model_s_name_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_model("tiny").config.decoder.width == 96
