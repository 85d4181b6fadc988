"""Reports of an evaluation: terminal, Markdown, CSV, JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from rich.console import Console

from arasfsr import __version__
from arasfsr.evaluation import (
    BASELINE,
    SUITES,
    Evaluation,
    Pair,
    Row,
    RowResult,
    describe,
    own_pairs,
    row_line,
    to_csv,
    to_json,
    to_markdown,
    to_table,
)
from arasfsr.evaluation.metrics import Score

ROW = Row(Pair(64, 256), (Pair(64, 256),))
OURS = "a|b[c]"


@pytest.fixture
def made_up() -> Evaluation:
    """Scores whose means and intervals are easy to see: a resample of two images is either, both or the other."""
    scores = {BASELINE: [Score(30.0, 0.8), Score(31.0, 0.9)], OURS: [Score(31.0, 0.85), Score(31.5, 0.95)]}
    result = RowResult(ROW, ["x.png", "y.png"], 3, scores)
    return Evaluation(
        folder=Path("faces"),
        models={OURS: ("modulation",)},
        suite=own_pairs([Pair(64, 256)], "nn65"),
        protocol="rgb",
        backend="auto",
        dtype="model",
        rows=[result],
        images=5,
        smallest=("s.png", 100),
        broken=[Path("faces/z.png")],
    )


@pytest.fixture
def equal(made_up: Evaluation) -> Evaluation:
    """Every method is exact."""
    scores = {method: [Score(math.inf, 1.0)] for method in made_up.methods}
    return replace(made_up, rows=[RowResult(ROW, ["x.png"], 0, scores)])


@pytest.fixture
def empty(made_up: Evaluation) -> Evaluation:
    """No image is large enough."""
    return replace(made_up, rows=[RowResult(ROW, [], 5, {method: [] for method in made_up.methods})])


def shrunk(evaluation: Evaluation, suite: str = "ideal") -> Evaluation:
    """The same as rows of a suite on images of 100 pixels."""
    rows = [replace(evaluation.rows[0], row=row) for row in SUITES[suite].rows(100)]
    return replace(evaluation, suite=SUITES[suite], rows=rows)


def printed(evaluation: Evaluation, metric: str) -> list[str]:
    console = Console(file=io.StringIO(), width=200)
    console.print(to_table(evaluation, metric))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


class TestDescription:
    def test_it_names_data_protocol_degradation_and_targets(self, made_up: Evaluation) -> None:
        found = dict(describe(made_up))
        assert found["data"] == "faces: 5 images"
        assert found["protocol"].startswith("rgb: RGB of uint8 pictures")
        assert found["degradation"] == "nn65: nearest pixels, then JPEG of quality 65; made from the target"
        assert "bicubic" in found["targets"]

    def test_it_names_resamples_and_seed(self, made_up: Evaluation) -> None:
        assert (
            "95% bootstrap intervals (10000 resamples of the images, percentiles, seed 0)"
            in dict(describe(made_up))["scores"]
        )

    def test_it_names_the_pairs_shrunk_and_the_smallest_image(self, made_up: Evaluation) -> None:
        found = dict(describe(shrunk(made_up)))
        assert found["suite"] == "ideal"
        assert "smallest image (s.png, shorter side 100)" in found["scaling"]
        assert found["scaling"].endswith("64:128 to 50:100, 64:256 to 25:100, 64:512 to 12:100, 64:1024 to 6:100")
        assert found["degradation"].endswith("made from the image's largest square")

    def test_it_says_that_no_pair_was_shrunk(self, made_up: Evaluation) -> None:
        whole = replace(made_up, suite=SUITES["ideal"], smallest=("s.png", 1024))
        assert dict(describe(whole))["scaling"].startswith("none; every target fits into the smallest image (s.png")

    def test_modules_are_listed_if_the_suite_compares_them(self, made_up: Evaluation) -> None:
        assert "model" not in dict(describe(made_up))
        assert ("model", f"{OURS}: modulation") in describe(shrunk(made_up, "ablation"))


class TestTables:
    def test_the_table_has_scores_and_gains_over_bicubic_with_intervals(self, made_up: Evaluation) -> None:
        lines = printed(made_up, "psnr")
        assert lines[0].strip() == "PSNR in dB, higher is better"
        cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
        assert cells == [
            ["64:256", "2", "3", "30.50 [30.00, 31.00]", "31.25 [31.00, 31.50]"],
            ["", "", "", "", "(+0.75 [+0.50, +1.00])"],
        ]
        assert OURS in lines[2]

    def test_markdown_has_the_description_and_a_table_per_metric_with_bars_escaped(self, made_up: Evaluation) -> None:
        lines = to_markdown(made_up).splitlines()
        assert lines[0] == "- data: faces: 5 images"
        assert lines.count("| LR:HR | images | left out | bicubic | a&#124;b[c] |") == 2
        psnr = "| 64:256 | 2 | 3 | 30.50 [30.00, 31.00] | 31.25 [31.00, 31.50] (+0.75 [+0.50, +1.00]) |"
        ssim = "| 64:256 | 2 | 3 | 0.8500 [0.8000, 0.9000] | 0.9000 [0.8500, 0.9500] (+0.0500 [+0.0500, +0.0500]) |"
        assert [line for line in lines if line.startswith("| 64")] == [psnr, ssim]

    def test_lpips_has_a_table_of_its_own(self, made_up: Evaluation) -> None:
        scores = {m: [s._replace(lpips=0.25) for s in each] for m, each in made_up.rows[0].scores.items()}
        found = to_markdown(replace(made_up, rows=[replace(made_up.rows[0], scores=scores)]))
        assert "LPIPS 0.1 with VGG-16, lower is better:" in found
        assert "- lpips: version 0.1" in found
        assert "| 0.2500 [0.2500, 0.2500] (+0.0000 [+0.0000, +0.0000]) |" in found

    def test_a_shrunk_row_names_the_papers_pair(self, made_up: Evaluation) -> None:
        assert "| 12:100 (for 64:512) |" in to_markdown(shrunk(made_up))

    def test_a_pair_without_images_has_dashes(self, empty: Evaluation) -> None:
        assert to_markdown(empty).splitlines()[-1] == "| 64:256 | 0 | 5 | - | - |"
        assert row_line(empty.rows[0]) == f"64:256  0 images, 5 left out  bicubic -  {OURS} -"

    def test_there_is_no_gain_if_bicubic_is_exact(self, equal: Evaluation) -> None:
        rows = [line for line in to_markdown(equal).splitlines() if line.startswith("| 64")]
        assert rows[0] == "| 64:256 | 1 | 0 | inf | inf |"

    def test_one_image_has_no_interval(self, made_up: Evaluation) -> None:
        one = RowResult(ROW, ["x.png"], 0, {BASELINE: [Score(30.0, 0.8)], OURS: [Score(31.0, 0.85)]})
        rows = [line for line in to_markdown(replace(made_up, rows=[one])).splitlines() if line.startswith("| 64")]
        assert rows[0] == "| 64:256 | 1 | 0 | 30.00 | 31.00 (+1.00) |"

    def test_a_row_as_a_line(self, made_up: Evaluation) -> None:
        assert row_line(made_up.rows[0]) == (
            f"64:256  2 images, 3 left out  bicubic 30.50 / 0.8500  {OURS} 31.25 / 0.9000 (+0.75)"
        )


class TestJSON:
    def test_it_carries_every_images_scores_their_means_and_how_they_were_made(self, made_up: Evaluation) -> None:
        facts = json.loads(to_json(made_up))
        assert facts["pairs"][0]["scores"]["y.png"][OURS] == {"psnr": 31.5, "ssim": 0.95}
        assert facts["pairs"][0]["mean"][BASELINE] == pytest.approx({"psnr": 30.5, "ssim": 0.85})
        found = [facts[key] for key in ("protocol", "degradation", "methods", "broken", "suite", "inputs_made_of")]
        assert found == ["rgb", "nn65", [BASELINE, OURS], ["faces/z.png"], None, "target"]

    def test_it_carries_intervals_and_gains(self, made_up: Evaluation) -> None:
        (row,) = json.loads(to_json(made_up))["pairs"]
        assert row["interval"][BASELINE]["psnr"] == pytest.approx([30, 31])
        assert list(row["gain"]) == [OURS]
        assert row["gain"][OURS]["psnr"]["mean"] == pytest.approx(0.75)
        assert row["gain"][OURS]["psnr"]["interval"] == pytest.approx([0.5, 1.0])

    def test_it_carries_suite_and_pairs_asked_for(self, made_up: Evaluation) -> None:
        facts = json.loads(to_json(shrunk(made_up)))
        assert facts["suite"] == "ideal"
        assert facts["smallest_image"] == {"path": "s.png", "shorter_side": 100}
        assert [(row["lr"], row["hr"], row["asked"]) for row in facts["pairs"]][:2] == [
            (64, 96, ["64:96"]),
            (50, 100, ["64:128"]),
        ]

    def test_it_carries_the_versions(self, made_up: Evaluation) -> None:
        found = json.loads(to_json(made_up))["versions"]
        assert found["arasfsr"] == __version__
        assert found["pillow"] == version("pillow")

    def test_infinite_psnr_is_a_string_that_float_accepts_and_has_no_interval(self, equal: Evaluation) -> None:
        (row,) = json.loads(to_json(equal), parse_constant=pytest.fail)["pairs"]
        assert float(row["mean"][BASELINE]["psnr"]) == math.inf
        assert row["interval"][BASELINE]["psnr"] is None

    def test_a_pair_without_images_has_no_means(self, empty: Evaluation) -> None:
        (row,) = json.loads(to_json(empty))["pairs"]
        assert (row["mean"], row["gain"], row["scores"]) == ({}, {}, {})


class TestCSV:
    def test_a_line_per_pair_and_method_with_how_it_was_made(self, made_up: Evaluation) -> None:
        lines = list(csv.DictReader(io.StringIO(to_csv(shrunk(made_up)))))
        assert [(line["asked"], line["lr"], line["method"]) for line in lines[:3]] == [
            ("64:96", "64", BASELINE),
            ("64:96", "64", OURS),
            ("64:128", "50", BASELINE),
        ]
        assert len(lines) == 10
        ours = lines[1]
        assert [ours[key] for key in ("suite", "images", "left_out", "degradation", "protocol")] == [
            *("ideal", "2", "3", "bic", "rgb"),
        ]
        assert "64:128 to 50:100" in ours["scaling"]
        assert "bicubic" in ours["targets"]

    def test_means_gains_and_intervals_are_numbers_and_values_not_measured_are_empty(self, made_up: Evaluation) -> None:
        _, ours = csv.DictReader(io.StringIO(to_csv(made_up)))
        parts = ("", "_low", "_high", "_gain", "_gain_low", "_gain_high")
        assert [float(ours[f"psnr{part}"]) for part in parts] == pytest.approx([31.25, 31, 31.5, 0.75, 0.5, 1])
        assert {ours[f"lpips{part}"] for part in parts} == {""}

    def test_a_pair_without_images_has_lines_without_scores(self, empty: Evaluation) -> None:
        lines = list(csv.DictReader(io.StringIO(to_csv(empty))))
        assert [(line["images"], line["psnr"]) for line in lines] == [("0", ""), ("0", "")]

    def test_an_infinite_mean_is_written_and_its_interval_is_empty(self, equal: Evaluation) -> None:
        first, _ = csv.DictReader(io.StringIO(to_csv(equal)))
        assert (first["psnr"], first["psnr_low"]) == ("inf", "")
