"""Evaluation: models against bicubic on a folder of images, for the paper's suites of size pairs or for others.

suites      size pairs, and how they are shrunk to small images
scoring     every picture made and scored
metrics     PSNR and SSIM
lpips       LPIPS
results     scores, means, gains and bootstrap intervals
report      tables, Markdown, CSV and JSON
pictures    side-by-side pictures
"""

from __future__ import annotations

from arasfsr.evaluation.lpips import LPIPS, load_lpips
from arasfsr.evaluation.pictures import Pictures, parse_wanted
from arasfsr.evaluation.report import describe, row_line, to_csv, to_json, to_markdown, to_table
from arasfsr.evaluation.results import BASELINE, Evaluation, RowResult
from arasfsr.evaluation.scoring import NoImageLargeEnough, evaluate
from arasfsr.evaluation.suites import SUITES, Pair, Row, Suite, own_pairs, parse_pairs

__all__ = [
    "BASELINE",
    "LPIPS",
    "SUITES",
    "Evaluation",
    "NoImageLargeEnough",
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
