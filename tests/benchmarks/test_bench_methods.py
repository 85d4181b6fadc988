"""The comparison of methods: equal in all but the model, one training at a time, and its tables."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from arasfsr import ImplicitSR, ModelConfig
from arasfsr.config import DecoderConfig, EncoderConfig
from arasfsr.training.config import TrainConfig
from benchmarks.__main__ import app
from tools import methods
from tools.methods import LONG, METHODS, PAIRS, STEPS, Training
from tools.trials import TRIALS


def config_of(method: str, lr: float = 1e-3, steps: int = STEPS) -> TrainConfig:
    return Training(method, steps, lr, 1).config()


@pytest.mark.parametrize("method", list(METHODS))
def test_methods_differ_in_the_model_alone_and_share_encoder_and_width(method: str) -> None:
    ours, theirs = config_of("ARASFSR"), config_of(method)
    assert theirs.model_dump(exclude={"model"}) == ours.model_dump(exclude={"model"})
    assert theirs.model.encoder == ours.model.encoder
    assert theirs.model.decoder.width == ours.model.decoder.width
    assert (theirs.model == ours.model) == (method == "ARASFSR")


def test_the_baselines_are_the_library_s_own() -> None:
    encoder = EncoderConfig(blocks=8, features=32)
    assert config_of("LIIF").model == ModelConfig.liif(encoder, width=96)
    assert config_of("LTE").model == ModelConfig.lte(encoder, width=96, waves=96)
    assert config_of("DIINN").model == ModelConfig.diinn(encoder, width=96)
    ablation = config_of("without modulation").model
    assert isinstance(ablation.decoder, DecoderConfig)
    assert not ablation.decoder.modulated
    assert ablation.frequency is not None
    assert ablation.skip


def test_only_the_highest_rate_clips() -> None:
    assert [config_of("LTE", lr).clip for lr in (1e-3, 2e-3, 3e-3)] == [None, None, 1.0]


def done_at(validation: dict[float, float], method: str = "LTE") -> dict[Training, dict[str, Any]]:
    return {Training(method, STEPS, lr, 1): {"validation": score} for lr, score in validation.items()}


def test_the_rates_come_first() -> None:
    assert list(methods.due({})) == [Training(method, STEPS, lr, 1) for method in METHODS for lr in (1e-3, 2e-3, 3e-3)]


def test_the_rate_of_the_best_validation_gets_the_other_seeds_and_the_long_trainings() -> None:
    left = list(methods.due(done_at({1e-3: 27.0, 2e-3: 28.0, 3e-3: 27.5})))
    assert [each for each in left if each.method == "LTE"] == [
        Training("LTE", STEPS, 2e-3, 2),
        Training("LTE", STEPS, 2e-3, 3),
        *(Training("LTE", LONG, 2e-3, seed) for seed in (1, 2, 3)),
    ]


def test_trials_train_at_arasfsr_s_rate_before_the_long_trainings() -> None:
    left = list(methods.due(done_at({1e-3: 27.0, 2e-3: 28.0, 3e-3: 27.5}, "ARASFSR")))
    order = [each.method if each.steps == STEPS else "long" for each in left if each.lr == 2e-3 and each.seed == 1]
    assert order[-1 - len(TRIALS) :] == [*TRIALS, "long"]


def test_a_method_that_is_not_among_the_long_ones_has_none() -> None:
    left = list(methods.due(done_at({1e-3: 27.0, 2e-3: 28.0, 3e-3: 27.5}, "DIINN")))
    assert {each.steps for each in left if each.method == "DIINN"} == {STEPS}


def test_a_rate_is_not_chosen_before_all_have_been_tried() -> None:
    assert methods.best_rate(done_at({1e-3: 27.0, 2e-3: 28.0}), "LTE") is None


@pytest.mark.parametrize("method", ["LTE", "DIINN"])
def test_operations_are_those_of_encoder_and_decoder(method: str) -> None:
    config = config_of(method).model
    model = ImplicitSR(config).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        encoding = model.encode(torch.zeros(1, 3, 32, 32))
        encoding.render((128, 128), backend="tiled")
    assert methods.macs(config) == counter.get_total_flops() / 2 / 128**2


def test_operations_of_arasfsr_are_fewer_than_as_written() -> None:
    config = config_of("ARASFSR").model
    model = ImplicitSR(config).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.encode(torch.zeros(1, 3, 32, 32)).render((128, 128), backend="reference")
    assert 0.5 < methods.macs(config) / (counter.get_total_flops() / 2 / 128**2) < 0.8


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A comparison of two methods at one rate, of a step each."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 18), ("test", 2)):
        (tmp_path / name).mkdir()
        for i in range(count):
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    monkeypatch.setattr(methods, "METHODS", {name: METHODS[name] for name in ("ARASFSR", "LIIF")})
    monkeypatch.setattr(methods, "TRIALS", {})
    monkeypatch.setattr(methods, "RATES", {1e-3: None})
    monkeypatch.setattr(methods, "SEEDS", (1,))
    monkeypatch.setattr(methods, "STEPS", 1)
    monkeypatch.setattr(methods, "LONG_METHODS", ())
    monkeypatch.setattr(methods, "PAIRS", "16:32")
    monkeypatch.setattr(methods, "CONFIG", tmp_path / "comparison.yaml")
    pairs = "pairs: [[16, 64], [32, 128], [32, 256], [64, 256]]"
    text = (methods.ROOT / "configs" / "comparison.yaml").read_text()
    assert pairs in text
    (tmp_path / "comparison.yaml").write_text(text.replace(pairs, "pairs: [[16, 32]]"))
    arguments = ["methods", "--data", str(tmp_path / "train"), "--test", str(tmp_path / "test")]
    return [*arguments, "--runs", str(tmp_path / "runs"), "--json", str(tmp_path / "found.jsonl"), "--device", "cpu"]


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "found.jsonl").read_text().splitlines()]


def invoke(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output


def test_a_call_goes_on_with_the_trainings_that_are_left(call: list[str], tmp_path: Path) -> None:
    invoke([*call, "--most", "1"])
    assert [row["method"] for row in rows(tmp_path)] == ["ARASFSR"]
    invoke(call)
    first, second = rows(tmp_path)
    assert second["method"] == "LIIF"
    assert (first["steps"], first["lr"], first["seed"], first["images"]) == (1, 1e-3, 1, 2)
    assert set(first["scores"]) == {"16:32"}
    assert first["cpu_seconds"] > 0
    invoke(call)
    assert rows(tmp_path) == [first, second]


def test_a_folder_without_images_is_one_line_before_any_training(call: list[str], tmp_path: Path) -> None:
    for path in (tmp_path / "test").iterdir():
        path.unlink()
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 1
    assert "has no image" in done.output
    assert not (tmp_path / "runs").exists()


def test_a_training_that_another_process_is_at_is_left_to_it(call: list[str], tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with (tmp_path / "runs" / "arasfsr-1-0.001-1.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        invoke(call)
    assert [row["method"] for row in rows(tmp_path)] == ["LIIF"]


def write_rows(path: Path, scores: dict[tuple[str, int], tuple[float, ...]]) -> None:
    """A file in which every method is best at the rate 0.002, with these scores by method and steps, seed by seed."""
    tried = [(method, STEPS, lr, 1, 0.0) for method, _ in scores for lr in (1e-3, 3e-3)]
    best = [(method, steps, 2e-3, i + 1, s) for (method, steps), each in scores.items() for i, s in enumerate(each)]
    with path.open("w") as file:
        for method, steps, lr, seed, psnr in (*tried, *best):
            row = {"method": method, "steps": steps, "lr": lr, "seed": seed, "validation": psnr}
            used = {"images": 1096, "macs": 150_000, "cpu_seconds": 200 + seed}
            file.write(json.dumps(row | used | {"scores": {pair: {"psnr": psnr} for pair in PAIRS.split(",")}}) + "\n")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(methods, "METHODS_FILE", tmp_path / "methods.jsonl")
    return tmp_path / "methods.jsonl"


def test_a_table_has_means_over_seeds_and_their_ranges_and_the_best_is_bold(file: Path) -> None:
    write_rows(file, {("LIIF", STEPS): (28.1, 28.2, 28.3), ("LTE", STEPS): (28.0, 28.5, 29.0)})
    lines = methods.methods_section().splitlines()
    assert lines[0] == "1,000 steps of 8 samples on 1,096 images:"
    best, other = "**28.50** (28.00 to 29.00)", "28.20 (28.10 to 28.30)"
    assert lines[4:] == [
        f"| LTE | 0.002 | 150 k | 202 s | 3 | {' | '.join([best] * 4)} |",
        f"| LIIF | 0.002 | 150 k | 202 s | 3 | {' | '.join([other] * 4)} |",
    ]


def test_long_trainings_have_a_table_of_their_own(file: Path) -> None:
    write_rows(file, {("LTE", STEPS): (28.0,), ("LTE", LONG): (29.0, 29.2)})
    lines = methods.methods_section().splitlines()
    assert [line for line in lines if line.endswith(":")] == [
        "1,000 steps of 8 samples on 1,096 images:",
        "3,000 steps of 8 samples on 1,096 images:",
    ]
    assert lines[-1].endswith("| 2 |" + " **29.10** (29.00 to 29.20) |" * 4)


@pytest.mark.parametrize(("seeds", "steps"), [((28.0,), "1,000"), ((28.0, 28.1, 28.2), "3,000")])
def test_the_readme_has_the_long_trainings_as_soon_as_all_are_done(
    file: Path, seeds: tuple[float, ...], steps: str
) -> None:
    short = {(method, STEPS): (27.0, 27.1, 27.2) for method in methods.LONG_METHODS}
    write_rows(file, short | {(method, LONG): seeds for method in methods.LONG_METHODS})
    text = methods.headline_section(methods.ROOT)
    assert f"\n{steps} steps of 8 samples on 1,096 images. PSNR in dB" in text
    assert ("28.10" in text) == (steps == "3,000")


def test_trials_are_compared_with_arasfsr_at_its_rate(file: Path) -> None:
    trial = next(iter(TRIALS))
    write_rows(file, {("ARASFSR", STEPS): (28.0,), (trial, STEPS): (28.5,), ("LTE", STEPS): (29.0,)})
    lines = methods.trials_section().splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == ["| ARASFSR", f"| {trial}"]
    assert lines[1].endswith(" **28.50** |" * 4)
