"""Means, gains over bicubic, and their bootstrap intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from arasfsr.evaluation.metrics import Score
from arasfsr.evaluation.results import BASELINE, RESAMPLES, RowResult, mean_intervals
from arasfsr.evaluation.suites import Pair, Row

ROW = Row(Pair(64, 256), (Pair(64, 256),))


def result(**scores: list[Score]) -> RowResult:
    images = [f"{i}.png" for i in range(len(next(iter(scores.values()))))]
    return RowResult(ROW, images, 0, scores)


class TestMeanIntervals:
    def test_they_agree_with_a_plain_bootstrap(self) -> None:
        values = np.random.default_rng(3).normal(30, 2, (50, 2))
        rng = np.random.default_rng(99)
        means = np.array([values[rng.integers(0, 50, 50)].mean(axis=0) for _ in range(RESAMPLES)])
        assert mean_intervals(values) == pytest.approx(np.quantile(means, [0.025, 0.975], axis=0), abs=0.03)

    def test_they_are_close_to_those_of_a_normal_distribution(self) -> None:
        values = np.random.default_rng(1).normal(0, 1, (400, 1))
        error = 1.96 * values.std(ddof=1) / math.sqrt(400)
        expected = [[values.mean() - error], [values.mean() + error]]
        assert mean_intervals(values) == pytest.approx(np.array(expected), abs=0.01)

    def test_equal_scores_have_equal_intervals(self) -> None:
        values = np.random.default_rng(1).normal(0, 1, (20, 1))
        assert np.array_equal(mean_intervals(values), mean_intervals(values))

    def test_resampling_in_chunks_changes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        values = np.random.default_rng(1).normal(5, 1, (30, 1))
        whole = mean_intervals(values)
        monkeypatch.setattr("arasfsr.evaluation.results.CHUNK", 30 * 7)
        assert mean_intervals(values) == pytest.approx(whole, abs=1e-12)

    def test_columns_are_resampled_together(self) -> None:
        first = np.random.default_rng(1).normal(30, 5, (40, 1))
        constant_gain = mean_intervals(np.hstack([first + 0.5 - first]))
        assert constant_gain == pytest.approx(np.full((2, 1), 0.5))

    @pytest.mark.parametrize("values", [[[1.0]], [[1.0], [math.inf]], [[math.nan], [1.0]]])
    def test_one_image_or_infinite_scores_have_no_interval(self, values: list[list[float]]) -> None:
        assert np.isnan(mean_intervals(np.array(values))).all()

    def test_a_non_finite_column_does_not_affect_the_others(self) -> None:
        values = np.random.default_rng(1).normal(30, 5, (40, 2))
        with_infinity = values.copy()
        with_infinity[3, 0] = math.inf
        found = mean_intervals(with_infinity)
        assert np.isnan(found[:, 0]).all()
        assert found[:, 1] == pytest.approx(mean_intervals(values)[:, 1], rel=1e-12)


class TestSummaries:
    def test_the_mean_psnr_is_the_mean_of_decibels(self) -> None:
        found = result(bicubic=[Score(30.0, 0.8), Score(31.0, 0.9)]).summaries[BASELINE]
        assert found["psnr"].value.mean == pytest.approx(30.5)
        assert found["ssim"].value.mean == pytest.approx(0.85)

    def test_the_gain_is_paired_by_image(self) -> None:
        rng = np.random.default_rng(0)
        base = rng.normal(30, 4, 40)
        found = result(
            bicubic=[Score(psnr, 0.8) for psnr in base], ours=[Score(psnr + 1, 0.8) for psnr in base]
        ).summaries["ours"]["psnr"]
        assert found.gain == pytest.approx((1, 1, 1))
        assert found.value.high - found.value.low > 1

    def test_the_gain_of_bicubic_is_0(self) -> None:
        found = result(bicubic=[Score(30.0, 0.8), Score(31.0, 0.9)]).summaries[BASELINE]
        assert found["psnr"].gain == (0, 0, 0)

    def test_lpips_is_summarised_if_every_image_has_it(self) -> None:
        scores = [Score(30.0, 0.8, 0.2), Score(31.0, 0.9, 0.4)]
        assert result(bicubic=scores).summaries[BASELINE]["lpips"].value.mean == pytest.approx(0.3)
        assert list(result(bicubic=[scores[0], Score(1.0, 0.5)]).summaries[BASELINE]) == ["psnr", "ssim"]

    def test_infinite_scores_have_a_mean_but_no_interval(self) -> None:
        equal = [Score(math.inf, 1.0), Score(math.inf, 1.0)]
        found = result(bicubic=equal, ours=equal).summaries["ours"]["psnr"]
        assert found.value.mean == math.inf
        assert all(map(math.isnan, (*found.gain, *found.value[1:])))

    def test_without_images_there_is_no_summary(self) -> None:
        assert result(bicubic=[], ours=[]).summaries == {"bicubic": {}, "ours": {}}
