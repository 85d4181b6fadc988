"""Reports of an evaluation: a description, and its scores as terminal tables, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from rich.table import Table
from rich.text import Text

from arasfsr import __version__
from arasfsr.evaluation.metrics import PROTOCOL_TEXT, Score
from arasfsr.evaluation.results import BASELINE, CONFIDENCE, RESAMPLES, SEED, Evaluation, Mean, RowResult
from arasfsr.images.transform import DEGRADATIONS

DIGITS = {"psnr": 2, "ssim": 4, "lpips": 4}
"""Decimals of each metric."""

TITLES = {
    "psnr": "PSNR in dB, higher is better",
    "ssim": "SSIM, higher is better",
    "lpips": "LPIPS 0.1 with VGG-16, lower is better",
}

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
"""First columns of the CSV; each metric's mean and gain over bicubic with their intervals follow."""


def to_table(evaluation: Evaluation, metric: str) -> Table:
    """One metric's table for a terminal."""
    header, rows = _table_cells(evaluation, metric)
    table = Table(title=Text(TITLES[metric]), title_justify="left", show_lines=True)
    for title in header:
        table.add_column(Text(title), justify="right", overflow="fold")
    for row in rows:
        table.add_row(*(Text("\n".join(cell)) for cell in row))
    return table


def to_markdown(evaluation: Evaluation) -> str:
    """The description as a list, then a table per metric."""
    lines = [f"- {name}: {fact}" for name, fact in describe(evaluation)]
    for metric in evaluation.metrics:
        header, rows = _table_cells(evaluation, metric)
        lines += ["", f"{TITLES[metric]}:", "", _markdown_row(header), _markdown_row(["---:"] * len(header))]
        lines += [_markdown_row([" ".join(cell) for cell in row]) for row in rows]
    return "\n".join(lines) + "\n"


def to_csv(evaluation: Evaluation) -> str:
    """A line per pair and method. A value that was not measured is empty, and so is a NaN."""
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
            "scaling": _scaling(evaluation),
            "targets": targets,
        }
        for method, metrics in result.summaries.items():
            numbers: dict[str, float] = {}
            for metric, summary in metrics.items():
                values = zip(("", "_low", "_high"), summary.value, strict=True)
                gains = zip(("_gain", "_gain_low", "_gain_high"), summary.gain, strict=True)
                numbers.update((f"{metric}{part}", number) for part, number in (*values, *gains))
            writer.writerow({**facts, "method": method, **{k: v for k, v in numbers.items() if not math.isnan(v)}})
    return text.getvalue()


def to_json(evaluation: Evaluation) -> str:
    """Everything about an evaluation as JSON: every image's scores, and the versions of the packages used.

    JSON has no infinity: the PSNR of equal pictures is the string "Infinity", which `float` accepts; likewise "NaN".
    Intervals that do not exist are null.
    """
    suite = evaluation.suite
    facts = {
        "data": str(evaluation.folder),
        "images": evaluation.images,
        "smallest_image": {"path": evaluation.smallest[0], "shorter_side": evaluation.smallest[1]},
        "suite": suite.name or None,
        "scaling": _scaling(evaluation),
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
        "versions": {"arasfsr": __version__, **{name: version(name) for name in ("torch", "numpy", "pillow")}},
        "broken": [str(path) for path in evaluation.broken],
        "pairs": [_row_facts(result) for result in evaluation.rows],
    }
    return json.dumps(facts, indent=1, allow_nan=False) + "\n"


def row_line(result: RowResult) -> str:
    """One row's means as a line of text."""
    parts = []
    for method, metrics in result.summaries.items():
        scores = [f"{summary.value.mean:.{DIGITS[name]}f}" for name, summary in metrics.items()]
        gain = metrics["psnr"].gain.mean if metrics else math.nan
        parts.append(f"{method} {' / '.join(scores) or '-'}")
        if method != BASELINE and math.isfinite(gain):
            parts[-1] += f" ({gain:+.2f})"
    return f"{result.row}  {len(result.images)} images, {result.too_small} left out  {'  '.join(parts)}"


