"""Evaluation against bicubic, and `arasfsr eval`."""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import small_model
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner, Result

from arasfsr import BackendUnavailable, ImplicitSR, __version__, save_model
from arasfsr.cli import app
from arasfsr.degrade import DEGRADATIONS
from arasfsr.evaluate import (
    BASELINE,
    Evaluation,
    Pair,
    PairResult,
    describe,
    evaluate,
    parse_pairs,
    target_of,
    to_json,
    to_markdown,
    to_table,
)
from arasfsr.metrics import PROTOCOLS, Protocol, Score, from_pixels, score
from arasfsr.training.data import largest_square

PAIR = Pair(6, 16)


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth colour picture with some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [120 + 90 * np.sin(x / (2 + c) + seed) * np.cos(y / (3 + c)) for c in range(3)]
    pixels = np.stack(waves, axis=-1) + rng.normal(0, 5, (height, width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images: 16 x 16, a wider one below a folder, and one too small for PAIR."""
    path = tmp_path_factory.mktemp("faces")
    (path / "more").mkdir()
    picture(16, 16, 1).save(path / "a.png")
    picture(31, 20, 2).save(path / "more" / "b.png")
    picture(15, 40, 3).save(path / "small.png")
    return path


@pytest.fixture(scope="module")
def face_model() -> ImplicitSR:
    return small_model("without frequency")


@pytest.fixture(scope="module")
def evaluation(folder: Path, face_model: ImplicitSR) -> Evaluation:
    return evaluate({"ours": face_model}, folder, [PAIR, Pair(8, 20)])


class TestParsePairs:
    def test_pairs_come_in_the_order_given(self) -> None:
        assert parse_pairs("64:256, 32:256,64:211") == [(64, 256), (32, 256), (64, 211)]

    def test_a_pair_given_twice_is_taken_once(self) -> None:
        assert parse_pairs("8:16,8:16") == [(8, 16)]

    @pytest.mark.parametrize("text", ["", "64", "64:", "64x256", "-1:8", "8:16,", "1.5:8", "0:8", "16:8", "4:6"])
    def test_anything_else_is_refused_with_the_form_taken(self, text: str) -> None:
        wrong = text.split(",")[-1]
        with pytest.raises(ValueError, match=f"^'{wrong}'; taken is LR:HR"):
            parse_pairs(text)


class TestTarget:
    def test_the_largest_square_is_the_middle(self) -> None:
        image = picture(31, 20)
        assert np.array_equal(np.asarray(largest_square(image)), np.asarray(image)[:, 5:25])

    def test_a_square_of_the_targets_side_stays_as_it_is(self) -> None:
        image = picture(16, 16)
        assert target_of(image, 16).tobytes() == image.tobytes()

    def test_a_larger_image_is_shrunk_by_pillows_bicubic(self) -> None:
        image = picture(24, 40)
        square = image.crop((0, 8, 24, 32))
        assert target_of(image, 16).tobytes() == square.resize((16, 16), Image.Resampling.BICUBIC).tobytes()


class TestEvaluate:
    def test_images_smaller_than_the_target_are_left_out_and_counted(self, evaluation: Evaluation) -> None:
        found = [(result.pair, result.images, result.too_small) for result in evaluation.pairs]
        assert found == [(PAIR, ["a.png", "more/b.png"], 1), (Pair(8, 20), ["more/b.png"], 2)]

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    @pytest.mark.parametrize("degradation", DEGRADATIONS)
    def test_bicubics_score_is_that_of_pillows_upscaling_of_the_degraded_target(
        self, folder: Path, protocol: Protocol, degradation: str
    ) -> None:
        hr = Image.open(folder / "a.png")
        lr = DEGRADATIONS[degradation](hr, (6, 6))
        expected = score(
            from_pixels(np.asarray(lr.resize((16, 16), Image.Resampling.BICUBIC))),
            from_pixels(np.asarray(hr)),
            protocol,
        )
        assert evaluate({}, folder, [PAIR], protocol, degradation).pairs[0].scores[BASELINE][0] == expected

    def test_a_models_score_is_that_of_its_picture_rounded_to_uint8(self, folder: Path, face_model: ImplicitSR) -> None:
        hr = Image.open(folder / "a.png")
        lr = np.asarray(hr.resize((6, 6), Image.Resampling.BICUBIC))
        expected = score(from_pixels(face_model.upscale(lr, size=(16, 16))), from_pixels(np.asarray(hr)), "y-float")
        assert evaluate({"ours": face_model}, folder, [PAIR], "y-float").pairs[0].scores["ours"][0] == expected

    def test_the_mean_is_that_of_the_images_decibels(self, evaluation: Evaluation) -> None:
        result = evaluation.pairs[0]
        first, second = result.scores["ours"]
        expected = Score((first.psnr + second.psnr) / 2, (first.ssim + second.ssim) / 2)
        assert result.mean("ours") == expected

    def test_a_pair_that_no_image_is_large_enough_for_has_no_mean(self, folder: Path) -> None:
        result = evaluate({}, folder, [Pair(8, 64)]).pairs[0]
        assert (result.images, result.too_small, result.mean(BASELINE)) == ([], 3, None)

    def test_broken_images_are_left_out_and_told(self, tmp_path: Path) -> None:
        picture(16, 16).save(tmp_path / "a.png")
        (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
        found = evaluate({}, tmp_path, [PAIR])
        assert (found.broken, found.pairs[0].images) == ([tmp_path / "broken.png"], ["a.png"])

    def test_progress_counts_every_picture_to_the_end(self, folder: Path, face_model: ImplicitSR) -> None:
        told: list[tuple[int, int]] = []
        evaluate({"ours": face_model}, folder, [PAIR], progress=lambda done, total: told.append((done, total)))
        assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]

    def test_the_compute_dtype_reaches_the_model(self, folder: Path, face_model: ImplicitSR) -> None:
        whole = evaluate({"ours": face_model}, folder, [PAIR])
        half = evaluate({"ours": face_model}, folder, [PAIR], dtype=torch.bfloat16)
        assert (whole.dtype, half.dtype) == ("model", "bfloat16")
        assert whole.pairs[0].scores["ours"] != half.pairs[0].scores["ours"]

    def test_the_backend_reaches_the_model(self, folder: Path, face_model: ImplicitSR) -> None:
        with pytest.raises((BackendUnavailable, ValueError), match="nowhere"):
            evaluate({"ours": face_model}, folder, [PAIR], backend="nowhere")

    def test_the_model_stays_in_the_mode_it_was_in(self, folder: Path, face_model: ImplicitSR) -> None:
        model = small_model("without frequency").train()
        evaluate({"ours": model}, folder, [PAIR])
        assert model.training

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"protocol": "y"}, "protocol='y'; taken are arasfsr, rgb, y-float"),
            ({"degradation": "blur"}, "degradation='blur'; taken are bic, nn65"),
        ],
    )
    def test_unknown_names_are_refused_before_anything_is_read(self, wrong: dict[str, str], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            evaluate({}, Path("no-such-folder"), [PAIR], **wrong)  # type: ignore[arg-type]

    def test_a_model_may_not_be_called_bicubic(self, folder: Path, face_model: ImplicitSR) -> None:
        with pytest.raises(ValueError, match="'bicubic'"):
            evaluate({BASELINE: face_model}, folder, [PAIR])


@pytest.fixture
def made_up() -> Evaluation:
    """Scores whose means are easy to see."""
    scores = {BASELINE: [Score(30.0, 0.8), Score(31.0, 0.9)], "a|b[c]": [Score(31.0, 0.85), Score(31.5, 0.95)]}
    result = PairResult(Pair(64, 256), ["x.png", "y.png"], 3, scores)
    return Evaluation(Path("faces"), ["a|b[c]"], "rgb", "nn65", "auto", "model", [result], [Path("faces/z.png")])


class TestRendering:
    def test_the_description_names_protocol_and_degradation(self, made_up: Evaluation) -> None:
        told = "\n".join(describe(made_up))
        assert "rgb: RGB of uint8 pictures" in told
        assert "nn65: nearest pixels, then JPEG of quality 65" in told

    def test_the_table_gives_scores_and_the_gain_over_bicubic(self, made_up: Evaluation) -> None:
        console = Console(file=io.StringIO(), width=200)
        console.print(to_table(made_up))
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert "a|b[c]" in lines[1]
        row = [cell.strip() for cell in lines[3].split("│")[1:-1]]
        assert row == ["64:256", "2", "3", "30.50 / 0.8500", "31.25 / 0.9000 (+0.75)"]

    def test_markdown_has_the_same_cells_with_bars_escaped(self, made_up: Evaluation) -> None:
        lines = to_markdown(made_up).splitlines()
        assert "| LR:HR | images | left out | bicubic | a&#124;b[c] |" in lines
        assert lines[-1] == "| 64:256 | 2 | 3 | 30.50 / 0.8500 | 31.25 / 0.9000 (+0.75) |"

    def test_a_pair_without_images_has_dashes(self, made_up: Evaluation) -> None:
        empty = PairResult(Pair(64, 256), [], 5, {method: [] for method in made_up.methods})
        assert to_markdown(replace(made_up, pairs=[empty])).splitlines()[-1] == "| 64:256 | 0 | 5 | - | - |"

    def test_json_carries_every_images_scores_their_means_and_how_they_were_made(self, made_up: Evaluation) -> None:
        facts = json.loads(to_json(made_up))
        assert facts["pairs"][0]["scores"]["y.png"]["a|b[c]"] == {"psnr": 31.5, "ssim": 0.95}
        assert facts["pairs"][0]["mean"][BASELINE] == pytest.approx({"psnr": 30.5, "ssim": 0.85})
        found = [facts[key] for key in ("protocol", "degradation", "methods", "broken")]
        assert found == ["rgb", "nn65", [BASELINE, "a|b[c]"], ["faces/z.png"]]

    def test_json_carries_the_versions(self, made_up: Evaluation) -> None:
        found = json.loads(to_json(made_up))["versions"]
        assert found["arasfsr"] == __version__
        assert found["pillow"] == version("pillow")

    def test_infinite_psnr_is_a_string_in_json_that_float_takes(self, made_up: Evaluation) -> None:
        equal = PairResult(Pair(8, 8), ["x.png"], 0, {m: [Score(math.inf, 1.0)] for m in made_up.methods})
        found = json.loads(to_json(replace(made_up, pairs=[equal])), parse_constant=pytest.fail)
        assert float(found["pairs"][0]["mean"][BASELINE]["psnr"]) == math.inf

    def test_no_gain_is_told_where_bicubic_is_exact(self, made_up: Evaluation) -> None:
        equal = PairResult(Pair(8, 8), ["x.png"], 0, {m: [Score(math.inf, 1.0)] for m in made_up.methods})
        row = to_markdown(replace(made_up, pairs=[equal])).splitlines()[-1]
        assert row == "| 8:8 | 1 | 0 | inf / 1.0000 | inf / 1.0000 |"


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
    def test_it_prints_what_was_compared_and_the_table(self, checkpoint: Path, folder: Path) -> None:
        result = invoke(checkpoint, "--data", folder, "--pairs", "6:16")
        assert result.exit_code == 0, result.output
        assert "arasfsr: luma" in result.stdout
        assert "bic: Pillow's bicubic" in result.stdout
        assert str(checkpoint) in result.stdout
        assert "6:16" in result.stdout

    def test_each_pair_is_told_as_it_is_done(self, checkpoint: Path, folder: Path) -> None:
        result = invoke(checkpoint, "--data", folder, "--pairs", "6:16,8:20")
        first, second = result.stderr.splitlines()
        assert first.startswith("6:16  2 images, 1 left out  bicubic ")
        assert second.startswith("8:20  1 images, 2 left out  bicubic ")
        assert f"  {checkpoint} " in first

    def test_the_files_hold_the_same_evaluation(
        self, checkpoint: Path, folder: Path, tmp_path: Path, face_model: ImplicitSR
    ) -> None:
        facts, table = tmp_path / "scores.json", tmp_path / "scores.md"
        options = ["--pairs", "6:16", "--protocol", "rgb", "--degradation", "nn65", "--dtype", "bfloat16"]
        result = invoke(checkpoint, "--data", folder, *options, "--json", facts, "--markdown", table)
        assert result.exit_code == 0, result.output
        name = str(checkpoint)
        expected = evaluate({name: face_model}, folder, [PAIR], "rgb", "nn65", dtype=torch.bfloat16)
        assert facts.read_text() == to_json(expected)
        assert table.read_text() == to_markdown(expected)

    def test_several_models_have_a_column_each(self, checkpoint: Path, folder: Path, tmp_path: Path) -> None:
        other, facts = tmp_path / "other.safetensors", tmp_path / "scores.json"
        save_model(small_model("liif"), other)
        result = invoke(checkpoint, other, "--data", folder, "--pairs", "6:16", "--json", facts)
        assert result.exit_code == 0, result.output
        assert json.loads(facts.read_text())["methods"] == [BASELINE, str(checkpoint), str(other)]

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
        ("option", "value", "told"),
        [
            ("--pairs", "64x256", "LR:HR"),
            ("--protocol", "y", "rgb"),
            ("--degradation", "blur", "nn65"),
            ("--backend", "nowhere", "tiled"),
            ("--dtype", "int8", "bfloat16"),
            ("--json", "no-such-folder/scores.json", "is not a folder"),
            ("--data", "no-such-folder", "does not exist"),
        ],
    )
    def test_a_wrong_option_is_a_usage_error_that_names_value_and_what_is_taken(
        self, checkpoint: Path, folder: Path, option: str, value: str, told: str
    ) -> None:
        result = invoke(checkpoint, "--data", folder, option, value)
        words = plain(result.stderr)
        assert result.exit_code == 2
        assert option in words
        assert value in words
        assert told in words
