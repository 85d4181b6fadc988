"""`arasfsr eval`."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
import torch
from models import small_model
from pictures import picture, three_pictures
from typer.testing import CliRunner, Result

from arasfsr import ImplicitSR, save_model
from arasfsr.cli import app
from arasfsr.evaluation import BASELINE, Pair, evaluate, own_pairs, to_csv, to_json, to_markdown
from arasfsr.evaluation.lpips import SHAPES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return three_pictures(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images that are large enough for a suite."""
    path = tmp_path_factory.mktemp("larger")
    picture(36, 40, 1).save(path / "a.png")
    picture(48, 44, 2).save(path / "b.png")
    return path


@pytest.fixture(scope="module")
def face_model() -> ImplicitSR:
    return small_model("without frequency")


@pytest.fixture(scope="module")
def checkpoint(face_model: ImplicitSR, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "ours.safetensors"
    save_model(face_model, path)
    return path


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["eval", *map(str, arguments), "--device", "cpu"])


def plain(text: str) -> str:
    """Without colours, frames and line breaks."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|│", " ", text).split())


class TestCommand:
    def test_it_prints_what_was_compared_and_the_tables(self, checkpoint: Path, folder: Path) -> None:
        result = invoke(checkpoint, "--data", folder, "--pairs", "6:16")
        assert result.exit_code == 0, result.output
        assert "arasfsr: luma" in result.stdout
        assert "bic: Pillow's bicubic" in result.stdout
        assert str(checkpoint) in result.stdout
        assert result.stdout.count("6:16") == 2
        assert "SSIM, higher is better" in result.stdout

    def test_each_pair_is_printed_as_soon_as_it_is_done(self, checkpoint: Path, folder: Path) -> None:
        result = invoke(checkpoint, "--data", folder, "--pairs", "6:16,8:20")
        first, second = result.stderr.splitlines()
        assert first.startswith("6:16  2 images, 1 left out  bicubic ")
        assert second.startswith("8:20  1 images, 2 left out  bicubic ")
        assert f"  {checkpoint} " in first

    def test_the_files_hold_the_same_evaluation(
        self, checkpoint: Path, folder: Path, tmp_path: Path, face_model: ImplicitSR
    ) -> None:
        facts, table, lines = (tmp_path / f"scores.{suffix}" for suffix in ("json", "md", "csv"))
        options = ["--pairs", "6:16", "--protocol", "rgb", "--degradation", "nn65", "--dtype", "bfloat16"]
        files = ["--json", facts, "--markdown", table, "--csv", lines]
        result = invoke(checkpoint, "--data", folder, *options, *files)
        assert result.exit_code == 0, result.output
        pairs = own_pairs([Pair(6, 16)], "nn65")
        expected = evaluate({str(checkpoint): face_model}, folder, pairs, "rgb", dtype=torch.bfloat16)
        assert facts.read_text() == to_json(expected)
        assert table.read_text() == to_markdown(expected)
        assert lines.read_text() == to_csv(expected)

    def test_each_model_has_a_column(self, checkpoint: Path, folder: Path, tmp_path: Path) -> None:
        other, facts = tmp_path / "other.safetensors", tmp_path / "scores.json"
        save_model(small_model("liif"), other)
        result = invoke(checkpoint, other, "--data", folder, "--pairs", "6:16", "--json", facts)
        assert result.exit_code == 0, result.output
        assert json.loads(facts.read_text())["methods"] == [BASELINE, str(checkpoint), str(other)]

    def test_a_suite_runs_all_its_pairs_under_its_degradation(
        self, checkpoint: Path, faces: Path, tmp_path: Path
    ) -> None:
        lines = tmp_path / "scores.csv"
        result = invoke(checkpoint, "--data", faces, "--suite", "real", "--csv", lines)
        assert result.exit_code == 0, result.output
        found = [line for line in csv.DictReader(lines.open()) if line["method"] == BASELINE]
        assert [(line["lr"], line["hr"], line["asked"], line["degradation"]) for line in found] == [
            ("16", "32", "16:32", "nn65"),
            ("18", "36", "32:64 64:128", "nn65"),
        ]
        assert "shorter side 36) are shrunk" in result.stdout

    def test_the_ablation_compares_models_that_differ(self, checkpoint: Path, faces: Path, tmp_path: Path) -> None:
        other = tmp_path / "whole.safetensors"
        save_model(small_model("arasfsr"), other)
        result = invoke(checkpoint, other, "--data", faces, "--suite", "ablation")
        assert result.exit_code == 0, result.output
        assert f"{other}: frequency estimation, modulation, skip" in result.stdout

    def test_lpips_is_scored_if_its_weights_are_given(self, checkpoint: Path, faces: Path, tmp_path: Path) -> None:
        tensors = {name: torch.rand(shape) * 0.01 for name, shape in SHAPES.items()}
        files = tmp_path / "vgg16.pth", tmp_path / "vgg.pth"
        torch.save({name: tensor for name, tensor in tensors.items() if name.startswith("features")}, files[0])
        torch.save({name: tensor for name, tensor in tensors.items() if name.startswith("lin")}, files[1])
        weights = ["--lpips", files[0], "--lpips", files[1]]
        result = invoke(checkpoint, "--data", faces, "--pairs", "8:16", *weights)
        assert result.exit_code == 0, result.output
        assert "LPIPS 0.1 with VGG-16, lower is better" in result.stdout

    def test_pictures_by_number_or_by_name(self, checkpoint: Path, faces: Path, tmp_path: Path) -> None:
        out = tmp_path / "shown"
        for wanted in ("1", "b.png"):
            options = ["--pairs", "8:16,8:32", "--pictures", wanted, "--pictures-to", out]
            assert invoke(checkpoint, "--data", faces, *options).exit_code == 0
        found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
        assert found == [f"8to{side}/{name}.png" for side in (16, 32) for name in "ab"]

    def test_broken_images_are_named_and_the_status_is_1_after_the_table(
        self, checkpoint: Path, tmp_path: Path
    ) -> None:
        picture(16, 16).save(tmp_path / "a.png")
        (tmp_path / "broken.png").write_bytes(b"no image")
        result = invoke(checkpoint, "--data", tmp_path, "--pairs", "6:16")
        assert result.exit_code == 1
        assert "6:16" in result.stdout
        assert f"1 broken images were skipped: {tmp_path / 'broken.png'}" in result.stderr

    @pytest.mark.parametrize(
        ("option", "value", "message"),
        [
            ("--suite", "perfect", "ideal, ideal-supplement, real, real-supplement, fsr8, ablation"),
            ("--pairs", "64x256", "LR:HR"),
            ("--protocol", "y", "rgb"),
            ("--degradation", "blur", "nn65"),
            ("--backend", "nowhere", "tiled"),
            ("--dtype", "int8", "bfloat16"),
            ("--json", "no-such-folder/scores.json", "is not a folder"),
            ("--csv", "no-such-folder/scores.csv", "is not a folder"),
            ("--pictures", "0", "a number from 1, or names"),
            ("--data", "no-such-folder", "does not exist"),
        ],
    )
    def test_a_wrong_option_is_a_usage_error_that_names_the_value_and_the_rule(
        self, checkpoint: Path, folder: Path, option: str, value: str, message: str
    ) -> None:
        result = invoke(checkpoint, "--data", folder, option, value)
        words = plain(result.stderr)
        assert result.exit_code == 2
        assert option in words
        assert value in words
        assert message in words

    @pytest.mark.parametrize(("option", "value"), [("--pairs", "64:256"), ("--degradation", "bic")])
    def test_a_suite_has_its_own_pairs_and_degradation(
        self, checkpoint: Path, folder: Path, option: str, value: str
    ) -> None:
        result = invoke(checkpoint, "--data", folder, "--suite", "ideal", option, value)
        assert result.exit_code == 2
        message = f"{option}: must not be given with --suite ideal, which has its own, got {value!r}"
        assert message in plain(result.stderr)

    def test_a_model_given_twice_is_a_usage_error(self, checkpoint: Path, folder: Path) -> None:
        result = invoke(checkpoint, checkpoint, "--data", folder)
        assert result.exit_code == 2
        assert f"MODEL: must be given once each, got {str(checkpoint)!r} twice" in plain(result.stderr)

    def test_one_file_by_two_names_is_a_usage_error(self, checkpoint: Path, folder: Path) -> None:
        other = checkpoint.parent / ".." / checkpoint.parent.name / checkpoint.name
        result = invoke(checkpoint, other, "--data", folder)
        assert result.exit_code == 2
        assert f"got one file as {str(checkpoint)!r} and {str(other)!r}" in plain(result.stderr)

    @pytest.mark.parametrize(
        ("options", "end"),
        [
            ((), "got 64:256, 32:256, 64:211, which are the default; give smaller ones by --pairs LR:HR"),
            (("--pairs", "64:256"), "got 64:256"),
        ],
    )
    def test_images_too_small_for_all_pairs_are_an_error_that_tells_the_default_from_what_was_given(
        self, checkpoint: Path, folder: Path, options: tuple[str, ...], end: str
    ) -> None:
        assert str(invoke(checkpoint, "--data", folder, *options).exception).endswith(end)

    def test_the_folder_of_a_run_is_a_model(self, face_model: ImplicitSR, folder: Path, tmp_path: Path) -> None:
        save_model(face_model, tmp_path / "model.safetensors")
        assert f"  {tmp_path} " in invoke(tmp_path, "--data", folder, "--pairs", "6:16").stderr

    def test_a_run_by_its_folder_and_its_file_is_one_model(self, checkpoint: Path, folder: Path) -> None:
        file = checkpoint.rename(checkpoint.with_name("model.safetensors"))
        result = invoke(file.parent, file, "--data", folder)
        file.rename(checkpoint)
        assert result.exit_code == 2
        assert f"got one file as {str(file.parent)!r} and {str(file)!r}" in plain(result.stderr)

    def test_images_too_small_for_a_suite_are_an_error_that_names_the_file(
        self, checkpoint: Path, folder: Path
    ) -> None:
        result = invoke(checkpoint, "--data", folder, "--suite", "ideal")
        assert "small.png: the shorter side of an image must be at least 32 pixels" in str(result.exception)
