"""The configuration of a training run: what is read, and how mistakes are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from arasfsr import ArgumentError
from arasfsr.training.config import TrainConfig, load_config


def test_a_bad_configuration_names_file_and_entries(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("steps: 0\nmodle: {}\ndata: {scale: [4, 1]}\n")
    with pytest.raises(ValueError, match=r"run\.yaml") as caught:
        load_config(path)
    assert all(name in str(caught.value) for name in ("steps", "modle", "data.scale"))


def test_changes_replace_entries_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("steps: 100\ndata: {workers: 2, flip: false}\n")
    config = load_config(path, ["steps=3", "data.workers=4", "model.frequency=null", "loss.epsilon=1e-2"])
    assert (config.steps, config.data.workers, config.data.flip) == (3, 4, False)
    assert (config.model.frequency, config.loss.epsilon) == (None, 0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("steps", "a change must be ENTRY=VALUE, such as data.workers=4, got 'steps'"),
        ("steps=[", "a change must be ENTRY=VALUE, such as data.workers=4, got 'steps=\\['"),
        ("steps=2026-13-45", "a change must be ENTRY=VALUE, such as data.workers=4, got 'steps=2026-13-45'"),
        ("steps.x=1", "steps.x cannot be set: steps has no entries"),
        ("steps.x.y=1", "steps.x.y cannot be set: steps.x has no entries"),
        ("stps=1", "stps: unknown entry; known are model, data"),
        ("steps=0", "steps: Input should be greater than or equal to 1, got 0"),
    ],
)
def test_a_bad_change_is_named(change: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("steps: 100\n")
    with pytest.raises(ValueError, match=message):
        load_config(tmp_path / "run.yaml", [change])


@pytest.mark.parametrize(
    ("entries", "given"),
    [
        ("batch: 16", "batch: 16"),
        ("data: {queries: null}", "data.queries: null"),
        ("batch: 3\ndata: {queries: 5}", "batch: 3, data.queries: 5"),
    ],
)
def test_a_budget_is_not_given_with_what_it_replaces(entries: str, given: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"budget: {{lr_pixels: 4096}}\n{entries}\n")
    with pytest.raises(ArgumentError) as caught:
        load_config(path)
    message = "batch and data.queries must not be given with budget, which replaces them: remove"
    assert str(caught.value) == f"{path}: {message} {given}"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("rotation: 60", "rotation: Input should be less than or equal to 45, got 60"),
        ("zoom: [1.1, 0.9]", r"zoom: .*must be \[low, high\] with low <= high, got \[1.1, 0.9\]"),
        ("shift: 0.6", "shift: Input should be less than or equal to 0.5, got 0.6"),
        ("blur: 1", "blur: unknown entry; known are probability, rotation, zoom, shift, brightness, contrast$"),
    ],
)
def test_a_bad_augmentation_is_named(entry: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(f"data: {{augment: {{{entry}}}}}")
    with pytest.raises(ArgumentError, match=rf"run\.yaml: data\.augment\.{message}"):
        load_config(tmp_path / "run.yaml")


def test_a_dump_of_a_configuration_is_a_configuration() -> None:
    for config in (TrainConfig(), TrainConfig.model_validate({"budget": {"queries": 100}, "data": {"flip": False}})):
        assert TrainConfig.model_validate_json(config.model_dump_json()) == config
        assert TrainConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize("content", [b"\x89PNG\r\n", b"steps: [1"])
def test_a_file_that_is_not_yaml_is_refused_as_such(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(content)
    with pytest.raises(ArgumentError, match=r"run\.yaml: not a YAML file: "):
        load_config(tmp_path / "run.yaml")


def test_an_unknown_entry_is_named_with_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("modle: {}\nmodel: {frequency: {chanels: 8}}\noptimizer: {rate: 1}\n")
    with pytest.raises(ValueError, match=r"run\.yaml") as caught:
        load_config(path)
    parts = str(caught.value).split("; ")
    assert f"{path}: model.frequency.chanels: unknown entry" in parts
    assert "known are channels, width, blocks" in parts
    assert "known are name, lr, betas, weight_decay, schedule, warmup, milestones" in parts
    assert any(part.startswith("known are model, data, optimizer") for part in parts)


@pytest.mark.parametrize(
    "entry",
    [
        {"validation": {"pairs": [[0, 4]]}},
        {"validation": {"pairs": [[64, -16]]}},
        {"data": {"scale": [-1, 2]}},
        {"data": {"scale": [float("nan"), 2]}},
        {"data": {"patch": [0.5, 3]}},
        {"data": {"size_exponent": float("inf")}},
        {"optimizer": {"betas": [0.9, 1.5]}},
        {"optimizer": {"milestones": [2]}},
        {"optimizer": {"lr": float("inf")}},
        {"seed": 10**23},
    ],
)
def test_an_entry_out_of_range_is_named(entry: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(entry))
    [(section, value)] = entry.items()
    name = f"{section}.{next(iter(value))}" if isinstance(value, dict) else section
    with pytest.raises(ArgumentError, match=rf"run.yaml: {name}.*, got "):
        load_config(tmp_path / "run.yaml")
