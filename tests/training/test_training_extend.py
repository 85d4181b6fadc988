"""`--resume --extend`: a run goes on with other steps, another learning rate or another schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import training_runs
import yaml
from training_runs import FIVE_SIZES, losses, records, save_smooth_images
from typer.testing import CliRunner

from arasfsr import ArgumentError, CheckpointError
from arasfsr.cli import app
from arasfsr.training import loop
from arasfsr.training.config import TrainConfig
from arasfsr.training.loop import train
from arasfsr.training.state import Run, read_state, write_state

RUN: dict[str, Any] = {**training_runs.RUN, "steps": 6, "batch": 2, "checkpoint_every": 5}

SCHEDULES: dict[str, dict[str, Any]] = {
    "one-cycle": {"lr": 5e-4, "warmup": 0.7},
    "cosine": {"lr": 5e-4},
    "steps": {"lr": 5e-4, "milestones": [0.25, 0.8]},
    "constant": {"lr": 5e-4},
}
"""For each schedule, other entries than the defaults."""


def config_of(**changes: Any) -> TrainConfig:
    return TrainConfig.model_validate({**RUN, **changes})


def extended_config(schedule: str) -> TrainConfig:
    """Twice the steps, and other entries of the optimizer."""
    entries = {"schedule": schedule, "betas": [0.8, 0.99], "weight_decay": 0.01, **SCHEDULES[schedule]}
    return config_of(steps=12, optimizer=entries)


def rates(run: Path) -> dict[int, float]:
    """The learning rates in a run's log, by step."""
    return {record["step"]: record["lr"] for record in records(run) if "lr" in record}