def describe(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What was compared and how, as (name, text)."""
    suite = evaluation.suite
    source = "the image's largest square" if suite.fitted else "the target"
    facts = [
        ("data", f"{evaluation.folder}: {evaluation.images} images"),
        ("suite", suite.name or "none, pairs as given"),
        ("scaling", _scaling(evaluation)),
        ("targets", "the image's largest square, in its middle, brought to HR x HR by Pillow's bicubic"),
        ("degradation", f"{suite.degradation}: {DEGRADATIONS[suite.degradation].text}; made from {source}"),
        ("protocol", f"{evaluation.protocol}: {PROTOCOL_TEXT[evaluation.protocol]}"),
    ]
    if "lpips" in evaluation.metrics:
        facts.append(("lpips", "version 0.1 with VGG-16, of RGB of uint8 pictures, whatever the protocol"))
    if suite.by_module:
        facts += [("model", f"{name}: {', '.join(there) or 'no module'}") for name, there in evaluation.models.items()]
    facts.append(
        (
            "scores",
            f"means over images; in square brackets {CONFIDENCE:.0%} bootstrap intervals ({RESAMPLES} resamples of "
            f"the images, percentiles, seed {SEED}); in round ones the gain over {BASELINE}, image by image, with "
            "its own interval",
        )
    )
    return facts


def _scaling(evaluation: Evaluation) -> str:
    """Which pairs were shrunk, and why."""
    name, side = evaluation.smallest
    if not evaluation.suite.fitted:
        return "none; of each pair, images whose shorter side is below HR are left out"
    rows = [result.row for result in evaluation.rows]
    shrunk = [f"{pair} to {row.pair}" for row in rows for pair in row.asked if pair != row.pair]
    if not shrunk:
        return f"none; every target fits into the smallest image ({name}, shorter side {side})"
    return (
        f"pairs with a target larger than the smallest image ({name}, shorter side {side}) are shrunk to that target, "
        f"their scale kept: {', '.join(shrunk)}"
    )


def _table_cells(evaluation: Evaluation, metric: str) -> tuple[list[str], list[list[list[str]]]]:
    """Header and rows of one metric's table; a cell is a list of lines."""
    header = ["LR:HR", "images", "left out", *evaluation.methods]
    rows = [
        [
            [str(result.row)],
            [str(len(result.images))],
            [str(result.too_small)],
            *(_score_cell(result, method, metric) for method in evaluation.methods),
        ]
        for result in evaluation.rows
    ]
    return header, rows


def _score_cell(result: RowResult, method: str, metric: str) -> list[str]:
    """Mean and interval and, for a model, gain and interval; a dash without images."""
    summary = result.summaries[method].get(metric)
    if summary is None:
        return ["-"]
    digits = DIGITS[metric]
    lines = [_with_interval(summary.value, f".{digits}f")]
    if method != BASELINE and math.isfinite(summary.gain.mean):
        lines.append(f"({_with_interval(summary.gain, f'+.{digits}f')})")
    return lines


def _with_interval(mean: Mean, form: str) -> str:
    if not math.isfinite(mean.low):
        return f"{mean.mean:{form}}"
    return f"{mean.mean:{form}} [{mean.low:{form}}, {mean.high:{form}}]"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _row_facts(result: RowResult) -> dict[str, Any]:
    summaries = {method: metrics for method, metrics in result.summaries.items() if metrics}
    return {
        "lr": result.row.pair.lr,
        "hr": result.row.pair.hr,
        "asked": [str(pair) for pair in result.row.asked],
        "images": len(result.images),
        "too_small": result.too_small,
        "mean": {
            method: {name: _json_number(summary.value.mean) for name, summary in metrics.items()}
            for method, metrics in summaries.items()
        },
        "interval": {
            method: {name: _interval(summary.value) for name, summary in metrics.items()}
            for method, metrics in summaries.items()
        },
        "gain": {
            method: {
                name: {"mean": _json_number(summary.gain.mean), "interval": _interval(summary.gain)}
                for name, summary in metrics.items()
            }
            for method, metrics in summaries.items()
            if method != BASELINE
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
