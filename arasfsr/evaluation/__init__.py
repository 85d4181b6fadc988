"""Evaluation: models against bicubic on a folder of images, for the paper's suites of size pairs or for others."""

from __future__ import annotations

from arasfsr.evaluation.lpips import LPIPS, load_lpips
from arasfsr.evaluation.pictures import Pictures, parse_wanted
from arasfsr.evaluation.records import to_csv, to_json
from arasfsr.evaluation.results import BASELINE, Evaluation, RowResult
from arasfsr.evaluation.scoring import evaluate
from arasfsr.evaluation.suites import SUITES, Pair, Row, Suite, own_pairs, parse_pairs
from arasfsr.evaluation.tables import describe, row_line, to_markdown, to_table

__all__ = [
    "BASELINE",
    "LPIPS",
    "SUITES",
    "Evaluation",
    "Pair",
    "Pictures",
    "Row",
    "RowResult",
    "Suite",
    "describe",
    "evaluate",
    "load_lpips",
    "own_pairs",
    "parse_pairs",
    "parse_wanted",
    "row_line",
    "to_csv",
    "to_json",
    "to_markdown",
    "to_table",
]
