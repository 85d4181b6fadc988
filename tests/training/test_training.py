"""Training: the loss, the loop, and interrupted runs."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_runs
import yaml
from models import small_model
from PIL import Image
from training_runs import losses, records, save_smooth_images, with_budget
from typer.testing import CliRunner

from arasfsr import CheckpointError, ImplicitSR, load_model, save_model
from arasfsr.cli import app
from arasfsr.training.config import LossConfig, OptimizerConfig, TrainConfig
from arasfsr.training.logs import duration
from arasfsr.training.loop import train
from arasfsr.training.state import read_state, write_state
from arasfsr.training.step import build_optimizer, loss_of, warm_average

RUN: dict[str, Any] = {**training_runs.RUN, "steps": 12, "batch": 2, "checkpoint_every": 4}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six smooth images of mixed sizes, one of them in a subfolder."""
    data = save_smooth_images(tmp_path / "data", [(24, 24), (32, 20), (40, 40), (17, 33), (24, 30), (28, 28)])
    (data / "below").mkdir()
    (data / "5.png").rename(data / "below" / "5.png")
    return data


# --- loss and optimizer ------------------------------------------------------------------------------------------


def test_charbonnier_is_smooth_l1() -> None:
    prediction, target = torch.tensor([3.0, 0.0]), torch.zeros(2)
    assert loss_of(prediction, target, LossConfig()) == 1.5
    smooth = loss_of(prediction, target, LossConfig(name="charbonnier", epsilon=4))
    assert smooth == pytest.approx((5 + 4) / 2)


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "steps", "constant"])
@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_every_optimizer_and_schedule_trains(schedule: str, optimizer: str, folder: Path, tmp_path: Path) -> None:
    config = TrainConfig.model_validate(
        {**RUN, "steps": 4, "optimizer": {"name": optimizer, "schedule": schedule}, "loss": {"kl_weight": 1e-3}}
    )
    summary = train(config, folder, tmp_path / "run")
    assert summary["step"] == 4
    assert all(np.isfinite(loss) for loss in losses(tmp_path / "run").values())


# --- the loop ----------------------------------------------------------------------------------------------------


def test_training_reduces_the_loss_and_writes_a_model_and_a_log(folder: Path, tmp_path: Path) -> None:
    config = TrainConfig.model_validate({**RUN, "steps": 80, "ema": 0.9, "optimizer": {"lr": 3e-3}})
    train(config, folder, tmp_path / "run")
    found = losses(tmp_path / "run")
    assert np.mean([found[step] for step in range(71, 81)]) < 0.8 * np.mean([found[step] for step in range(1, 11)])
    assert load_model(tmp_path / "run" / "model.safetensors").config == config.model
    log = records(tmp_path / "run")
    assert any("8:16" in record.get("validation", {}) for record in log)
    assert log[-1]["done"]


def test_the_average_of_a_short_run_forgets_the_initial_parameters(folder: Path, tmp_path: Path) -> None:
    parameters = [torch.zeros(1)]
    update = warm_average(0.999)
    for n in range(1, 30):
        update(parameters, [torch.ones(1)], torch.tensor(n))
    assert parameters[0].item() > 0.99  # 0.03 at a constant decay


def test_the_average_of_a_long_run_has_the_configured_decay() -> None:
    parameters = [torch.zeros(1)]
    warm_average(0.9)(parameters, [torch.ones(1)], 10**6)
    assert parameters[0].item() == pytest.approx(0.1)


def test_a_run_reports_its_size_at_the_start_and_the_time_left(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = TrainConfig.model_validate({**RUN, "steps": 14})
    with caplog.at_level("INFO"):
        train(config, folder, tmp_path / "run")
    parameters = sum(parameter.numel() for parameter in ImplicitSR(config.model).parameters())
    assert f"begun, 14 steps in all: {parameters:,} parameters, on cpu" in caplog.text
    assert "5 images to train on, 1 held out, 0 broken and skipped" in caplog.text
    lines = (tmp_path / "run" / "log.txt").read_text().splitlines()
    assert sum("left" in line and "step      10  " in line and "loss" not in line for line in lines) == 1


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (29, "29 s"), (119, "2 min"), (5530, "1 h 32 min")])
def test_durations_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_held_out_images_too_small_for_a_pair_are_reported(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = [[8, 16], [8, 22], [8, 64]]
    validation = {"images": 2, "pairs": pairs, "every": 4}
    train(TrainConfig.model_validate({**RUN, "steps": 1, "validation": validation}), folder, tmp_path / "run")
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        "validation 8:22: 1 of 2 held-out images are smaller than 22 pixels, left out",
        "validation 8:64: 2 of 2 held-out images are smaller than 64 pixels, the pair has no score",
    ]


