"""The paper's methods beside one another: the same encoder, data, loss, optimizer, steps and seed, another decoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from arasfsr import ImplicitSR, load_model
from arasfsr.evaluation import evaluate, own_pairs, parse_pairs, to_json
from arasfsr.training.config import TrainConfig, load_config
from arasfsr.training.loop import train
from arasfsr.training.state import MODEL, STATE
from benchmarks.results import RESULTS, ROOT

CONFIG = ROOT / "configs" / "comparison.yaml"
METHODS_FILE = RESULTS / "quality" / "methods.json"
PAIRS = "64:256,32:256,16:128,64:211"

CHANGES: dict[str, dict[str, Any]] = {
    "ARASFSR": {},
    "without frequency": {"frequency": None},
    "without modulation": {"decoder": {"modulated": False}},
    "without skip": {"skip": False},
    "LIIF": {"frequency": None, "decoder": {"modulated": False}, "skip": False},
    "LTE": {"frequency": None, "decoder": {"name": "lte", "layers": 3, "waves": 96}},
    "DIINN": {"frequency": None, "decoder": {"name": "diinn", "layers": 4}, "skip": False},
}
"""Every method, by what of ARASFSR's model it has otherwise; of a decoder of another kind, all but the width."""


def config_of(method: str, steps: int | None = None) -> TrainConfig:
    """The training of a method, of as many steps as configured or as told."""
    content = load_config(CONFIG).model_dump(mode="json")
    ours, change = content["model"]["decoder"], CHANGES[method]
    theirs = change.get("decoder", {})
    decoder = {"width": ours["width"], **theirs} if "name" in theirs else {**ours, **theirs}
    model = {**content["model"], **change, "decoder": decoder}
    return TrainConfig.model_validate({**content, "model": model, "steps": steps or content["steps"]})


def learn(method: str, data: Path, runs: Path, device: str, steps: int | None) -> tuple[ImplicitSR, dict[str, int]]:
    """Train a method, or finish its training; its model, and what it was trained on."""
    config, folder = config_of(method, steps), runs / method.replace(" ", "-").lower()
    images = train(config, data, folder, resume=(folder / STATE).is_file(), device=device)["images"]
    used = {"steps": config.steps, "batch": config.batch, "images": images, "held_out": config.validation.images}
    return load_model(folder / MODEL, device), used


def compare(data: Path, images: Path, runs: Path, device: str = "cpu", steps: int | None = None) -> dict[str, Any]:
    """Train every method on `data` and score it, and bicubic, on `images`: what `arasfsr eval --json` writes, and
    `training`, by what means."""
    learnt = {name: learn(name, data, runs, device, steps) for name in CHANGES}
    models = {name: model for name, (model, _) in learnt.items()}
    found: dict[str, Any] = json.loads(
        to_json(evaluate(models, images, own_pairs(parse_pairs(PAIRS), "bic"), "y-float"))
    )
    return found | {"training": learnt["ARASFSR"][1]}