def assert_same(run: Path, other: Path) -> None:
    assert losses(run) == losses(other)
    assert (run / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def stop_before(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the next run end before that step, as if it was killed."""
    take_step = loop.take_step

    def stopping(run: Run, *arguments: Any) -> Any:
        if run.step + 1 == step:
            monkeypatch.undo()
            raise KeyboardInterrupt
        return take_step(run, *arguments)

    monkeypatch.setattr(loop, "take_step", stopping)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_smooth_images(tmp_path_factory.mktemp("data"), FIVE_SIZES)


@pytest.fixture
def run(data: Path, tmp_path: Path) -> Path:
    """A finished run of six steps."""
    train(config_of(), data, tmp_path / "run")
    return tmp_path / "run"


# --- what goes on, and what begins -------------------------------------------------------------------------------


def test_parameters_average_moments_and_samples_go_on(data: Path, tmp_path: Path) -> None:
    constant = {"schedule": "constant"}  # a schedule that does not depend on the number of steps
    train(config_of(optimizer=constant, steps=12), data, tmp_path / "whole")
    train(config_of(optimizer=constant), data, tmp_path / "run")
    train(config_of(optimizer=constant, steps=12), data, tmp_path / "run", resume=True, extend=True)
    assert_same(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("before", ["one-cycle", "constant"])
def test_the_learning_rate_is_that_of_a_run_with_the_new_entries_from_the_start(
    before: str, schedule: str, data: Path, tmp_path: Path
) -> None:
    train(extended_config(schedule), data, tmp_path / "whole")
    first = config_of(optimizer={"schedule": before})
    train(first, data, tmp_path / "run")
    train(extended_config(schedule), data, tmp_path / "run", resume=True, extend=True)
    found, expected = rates(tmp_path / "run"), rates(tmp_path / "whole")
    assert [found[step] for step in range(7, 13)] == [expected[step] for step in range(7, 13)]
    assert [found[step] for step in range(1, 7)] != [expected[step] for step in range(1, 7)]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_optimizer_has_the_new_entries(schedule: str, run: Path, data: Path, tmp_path: Path) -> None:
    train(extended_config(schedule), data, tmp_path / "whole")
    train(extended_config(schedule), data, run, resume=True, extend=True)
    found, expected = read_state(run), read_state(tmp_path / "whole")
    assert found["optimizer"]["param_groups"] == expected["optimizer"]["param_groups"]
    assert found["schedule"] == expected["schedule"]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_an_extended_run_resumes_to_the_same_losses(
    schedule: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("whole", "broken"):
        train(config_of(), data, tmp_path / name)
    train(extended_config(schedule), data, tmp_path / "whole", resume=True, extend=True)
    stop_before(8, monkeypatch)  # the checkpoint is the one that the extension writes
    with pytest.raises(KeyboardInterrupt):
        train(extended_config(schedule), data, tmp_path / "broken", resume=True, extend=True)
    stop_before(12, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(extended_config(schedule), data, tmp_path / "broken", resume=True)
    train(extended_config(schedule), data, tmp_path / "broken", resume=True)
    assert_same(tmp_path / "broken", tmp_path / "whole")


def test_an_interrupted_run_can_be_extended(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_before(6, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(config_of(), data, tmp_path / "run")
    longer = config_of(steps=12)
    assert train(longer, data, tmp_path / "run", resume=True, extend=True)["step"] == 12
    train(longer, data, tmp_path / "whole")
    found, expected = rates(tmp_path / "run"), rates(tmp_path / "whole")
    assert [found[step] for step in range(6, 13)] == [expected[step] for step in range(6, 13)]


def test_a_run_can_be_extended_to_fewer_steps_than_it_had(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_before(7, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(config_of(steps=12), data, tmp_path / "run")
    assert train(config_of(steps=6), data, tmp_path / "run", resume=True, extend=True)["step"] == 6
    assert max(losses(tmp_path / "run")) == 6


def test_the_validations_and_the_time_are_kept(run: Path, data: Path) -> None:
    state = read_state(run)
    best, seconds = {"step": 4, "psnr": 99.0}, 1000.0
    write_state(run, {**state, "best": best, "seconds": seconds})
    summary = train(config_of(steps=8), data, run, resume=True, extend=True)
    assert summary["best"] == best
    assert read_state(run)["seconds"] > seconds
    assert [record["step"] for record in records(run) if "validation" in record] == [4, 6, 8, 8]  # and the summary


def test_without_a_change_a_run_is_resumed_as_it_was(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stop_before(6, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(config_of(), data, tmp_path / "run")
    with caplog.at_level("INFO"):
        train(config_of(), data, tmp_path / "run", resume=True, extend=True)
        train(config_of(), data, tmp_path / "run", resume=True, extend=True)
    assert "resumed after step 5" in caplog.text
    assert "already finished: 6 steps" in caplog.text
    assert "extended" not in caplog.text


# --- what is said ------------------------------------------------------------------------------------------------


def test_a_line_says_what_has_changed(run: Path, data: Path, caplog: pytest.LogCaptureFixture) -> None:
    entries = {"schedule": "constant", "lr": 5e-4}
    with caplog.at_level("INFO"):
        train(config_of(steps=8, optimizer=entries), data, run, resume=True, extend=True)
    line = (
        'extended: optimizer.lr from 0.001 to 0.0005, optimizer.schedule from "one-cycle" to "constant", steps from 6 '
        "to 8; the schedule is recomputed, the next learning rate is 5.00e-04, not 4.00e-09"
    )
    assert line in caplog.messages
    assert (run / "log.txt").read_text().count(line) == 1


def test_extending_gives_no_warning(run: Path, data: Path, recwarn: pytest.WarningsRecorder) -> None:
    train(config_of(steps=8), data, run, resume=True, extend=True)
    assert [str(each.message) for each in recwarn] == []


def test_a_finished_run_names_the_option(run: Path, data: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        train(config_of(), data, run, resume=True)
    assert "already finished: 6 steps; --resume --extend --set steps=N, above 6, continues it" in caplog.messages


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"steps": 12}, {"clip": 1.0}, {"optimizer": {"lr": 5e-4}}])
def test_without_extend_a_change_is_refused_and_the_option_named(
    changes: dict[str, Any], run: Path, data: Path
) -> None:
    with pytest.raises(
        CheckpointError, match=r"another configuration \(.*\); .* --extend changes only steps, clip and the optimizer"
    ):
        train(config_of(**changes), data, run, resume=True)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"optimizer": {"name": "adamw", "lr": 5e-4}}, 'optimizer.name is "adam", not "adamw"'),
        ({"batch": 3}, "batch is 2, not 3"),
        ({"seed": 1, "ema": 0.5}, "ema is 0.999, not 0.5; seed is 0, not 1"),
    ],
)
def test_other_entries_are_refused_with_extend_too(changes: dict[str, Any], named: str, run: Path, data: Path) -> None:
    with pytest.raises(CheckpointError) as refusal:
        train(config_of(steps=12, **changes), data, run, resume=True, extend=True)
    assert f"has another configuration ({named}); a run is resumed with its own" in str(refusal.value)


@pytest.mark.parametrize("changes", [{"steps": 5}, {"optimizer": {"lr": 5e-4}}])
def test_steps_must_be_above_the_step_reached(changes: dict[str, Any], run: Path, data: Path) -> None:
    config = config_of(**changes)
    with pytest.raises(
        ArgumentError, match=f"^steps must be above 6, the step that the run has reached, got {config.steps}$"
    ):
        train(config, data, run, resume=True, extend=True)
    assert read_state(run)["step"] == 6


# --- the command -------------------------------------------------------------------------------------------------


def test_the_command_extends_a_run(run: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(RUN))
    arguments = ["train", str(tmp_path / "run.yaml"), "--data", str(data), "-o", str(run), "--set", "steps=8"]
    result = CliRunner().invoke(app, [*arguments, "--resume", "--extend"])
    assert result.exit_code == 0, result.output
    assert "extended: steps from 6 to 8; the schedule is recomputed" in result.stderr
    assert CliRunner().invoke(app, [*arguments, "--resume"]).exit_code == 0


def test_extend_needs_resume(data: Path, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(RUN))
    result = CliRunner().invoke(app, ["train", str(tmp_path / "run.yaml"), "--data", str(data), "--extend"])
    assert result.exit_code == 2
    assert "Invalid value for --extend: needs --resume" in result.output
