"""The step of a run and what ends a run: whole images, precision, parts, non-finite losses, full disks."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import training_runs
from PIL import Image
from torch import Tensor
from training_runs import FIVE_SIZES, losses, records, save_smooth_images, with_budget
from typer.testing import CliRunner

from arasfsr import cli, load_model
from arasfsr.errors import ArgumentError, CheckpointError, TrainingError
from arasfsr.training import step as step_module
from arasfsr.training.config import DataConfig, TrainConfig
from arasfsr.training.data import Photograph, Samples
from arasfsr.training.loop import train
from arasfsr.training.state import Run, read_state

RUN: dict[str, Any] = {**training_runs.RUN, "steps": 6, "batch": 5, "checkpoint_every": 2}


def config_of(**changes: Any) -> TrainConfig:
    return TrainConfig.model_validate({**RUN, **changes})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return save_smooth_images(tmp_path / "data", FIVE_SIZES)


# --- the step ----------------------------------------------------------------------------------------------------


def test_with_a_scale_per_batch_the_targets_of_a_batch_have_one_size_within_every_image() -> None:
    images = [Photograph.of(Path(f"{side}.png"), Image.new("RGB", (side, side))) for side in (20, 40, 60)]
    for config in (DataConfig(lr_sizes=[8], queries=None, whole=0.5), DataConfig(lr_sizes=[8], scale_per_batch=True)):
        samples = Samples(images, config, 4, 0, 80)
        batches = [range(first, first + 4) for first in range(0, 80, 4)]
        sides = [{round(2 / samples[k].cell[0, 0].item()) for k in batch} for batch in batches] if config.queries else [
            {samples[k].target.shape[-1] for k in batch} for batch in batches
        ]  # fmt: skip
        assert all(len(found) == 1 for found in sides)
        assert len({side for found in sides for side in found}) > 10
        for batch, (side,) in zip(batches, sides, strict=True):
            assert all(int(samples.path(k).stem) >= side for k in batch)


def test_a_whole_image_trains_like_all_of_its_pixels(data: Path, tmp_path: Path, monkeypatch: Any) -> None:
    train(config_of(data={**RUN["data"], "queries": None}), data, tmp_path / "render")
    from arasfsr.coords import make_cell, make_coord
    from arasfsr.model import Encoding

    def by_coordinates(self: Encoding, size: tuple[int, int]) -> Tensor:
        out = self.query(make_coord(size).unsqueeze(0), make_cell(size))
        return out.view(-1, *size, 3).permute(0, 3, 1, 2)

    monkeypatch.setattr(Encoding, "render", by_coordinates)
    small = {"validation": {**RUN["validation"], "images": 1, "pairs": []}}
    train(config_of(data={**RUN["data"], "queries": None}, **small), data, tmp_path / "query")
    assert losses(tmp_path / "render") == pytest.approx(losses(tmp_path / "query"), rel=1e-5)


def test_accumulation_changes_only_rounding(data: Path, tmp_path: Path) -> None:
    for parts in (1, 2, 5):
        train(config_of(accumulate=parts, loss={"kl_weight": 0.1}), data, tmp_path / str(parts))
    assert losses(tmp_path / "2") == pytest.approx(losses(tmp_path / "1"), rel=1e-5)
    assert losses(tmp_path / "5") == pytest.approx(losses(tmp_path / "1"), rel=1e-5)


def test_with_inputs_of_one_size_a_budget_is_a_batch(data: Path, tmp_path: Path) -> None:
    one_size = {**RUN["data"], "lr_sizes": [6]}
    train(config_of(data=one_size), data, tmp_path / "batch")  # 5 samples of 64 queries
    budget = with_budget({**RUN, "data": one_size}, 5 * 6 * 6, 5 * 64)
    train(TrainConfig.model_validate(budget), data, tmp_path / "budget")
    assert losses(tmp_path / "budget") == losses(tmp_path / "batch")


def test_with_a_budget_accumulation_and_workers_change_only_rounding(data: Path, tmp_path: Path) -> None:
    config = with_budget(RUN, 5 * 8 * 8, 320)  # batches of 5 or 9
    train(TrainConfig.model_validate(config), data, tmp_path / "plain")
    changed = {**config, "accumulate": 2, "data": {**config["data"], "workers": 2}}
    train(TrainConfig.model_validate(changed), data, tmp_path / "parts")
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "plain"), rel=1e-5)


def test_a_budget_too_small_for_the_parts_is_an_error(data: Path, tmp_path: Path) -> None:
    message = (
        r"budget\.lr_pixels must give at least 3, processes \(1\) times accumulate \(3\), samples at LR side 8, "
        r"got \d+, which gives 2"
    )
    with pytest.raises(ArgumentError, match=message):
        train(TrainConfig.model_validate(with_budget({**RUN, "accumulate": 3}, 120, 320)), data, tmp_path / "run")


def test_augmented_samples_are_the_same_from_workers(data: Path, tmp_path: Path) -> None:
    changes = {**RUN["data"], "augment": {}}
    train(config_of(), data, tmp_path / "plain")
    train(config_of(data=changes), data, tmp_path / "one")
    train(config_of(data={**changes, "workers": 2}), data, tmp_path / "workers")
    assert losses(tmp_path / "workers") == losses(tmp_path / "one") != losses(tmp_path / "plain")


def test_bfloat16_is_close_to_float32_and_keeps_float32_parameters(data: Path, tmp_path: Path) -> None:
    for precision in ("float32", "bfloat16"):
        train(config_of(precision=precision), data, tmp_path / precision)
    exact, rounded = losses(tmp_path / "float32"), losses(tmp_path / "bfloat16")
    assert rounded == pytest.approx(exact, rel=0.05)
    assert rounded != exact
    assert {tensor.dtype for tensor in load_model(tmp_path / "bfloat16/model.safetensors").parameters()} == {
        torch.float32
    }


def test_gradients_are_clipped_to_the_configured_norm(data: Path, tmp_path: Path, monkeypatch: Any) -> None:
    norms = []
    step = torch.optim.Adam.step

    def note(self: torch.optim.Adam, *arguments: Any) -> Any:
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(torch.cat([gradient.flatten() for gradient in gradients]).norm().item())
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", note)
    train(config_of(clip=0.01, steps=2), data, tmp_path / "run")
    assert norms == pytest.approx([0.01, 0.01], rel=1e-3)


def test_a_run_resumes_with_other_parts_workers_and_logs(data: Path, tmp_path: Path) -> None:
    train(config_of(steps=1), data, tmp_path / "run")
    changed = config_of(steps=1, accumulate=2, log_every=7, data={**RUN["data"], "workers": 1})
    assert train(changed, data, tmp_path / "run", resume=True)["step"] == 1


def test_the_summary_has_time_last_and_best_validation(data: Path, tmp_path: Path) -> None:
    summary = train(config_of(), data, tmp_path / "run")
    found = {
        record["step"]: record["validation"] for record in records(tmp_path / "run")[:-1] if "validation" in record
    }
    assert summary["validation"] == {"step": 6, "scores": found[6]}
    best = max(found, key=lambda step: found[step]["8:16"]["psnr"])
    assert summary["best"] == {"step": best, "psnr": found[best]["8:16"]["psnr"]}
    assert summary["seconds"] > 0


# --- what ends it ------------------------------------------------------------------------------------------------


def test_a_non_finite_loss_names_the_files_of_a_batch_with_a_budget(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_module, "loss_of", lambda prediction, target, config: prediction.mean() * float("nan"))
    with pytest.raises(TrainingError, match=r"^step 1: the loss is nan") as caught:
        train(TrainConfig.model_validate(with_budget(RUN, 1, 64)), data, tmp_path / "run")  # one sample
    assert str(caught.value).count(".png") == 1


def test_a_non_finite_loss_stops_the_run_and_names_the_files(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss_of = step_module.loss_of
    calls: list[int] = []

    def poisoned(prediction: Tensor, target: Tensor, config: Any) -> Tensor:
        calls.append(0)
        return loss_of(prediction, target, config) * (float("nan") if len(calls) == 4 else 1)

    monkeypatch.setattr(step_module, "loss_of", poisoned)
    with pytest.raises(
        TrainingError, match=r"^step 4: the loss is nan, .* on .*\d\.png; the parameters have not changed"
    ) as caught:
        train(config_of(), data, tmp_path / "run")
    config = config_of()
    state = read_state(tmp_path / "run")
    assert state["step"] == 2
    assert all(torch.isfinite(tensor).all() for tensor in state["model"].values())
    load_model(tmp_path / "run" / "model.safetensors")
    images = [path for path in sorted(data.glob("*.png")) if path.name != "2.png"]  # held out
    samples = Samples([Photograph.of(path, Image.open(path)) for path in images], config.data, 5, 0, 30)
    assert all(str(samples.path(k)) in str(caught.value) for k in range(15, 20))


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Writing more than `size` bytes into a file fails, as on a full disk; pytest's own output too, so: briefly."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Run.save

    def fill(self: Run, folder: Path) -> None:
        with files_of_at_most(20_000) if self.step == 4 else nullcontext():
            save(self, folder)

    monkeypatch.setattr(Run, "save", fill)
    with pytest.raises(TrainingError, match=r"cannot write step 4: .*; the last checkpoint there is intact"):
        train(config_of(), data, tmp_path / "run")
    assert read_state(tmp_path / "run")["step"] == 2
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "last.ckpt", "log.jsonl", "log.txt", "model.safetensors"
    }  # fmt: skip


def test_a_first_checkpoint_that_cannot_be_written_is_not_offered_for_resuming(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Run.save

    def fill(self: Run, folder: Path) -> None:
        with files_of_at_most(20_000):
            save(self, folder)

    monkeypatch.setattr(Run, "save", fill)
    with pytest.raises(TrainingError, match=r"cannot write step 0: .*; it has no checkpoint to continue from$"):
        train(config_of(), data, tmp_path / "run")


def test_a_log_that_cannot_be_written_stops_the_run(data: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.txt").symlink_to("/dev/full")
    with pytest.raises(TrainingError, match="cannot write the log: No space left on device"):
        train(config_of(), data, tmp_path / "run")
    assert read_state(tmp_path / "run")["step"] == 0


def test_a_folder_that_cannot_be_written_is_an_error_before_any_step(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"file/run cannot be written: Not a directory; choose another --output"):
        train(config_of(), data, tmp_path / "file" / "run")


def test_the_command_ends_with_1_and_one_line(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_module, "loss_of", lambda prediction, target, config: prediction.mean() * float("inf"))
    (tmp_path / "run.yaml").write_text(json.dumps(RUN))
    arguments = ["train", str(tmp_path / "run.yaml"), "--data", str(data), "-o", str(tmp_path / "run")]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 1
    assert result.stderr.count("arasfsr: step 1: the loss is") == 1


def test_the_command_changes_entries(data: Path, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(json.dumps(RUN))
    arguments = ["train", str(tmp_path / "run.yaml"), "--data", str(data), "-o", str(tmp_path / "run")]
    assert CliRunner().invoke(cli.app, [*arguments, "--set", "steps=1", "--set", "ema=0.5"]).exit_code == 0
    assert read_state(tmp_path / "run")["step"] == 1
    assert json.loads(read_state(tmp_path / "run")["config"])["ema"] == 0.5


# --- images that do not fit into memory ------------------------------------------------------------------------


def test_images_beyond_the_memory_limit_are_read_again_and_give_the_same_run(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(config_of(), data, tmp_path / "kept")
    some = {**RUN["data"], "memory": 3 * 26 * 28 * 2 / 1e9}  # for two or three of the five
    with caplog.at_level("INFO"):
        train(config_of(data=some), data, tmp_path / "some")
    assert "images are read again whenever they are drawn" in caplog.text
    train(config_of(data={**some, "memory": 0, "workers": 2}), data, tmp_path / "none")
    assert losses(tmp_path / "kept") == losses(tmp_path / "some") == losses(tmp_path / "none")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: Image.new("RGB", (24, 28)).save(path), "has changed since the run began"),
        (lambda path: path.unlink(), "it could be read when the run began"),
    ],
)
def test_images_that_change_during_a_run_stop_it_by_name(
    workers: int, change: Any, message: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Run.save

    def changing(self: Run, folder: Path) -> None:
        save(self, folder)
        if self.step == 0:
            for path in data.glob("*.png"):
                change(path)

    monkeypatch.setattr(Run, "save", changing)
    with pytest.raises(TrainingError, match=rf"^\S*\d\.png\S* .*{message}; the last checkpoint in \S+ is kept$"):
        train(config_of(data={**RUN["data"], "memory": 0, "workers": workers}), data, tmp_path / "run")
    assert read_state(tmp_path / "run")["step"] == 0


def test_a_resumed_run_sees_that_an_image_has_other_pixels(data: Path, tmp_path: Path) -> None:
    train(config_of(steps=2), data, tmp_path / "run")
    Image.new("RGB", (24, 28)).save(data / "0.png")
    with pytest.raises(CheckpointError, match=r"other images \(1 missing: 0\.png 24x28 \w{8}; 1 new: 0\.png"):
        train(config_of(steps=2), data, tmp_path / "run", resume=True)


# --- TensorBoard -------------------------------------------------------------------------------------------------


def test_tensorboard_is_off_by_default_and_has_losses_and_scores(data: Path, tmp_path: Path) -> None:
    train(config_of(), data, tmp_path / "off")
    assert not (tmp_path / "off" / "tensorboard").exists()
    train(config_of(tensorboard=True), data, tmp_path / "on")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "on" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("training/loss")] == [1, 2, 3, 4, 5, 6]
    assert [event.value for event in events.Scalars("training/loss")] == pytest.approx(
        list(losses(tmp_path / "on").values())
    )
    assert [event.step for event in events.Scalars("validation/8 to 16")] == [4, 6]


def test_without_tensorboard_the_extra_is_named(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match=r"TensorBoard is not installed: pip install \"arasfsr\[tensorboard\]\""):
        train(config_of(tensorboard=True), data, tmp_path / "run")
    monkeypatch.undo()
    train(config_of(), data, tmp_path / "run")  # the folder holds no run


def test_a_first_checkpoint_that_cannot_be_written_leaves_no_run(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"cannot write step 0"), files_of_at_most(20_000):
        train(config_of(), data, tmp_path / "run")
    assert [*(tmp_path / "run").iterdir()] == []