def test_workers_do_not_change_the_samples(folder: Path, tmp_path: Path) -> None:
    for workers in (0, 1):
        config = TrainConfig.model_validate({**RUN, "steps": 4, "data": {**RUN["data"], "workers": workers}})
        train(config, folder, tmp_path / str(workers))
    assert losses(tmp_path / "0") == losses(tmp_path / "1")


@pytest.mark.parametrize("state", [[1, 2], {"step": 3}])
def test_a_file_that_is_no_run_s_checkpoint_is_refused(state: Any, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"last.ckpt: must be the checkpoint of a run, but config, .* missing"):
        read_state(tmp_path)


def test_a_run_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    config = TrainConfig.model_validate({**RUN, "steps": 1})
    train(config, folder, tmp_path / "run")
    for kept in ("*", "last.ckpt"):
        for path in (tmp_path / "run").iterdir():
            if not path.match(kept):
                path.unlink()
        with pytest.raises(ValueError, match="already holds a run; continue with --resume"):
            train(config, folder, tmp_path / "run")


def test_another_configuration_does_not_resume(folder: Path, tmp_path: Path) -> None:
    train(TrainConfig.model_validate({**RUN, "steps": 1}), folder, tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"has another configuration \(steps is 1, not 2\)") as refusal:
        train(TrainConfig.model_validate({**RUN, "steps": 2}), folder, tmp_path / "run", resume=True)
    model = tmp_path / "run" / "model.safetensors"
    assert str(refusal.value).endswith(
        f"For another run choose another --output; --init {model} starts it from this model"
    )


@pytest.mark.parametrize("change", ["removed", "added", "resized"])
def test_other_images_resume_only_with_new_data(change: str, folder: Path, tmp_path: Path) -> None:
    config = TrainConfig.model_validate({**RUN, "steps": 1})
    train(config, folder, tmp_path / "run")
    if change == "removed":
        (folder / "2.png").unlink()
        difference = r"\(1 missing: 2.png 40x40 \w{8}\)"
    elif change == "added":
        shutil.copy(folder / "2.png", folder / "9.png")
        difference = r"\(1 new: 9.png 40x40 \w{8}\)"
    else:
        Image.new("RGB", (41, 40)).save(folder / "2.png")
        difference = r"\(1 missing: 2.png 40x40 \w{8}; 1 new: 2.png 41x40 \w{8}\)"
    with pytest.raises(CheckpointError, match=f"has other images {difference}; pass the same images, or --new-data"):
        train(config, folder, tmp_path / "run", resume=True)
    train(config, folder, tmp_path / "run", resume=True, new_data=True)
    train(config, folder, tmp_path / "run", resume=True)  # they are the run's images now


def test_a_data_folder_that_moved_resumes(folder: Path, tmp_path: Path) -> None:
    config = TrainConfig.model_validate({**RUN, "steps": 1})
    train(config, folder, tmp_path / "run")
    train(config, folder.rename(tmp_path / "moved"), tmp_path / "run", resume=True)


