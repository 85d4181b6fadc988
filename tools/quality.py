"""Scores: the paper's methods trained with equal means, another decoder each, and the README's tables of models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pandas import DataFrame, Series
from safetensors.torch import load_file

from arasfsr import load_model
from arasfsr.evaluation import evaluate, own_pairs, parse_pairs, to_json
from arasfsr.training.config import TrainConfig, load_config
from arasfsr.training.loop import train
from arasfsr.training.state import MODEL, STATE
from benchmarks.results import RESULTS, ROOT, load
from benchmarks.tables import markdown

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


def _scores(score: Mapping[str, float]) -> str:
    return f"{score['psnr']:.2f} / {score['ssim']:.4f}"


def _protocol(content: Mapping[str, Any]) -> str:
    return f"protocol `{content['protocol']}`, degradation `{content['degradation']}`, PSNR in dB / SSIM:"


def quality_tables() -> str:
    """One table a protocol: the bundled models beside bicubic."""
    parts = []
    for path in sorted((RESULTS / "quality").glob("bundled-*.json")):
        content, rows = load(path), []
        models = [method for method in content["methods"] if method != "bicubic"]
        for pair in content["pairs"]:
            mean, bicubic = pair["mean"], pair["mean"]["bicubic"]
            row = {"input to output": f"{pair['lr']} to {pair['hr']}", "images": pair["images"]}
            rows.append(row | {"bicubic": _scores(bicubic)})
            for model in models:
                gain = f"**{mean[model]['psnr'] - bicubic['psnr']:+.2f} dB**"
                rows[-1] |= {f"`{model}`": _scores(mean[model]), f"gain of `{model}`": gain}
        lines = "\n".join(map(_model_line, models))
        parts.append(f"P{_protocol(content)[1:]}\n\n{markdown(rows, list(rows[0])[1:])}\n\n{lines}")
    found = {path.stem: load(path)["pairs"] for path in sorted((RESULTS / "quality").glob("suite-*.json"))}
    gains = [pair["mean"]["edsr"]["psnr"] - pair["mean"]["tiny"]["psnr"] for pairs in found.values() for pair in pairs]
    where = f"the {len(gains)} pairs of the suites {', '.join(f'`{name[6:]}`' for name in found)} (protocol `y-float`)"
    return "\n\n".join([*parts, f"In {where} `edsr` is {min(gains):+.2f} to {max(gains):+.2f} dB above `tiny`."])


def _model_line(model: str) -> str:
    """What a bundled model is, and, where its training's log is committed, what that took."""
    path, log = ROOT / f"arasfsr/weights/{model}.safetensors", RESULTS / f"quality/{model}-training.jsonl"
    parameters = sum(tensor.numel() for tensor in load_file(path).values())
    line = f"- `{model}`: {parameters:,} parameters, {path.stat().st_size / 1e6:.1f} MB"
    if log.is_file():
        last = json.loads(log.read_text().splitlines()[-1])
        minutes = f"{last['seconds'] / 60:.0f} minutes of two CPU cores"
        line += f", {last['step']:,} steps on {last['images']:,} images in {minutes}"
    return line


def methods_table() -> str:
    """The paper's methods, trained with equal means: a line each, a column a pair; the best of a column stands out."""
    if not METHODS_FILE.is_file():
        return "No comparison is committed yet."
    content = load(METHODS_FILE)
    pairs, used, table = content["pairs"], content["training"], DataFrame({"method": content["methods"]})
    for pair in pairs:
        scores = Series(pair["mean"])[content["methods"]]
        best = f"{max(score['psnr'] for score in scores):.2f}"
        column = scores.map(_scores).str.replace(f"{best} ", f"**{best}** ", regex=False)
        table[f"{pair['lr']} to {pair['hr']}"] = column.to_numpy()
    return (
        f"{used['steps']:,} steps of {used['batch']} samples each, on {used['images']:,} images; scored on "
        f"{pairs[0]['images']} others, {_protocol(content)}\n\n{markdown(table, list(table.columns)[1:])}"
    )
