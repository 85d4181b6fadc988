"""An evaluation for programs: JSON with every image's scores, and CSV with the means."""

from __future__ import annotations

import csv
import io
import json
import math
from importlib.metadata import version
from typing import Any

from arasfsr import __version__
from arasfsr.degrade import DEGRADATIONS
from arasfsr.evaluation.bootstrap import CONFIDENCE, RESAMPLES, SEED
from arasfsr.evaluation.results import Evaluation, Mean, RowResult
from arasfsr.evaluation.tables import describe, scaling
from arasfsr.metrics import PROTOCOL_TEXT, Score

CSV_FACTS = [
    "suite",
    "asked",
    "lr",
    "hr",
    "images",
    "left_out",
    "degradation",
    "protocol",
    "scaling",
    "targets",
    "method",
]
"""First columns of the CSV; then come, for each metric, its mean and its gain over bicubic with their intervals."""


def to_csv(evaluation: Evaluation) -> str:
    """A line for each pair and method; what was not measured or is not finite is empty, but for infinite means."""
    columns = [
        f"{metric}{part}"
        for metric in Score._fields
        for part in ("", "_low", "_high", "_gain", "_gain_low", "_gain_high")
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*CSV_FACTS, *columns], restval="", lineterminator="\n")
    writer.writeheader()
    targets = dict(describe(evaluation))["targets"]
    for result in evaluation.rows:
        facts = {
            "suite": evaluation.suite.name,
            "asked": " ".join(map(str, result.row.asked)),
            **result.row.pair._asdict(),
            "images": len(result.images),
            "left_out": result.too_small,
            "degradation": evaluation.suite.degradation,
            "protocol": evaluation.protocol,
            "scaling": scaling(evaluation),
            "targets": targets,
        }
        for method, metrics in result.summaries.items():
            numbers: dict[str, float] = {}
            for metric, summary in metrics.items():
                told = zip(("", "_low", "_high"), summary.value, strict=True)
                gains = zip(("_gain", "_gain_low", "_gain_high"), summary.gain, strict=True)
                numbers.update((f"{metric}{part}", number) for part, number in (*told, *gains))
            writer.writerow({**facts, "method": method, **{k: v for k, v in numbers.items() if not math.isnan(v)}})
    return text.getvalue()


def to_json(evaluation: Evaluation) -> str:
    """Everything of an evaluation, every image's scores and the versions that made them, as JSON.

    JSON has no infinity: the PSNR of equal pictures is the string "Infinity", which `float` takes; likewise "NaN".
    Intervals that do not exist are null.
    """
    suite = evaluation.suite
    facts = {
        "data": str(evaluation.folder),
        "images": evaluation.images,
        "smallest_image": {"path": evaluation.smallest[0], "shorter_side": evaluation.smallest[1]},
        "suite": suite.name or None,
        "scaling": scaling(evaluation),
        "description": [f"{name}: {fact}" for name, fact in describe(evaluation)],
        "protocol": evaluation.protocol,
        "protocol_text": PROTOCOL_TEXT[evaluation.protocol],
        "degradation": suite.degradation,
        "degradation_text": DEGRADATIONS[suite.degradation].text,
        "inputs_made_of": "original" if suite.fitted else "target",
        "bootstrap": {"resamples": RESAMPLES, "seed": SEED, "confidence": CONFIDENCE},
        "methods": evaluation.methods,
        "modules": {name: list(modules) for name, modules in evaluation.models.items()},
        "backend": evaluation.backend,
        "dtype": evaluation.dtype,
        "versions": versions(),
        "broken": [str(path) for path in evaluation.broken],
        "pairs": [_row_facts(result) for result in evaluation.rows],
    }
    return json.dumps(facts, indent=1, allow_nan=False) + "\n"


def _row_facts(result: RowResult) -> dict[str, Any]:
    summaries = result.summaries.items()
    return {
        "lr": result.row.pair.lr,
        "hr": result.row.pair.hr,
        "asked": [str(pair) for pair in result.row.asked],
        "images": len(result.images),
        "too_small": result.too_small,
        "mean": {
            method: {name: _json_number(summary.value.mean) for name, summary in metrics.items()}
            for method, metrics in summaries
            if metrics
        },
        "interval": {
            method: {name: _interval(summary.value) for name, summary in metrics.items()}
            for method, metrics in summaries
            if metrics
        },
        "gain": {
            method: {
                name: {"mean": _json_number(summary.gain.mean), "interval": _interval(summary.gain)}
                for name, summary in metrics.items()
            }
            for method, metrics in list(summaries)[1:]
            if metrics
        },
        "scores": {
            image: {method: _score_facts(scores[i]) for method, scores in result.scores.items()}
            for i, image in enumerate(result.images)
        },
    }


def _score_facts(score: Score) -> dict[str, float | str]:
    return {name: _json_number(value) for name, value in score._asdict().items() if value is not None}


def _interval(mean: Mean) -> list[float] | None:
    return None if math.isnan(mean.low) else [mean.low, mean.high]


def _json_number(number: float) -> float | str:
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def versions() -> dict[str, str]:
    """Versions of what decides the scores."""
    return {"arasfsr": __version__, **{name: version(name) for name in ("torch", "numpy", "pillow")}}
