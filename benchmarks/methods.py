"""The paper's methods compared: the same encoder, data, loss, optimizer, steps and seed, another decoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from arasfsr import load_model
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
    """The training of a method, of as many steps as configured or given."""
    content = load_config(CONFIG).model_dump(mode="json")
    ours, change = content["model"]["decoder"], CHANGES[method]
    theirs = change.get("decoder", {})
    decoder = {"width": ours["width"], **theirs} if "name" in theirs else {**ours, **theirs}
    model = {**content["model"], **change, "decoder": decoder}
    return TrainConfig.model_validate({**content, "model": model, "steps": steps or content["steps"]})


def compare(data: Path, images: Path, runs: Path, device: str = "cpu", steps: int | None = None) -> dict[str, Any]:
    """Train every method on `data`, or finish its training, and score it, and bicubic, on `images`.

    Returns what `arasfsr eval --json` writes, and `training`: steps, batch and numbers of images.
    """
    models, used = {}, {}
    for method in CHANGES:
        config, folder = config_of(method, steps), runs / method.replace(" ", "-").lower()
        count = train(config, data, folder, resume=(folder / STATE).is_file(), device=device)["images"]
        models[method] = load_model(folder / MODEL, device)
        used = {"steps": config.steps, "batch": config.batch, "images": count, "held_out": config.validation.images}
    scores = evaluate(models, images, own_pairs(parse_pairs(PAIRS), "bic"), "y-float")
    return {**json.loads(to_json(scores)), "training": used}
