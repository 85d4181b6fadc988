"""Scores: the paper's methods trained alike, and the tables of them and of the bundled models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pandas import DataFrame, Series
from safetensors.torch import load_file

from arasfsr import load_model
from arasfsr.evaluation import evaluate, own_pairs, parse_pairs, to_json
from arasfsr.training.config import TrainConfig, load_config
from arasfsr.training.loop import train
from arasfsr.training.state import STATE
from benchmarks.bars import SQUARE
from benchmarks.results import RESULTS, ROOT, load, read_rows
from benchmarks.tables import markdown, seconds
from tools import machines

CONFIG = ROOT / "configs" / "comparison.yaml"
METHODS_FILE = RESULTS / "quality" / "methods.json"
BUNDLED, REAL = RESULTS / "quality" / "bundled-y-float.json", RESULTS / "quality" / "real.json"
MODELS_PAGE = ROOT / "docs" / "models.md"
PAIRS = "64:256,32:256,16:128,64:211"

MODELS = {
    "tiny": (replace(SQUARE, model="tiny"), "the default; fast on CPUs"),
    "edsr": (SQUARE, "the paper's size; the best scores"),
}
"""The bundled models: a case with a decoder of their size, and what they are for."""

CHANGES: dict[str, dict[str, Any]] = {
    "ARASFSR": {},
    "without frequency": {"frequency": None},
    "without modulation": {"decoder": {"modulated": False}},
    "without skip": {"skip": False},
    "LIIF": {"frequency": None, "decoder": {"modulated": False}, "skip": False},
    "LTE": {"frequency": None, "decoder": {"name": "lte", "layers": 3, "waves": 96}},
    "DIINN": {"frequency": None, "decoder": {"name": "diinn", "layers": 4}, "skip": False},
}
"""By method, what differs from ARASFSR's model; of a decoder of another kind, everything but the width."""


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
        models[method] = load_model(folder, device)
        used = {"steps": config.steps, "batch": config.batch, "images": count, "held_out": config.validation.images}
    scores = evaluate(models, images, own_pairs(parse_pairs(PAIRS), "bic"), "y-float")
    return {**json.loads(to_json(scores)), "training": used}


def _scores(score: Mapping[str, float]) -> str:
    return f"{score['psnr']:.2f} / {score['ssim']:.4f}"


def _protocol(content: Mapping[str, Any]) -> str:
    return f"protocol `{content['protocol']}`, degradation `{content['degradation']}`, PSNR in dB / SSIM:"


def _gain(pair: Mapping[str, Any], model: str, peer: str = "bicubic") -> float:
    return float(pair["mean"][model]["psnr"] - pair["mean"][peer]["psnr"])


def models_section(start: Path) -> str:
    """A row for each bundled model: its size, its gains over bicubic, the decoder's time on the newest CPU."""
    path = machines.newest(gpu=False)
    rows, content, measured = [], load(BUNDLED), {} if path is None else read_rows(path)
    for model, (case, purpose) in MODELS.items():
        parameters, size = _size(model)
        row = {"model": f"`{model}`", "parameters": f"{parameters:,}", "file": size}
        for pair in content["pairs"][:2]:
            row[f"{pair['lr']} to {pair['hr']}"] = f"{_gain(pair, model):+.2f} dB"
        if found := measured.get(f"{case.name} tiled"):
            row["time"] = seconds(found["quartiles_s"][1])
        rows.append(row | {"for": purpose})
    told = f"Gains in PSNR over bicubic on {content['pairs'][0]['images']} faces shrunk by bicubic interpolation"
    if path is not None:
        told += f"; time of the decoder from 64 x 64 to 256 x 256 on {machines.device(path)}, {SQUARE.dtype}"
    return f"{markdown(rows, list(rows[0])[1:-1])}\n\n{told}. More: {machines.link('models', MODELS_PAGE, start)}."


def quality_section() -> str:
    """The bundled models beside bicubic, their sizes, and what they gain and lose in the paper's suites."""
    content, rows = load(BUNDLED), []
    for pair in content["pairs"]:
        mean = pair["mean"]
        row = {"input to output": f"{pair['lr']} to {pair['hr']}", "images": pair["images"]}
        rows.append(row | {"bicubic": _scores(mean["bicubic"])})
        for model in MODELS:
            rows[-1] |= {f"`{model}`": _scores(mean[model]), f"gain of `{model}`": f"**{_gain(pair, model):+.2f} dB**"}
    lines = "\n".join(map(_model_line, MODELS))
    table = f"P{_protocol(content)[1:]}\n\n{markdown(rows, list(rows[0])[1:])}\n\n{lines}"
    found = {path.stem[6:]: load(path)["pairs"] for path in sorted(BUNDLED.parent.glob("suite-*.json"))}
    gains = [_gain(pair, "edsr", "tiny") for pairs in found.values() for pair in pairs]
    suites = ", ".join(f"`{name}`" for name in found)
    better = (
        f"In the {len(gains)} pairs of the suites {suites} (protocol `y-float`), the PSNR of `edsr` is "
        f"{min(gains):.2f} to {max(gains):.2f} dB higher than that of `tiny`."
    )
    losses = [-_gain(pair, model) for pair in load(REAL)["pairs"] for model in MODELS]
    worse = f"In the suite `real`, both are {min(losses):.1f} to {max(losses):.1f} dB below bicubic."
    return "\n\n".join([table, f"{better} {worse}"])


def _size(model: str) -> tuple[int, str]:
    """Parameters of a bundled model, and the size of its file."""
    path = ROOT / f"arasfsr/weights/{model}.safetensors"
    parameters = sum(tensor.numel() for tensor in load_file(path).values())
    return parameters, f"{path.stat().st_size / 1e6:.1f} MB"


def _model_line(model: str) -> str:
    """A bundled model's size, and, where its training's log is committed, what that took."""
    log = RESULTS / f"quality/{model}-training.jsonl"
    parameters, size = _size(model)
    line = f"- `{model}`: {parameters:,} parameters, {size}"
    if log.is_file():
        last = json.loads(log.read_text().splitlines()[-1])
        line += f"; trained for {last['step']:,} steps on {last['images']:,} images, "
        line += f"{last['seconds'] / 60:.0f} minutes on two CPU cores"
    return line


def methods_section() -> str:
    """A row for each of the paper's methods, a column for each pair; the best of a column is bold."""
    if not METHODS_FILE.is_file():
        return machines.NONE
    content = load(METHODS_FILE)
    pairs, used, table = content["pairs"], content["training"], DataFrame({"method": content["methods"]})
    for pair in pairs:
        scores = Series(pair["mean"])[content["methods"]]
        best = f"{max(score['psnr'] for score in scores):.2f}"
        column = scores.map(_scores).str.replace(f"{best} ", f"**{best}** ", regex=False)
        table[f"{pair['lr']} to {pair['hr']}"] = column.to_numpy()
    return (
        f"{used['steps']:,} steps of {used['batch']} samples on {used['images']:,} images; scored on "
        f"{pairs[0]['images']} others, {_protocol(content)}\n\n{markdown(table, list(table.columns)[1:])}"
    )
