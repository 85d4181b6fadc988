"""Scores of the bundled models: their tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from benchmarks.bars import SQUARE
from benchmarks.results import RESULTS, ROOT, load, read_rows
from benchmarks.tables import markdown, seconds
from tools import machines

BUNDLED, REAL = RESULTS / "quality" / "bundled-y-float.json", RESULTS / "quality" / "real.json"
MODELS_PAGE = ROOT / "docs" / "models.md"

MODELS = {
    "tiny": (replace(SQUARE, model="tiny"), "the default; fast on CPUs"),
    "edsr": (SQUARE, "the paper's size; the best scores"),
}
"""The bundled models: a case with a decoder of their size, and what they are for."""


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
    """A bundled model's size, and, where its training's logs are committed, one for each stage, what that took."""
    parameters, size = _size(model)
    line = f"- `{model}`: {parameters:,} parameters, {size}"
    logs = sorted((RESULTS / "quality").glob(f"{model}-training-*.jsonl"))
    if stages := [json.loads(log.read_text().splitlines()[-1]) for log in logs]:
        steps = " + ".join(f"{stage['step']:,}" for stage in stages)
        minutes = sum(stage["seconds"] for stage in stages) / 60
        line += f"; trained for {steps} steps on {stages[-1]['images']:,} images, "
        line += f"{minutes:.0f} minutes on two CPU cores"
    return line