def test_a_checkpoint_without_a_list_of_images_resumes_with_a_warning(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = TrainConfig.model_validate({**RUN, "steps": 1})
    train(config, folder, tmp_path / "run")
    state = read_state(tmp_path / "run")
    del state["images"]
    write_state(tmp_path / "run", state)
    train(config, folder, tmp_path / "run", resume=True)
    assert "does not list its images" in caplog.text


def test_a_finished_run_says_so_and_restores_its_model(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = TrainConfig.model_validate({**RUN, "steps": 2})
    run = tmp_path / "run"
    summary = train(config, folder, run)
    model, log = (run / "model.safetensors").read_bytes(), (run / "log.jsonl").read_text()
    (run / "model.safetensors").unlink()
    with caplog.at_level("INFO"):
        assert train(config, folder, run, resume=True) == summary
    assert "already finished: 2 steps" in caplog.text
    assert (run / "model.safetensors").read_bytes() == model
    assert (run / "log.jsonl").read_text() == log


def test_a_run_can_start_from_a_model_however_that_started(folder: Path, tmp_path: Path) -> None:
    config = TrainConfig.model_validate({**RUN, "steps": 1, "optimizer": {"lr": 1e-9, "schedule": "constant"}})
    start = ImplicitSR(config.model.model_copy(update={"init": "paper"}))
    save_model(start, tmp_path / "start.safetensors")
    train(config, folder, tmp_path / "run", init=tmp_path / "start.safetensors")
    found = load_model(tmp_path / "run" / "model.safetensors")
    torch.testing.assert_close(found.decoder.content[0].weight, start.decoder.content[0].weight, rtol=0, atol=1e-7)


def test_a_run_cannot_start_from_a_model_of_another_configuration(folder: Path, tmp_path: Path) -> None:
    save_model(small_model(), tmp_path / "start.safetensors")
    with pytest.raises(CheckpointError, match=r"has another configuration: encoder\.features is 6, not 8; frequency\."):
        train(TrainConfig.model_validate(RUN), folder, tmp_path / "run", init=tmp_path / "start.safetensors")


def test_a_run_with_a_budget_resumes_with_the_same_budget_alone(folder: Path, tmp_path: Path) -> None:
    config = with_budget({**RUN, "steps": 1}, 200, 300)
    train(TrainConfig.model_validate(config), folder, tmp_path / "run")
    train(TrainConfig.model_validate(config), folder, tmp_path / "run", resume=True)
    changed = TrainConfig.model_validate(with_budget(config, 100, 300))
    with pytest.raises(CheckpointError, match=r"\(budget\.lr_pixels is 200, not 100\)"):
        train(changed, folder, tmp_path / "run", resume=True)


def test_what_a_budget_gives_is_logged(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        train(TrainConfig.model_validate(with_budget({**RUN, "steps": 1}, 200, 300)), folder, tmp_path / "run")
    assert "LR 6: 6 samples of 50 queries, LR 8: 3 samples of 100 queries" in caplog.messages


@pytest.mark.parametrize(("warmup", "steps"), [(0.1, 9), (0.5, 1), (0.25, 3), (0.1, 10)])
def test_a_one_cycle_may_have_a_warmup_of_one_step(warmup: float, steps: int) -> None:
    parameters = torch.nn.Linear(1, 1)
    optimizer, schedule = build_optimizer(parameters, OptimizerConfig(warmup=warmup), steps)  # type: ignore[arg-type]
    rates = []
    for _ in range(steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert max(rates) == pytest.approx(1e-3, rel=0.1)


def test_there_must_be_something_to_resume(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no last.ckpt"):
        train(TrainConfig.model_validate(RUN), folder, tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()


ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "CUDA_VISIBLE_DEVICES": ""}


def command_of(config: dict[str, Any], data: Path, run: Path) -> list[str]:
    path = run.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(config))
    return [sys.executable, "-m", "arasfsr", "train", str(path), "--data", str(data), "-o", str(run)]


def interrupt(command: list[str], run: Path, signum: int, step: int) -> None:
    """Start a run and send it a signal once its log has that step."""
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = run / "log.jsonl"
    while not (log.exists() and len(losses_so_far(log)) >= step):
        assert process.poll() is None, "it ended before it was interrupted"
        time.sleep(0.005)
    process.send_signal(signum)
    assert process.wait() == (-signum if signum == signal.SIGKILL else 128 + signum)


def resume(command: list[str]) -> None:
    resumed = subprocess.run([*command, "--resume"], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed after step" in resumed.stderr


def assert_same(run: Path, whole: Path) -> None:
    assert losses(run) == losses(whole)
    assert (run / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("config", "signum"),
    [
        (RUN, signal.SIGKILL),
        (RUN, signal.SIGTERM),
        (RUN, signal.SIGINT),
        (with_budget(RUN, 2 * 8 * 8, 128), signal.SIGTERM),  # batches of 2 or 4
    ],
)
def test_an_interrupted_run_resumes_to_the_same_losses(
    config: dict[str, Any], signum: int, folder: Path, tmp_path: Path
) -> None:
    config = {**config, "steps": 40}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(TrainConfig.model_validate(config), folder, whole)
    command = command_of(config, folder, broken)
    interrupt(command, broken, signum, 6)
    resume(command)
    assert_same(broken, whole)


def test_a_run_killed_five_times_at_random_steps_ends_with_the_same_weights(folder: Path, tmp_path: Path) -> None:
    config = {**RUN, "steps": 200}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(TrainConfig.model_validate(config), folder, whole)
    command = command_of(config, folder, broken)
    steps = sorted(random.sample(range(1, 160), 5))
    print(f"killed at {steps}")
    for number, step in enumerate(steps):
        interrupt([*command, *(["--resume"] if number else [])], broken, signal.SIGKILL, step)
    resume(command)
    assert_same(broken, whole)


def losses_so_far(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if '"loss"' in line]


def test_the_command_reports_broken_images(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").write_bytes(b"not a png")
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({**RUN, "steps": 2}))
    result = CliRunner().invoke(app, ["train", str(path), "--data", str(folder), "-o", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert "1 broken" in result.output
    assert "broken.png" in result.output


def test_new_data_needs_resume(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({**RUN, "steps": 1}))
    arguments = ["train", str(path), "--data", str(folder), "-o", str(tmp_path / "run"), "--new-data"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "needs --resume" in result.output
    assert CliRunner().invoke(app, arguments[:-1]).exit_code == 0
    (folder / "0.png").unlink()
    assert CliRunner().invoke(app, [*arguments, "--resume"]).exit_code == 0
