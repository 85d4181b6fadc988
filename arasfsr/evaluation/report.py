"""An evaluation for people: what was compared with what, and a table for each metric."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from arasfsr.degrade import DEGRADATIONS
from arasfsr.evaluation.bootstrap import CONFIDENCE, RESAMPLES, SEED
from arasfsr.evaluation.results import BASELINE, Evaluation, Mean, RowResult
from arasfsr.metrics import PROTOCOL_TEXT

DIGITS = {"psnr": 2, "ssim": 4, "lpips": 4}
"""Decimals of each metric."""

TITLES = {
    "psnr": "PSNR in dB, higher is better",
    "ssim": "SSIM, higher is better",
    "lpips": "LPIPS 0.1 with VGG-16, lower is better",
}


def scaling(evaluation: Evaluation) -> str:
    """What became of the pairs asked for, in words."""
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


def describe(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What was compared with what: names, each with its fact."""
    suite = evaluation.suite
    made_of = "the image's largest square" if suite.fitted else "the target"
    facts = [
        ("data", f"{evaluation.folder}: {evaluation.images} images"),
        ("suite", suite.name or "none, pairs as given"),
        ("scaling", scaling(evaluation)),
        ("targets", "the image's largest square, in its middle, brought to HR x HR by Pillow's bicubic"),
        ("degradation", f"{suite.degradation}: {DEGRADATIONS[suite.degradation].text}; made of {made_of}"),
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


def table_cells(evaluation: Evaluation, metric: str) -> tuple[list[str], list[list[list[str]]]]:
    """One metric's header and its rows, one for each pair; a cell is one line or several."""
    header = ["LR:HR", "images", "left out", *evaluation.methods]
    rows = [
        [
            [str(result.row)],
            [str(len(result.images))],
            [str(result.too_small)],
            *(score_cell(result, method, metric) for method in evaluation.methods),
        ]
        for result in evaluation.rows
    ]
    return header, rows


def score_cell(result: RowResult, method: str, metric: str) -> list[str]:
    """Mean and interval, then, of a model, the gain and its interval; a dash without images."""
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


def row_line(result: RowResult) -> str:
    """One row's means as a line."""
    told = []
    for method, metrics in result.summaries.items():
        scores = [f"{summary.value.mean:.{DIGITS[name]}f}" for name, summary in metrics.items()]
        gain = metrics["psnr"].gain.mean if metrics else math.nan
        told.append(f"{method} {' / '.join(scores) or '-'}")
        if method != BASELINE and math.isfinite(gain):
            told[-1] += f" ({gain:+.2f})"
    return f"{result.row}  {len(result.images)} images, {result.too_small} left out  {'  '.join(told)}"


def to_table(evaluation: Evaluation, metric: str) -> Table:
    """`table_cells` for a terminal."""
    header, rows = table_cells(evaluation, metric)
    table = Table(title=Text(TITLES[metric]), title_justify="left", show_lines=True)
    for title in header:
        table.add_column(Text(title), justify="right", overflow="fold")
    for row in rows:
        table.add_row(*(Text("\n".join(cell)) for cell in row))
    return table


def to_markdown(evaluation: Evaluation) -> str:
    """`describe` as a list and `table_cells` as tables."""
    lines = [f"- {name}: {fact}" for name, fact in describe(evaluation)]
    for metric in evaluation.metrics:
        header, rows = table_cells(evaluation, metric)
        lines += ["", f"{TITLES[metric]}:", "", _markdown_row(header), _markdown_row(["---:"] * len(header))]
        lines += [_markdown_row([" ".join(cell) for cell in row]) for row in rows]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
