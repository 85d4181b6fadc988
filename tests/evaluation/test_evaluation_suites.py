"""The paper's size pairs, how they are shrunk, and custom pairs."""

from __future__ import annotations

import pytest

from arasfsr.evaluation.suites import SMALLEST_SIDE, SUITES, Pair, Row, own_pairs, parse_pairs, shrink


class TestParsePairs:
    def test_the_order_is_kept(self) -> None:
        assert parse_pairs("64:256, 32:256,64:211") == [(64, 256), (32, 256), (64, 211)]

    def test_duplicates_are_dropped(self) -> None:
        assert parse_pairs("8:16,8:16") == [(8, 16)]

    @pytest.mark.parametrize("text", ["", "64", "64:", "64x256", "-1:8", "8:16,", "1.5:8", "0:8", "16:8", "4:6"])
    def test_anything_else_is_an_error_that_shows_the_form(self, text: str) -> None:
        wrong = text.split(",")[-1]
        with pytest.raises(ValueError, match=f"^pair must be LR:HR .* got '{wrong}'$"):
            parse_pairs(text)


PAPER = {
    "ideal": ("bic", "64:96 64:128 64:256 64:512 64:1024"),
    "ideal-supplement": ("bic", "32:128 32:256 32:512 96:256 96:512 96:1024"),
    "real": ("nn65", "16:32 32:64 64:128"),
    "real-supplement": ("nn65", "16:64 16:128 16:256 48:128 48:256 48:512"),
    "fsr8": ("bic", "12:96 16:128 20:160 32:256"),
    "ablation": ("bic", "64:96 64:128 64:256 64:512 64:1024"),
}


class TestSuites:
    def test_they_are_the_papers(self) -> None:
        found = {
            name: (suite.degradation, " ".join(str(row) for row in suite.rows(1024))) for name, suite in SUITES.items()
        }
        assert found == PAPER

    def test_only_the_ablation_compares_modules(self) -> None:
        assert [name for name, suite in SUITES.items() if suite.by_module] == ["ablation"]

    def test_pairs_that_fit_stay_and_the_others_keep_their_scale(self) -> None:
        rows = SUITES["ideal"].rows(256)
        assert [row.pair for row in rows] == [(64, 96), (64, 128), (64, 256), (32, 256), (16, 256)]
        assert [row.asked for row in rows[2:]] == [((64, 256),), ((64, 512),), ((64, 1024),)]

    @pytest.mark.parametrize("side", [32, 33, 64, 100, 211, 256, 500, 1024])
    @pytest.mark.parametrize("name", SUITES)
    def test_no_target_is_larger_than_the_smallest_image_and_scales_are_kept_up_to_rounding(
        self, name: str, side: int
    ) -> None:
        for row in SUITES[name].rows(side):
            lr, hr = row.pair
            assert hr <= side
            for asked in row.asked:
                assert abs(lr - asked.lr * hr / asked.hr) <= 0.5
                assert (hr == side) or row.pair == asked

    def test_every_pair_asked_for_is_in_just_one_row(self) -> None:
        rows = SUITES["real"].rows(40)
        assert [pair for row in rows for pair in row.asked] == list(SUITES["real"].pairs)
        assert [row.pair for row in rows] == [(16, 32), (20, 40)]

    def test_a_row_names_the_pairs_that_were_shrunk_to_it(self) -> None:
        assert str(Row(Pair(20, 40), (Pair(32, 64), Pair(64, 128)))) == "20:40 (for 32:64, 64:128)"
        assert str(Row(Pair(64, 128), (Pair(64, 128),))) == "64:128"

    def test_images_too_small_for_any_suite_are_an_error(self) -> None:
        assert len(SUITES["ideal"].rows(SMALLEST_SIDE)) == 5
        with pytest.raises(
            ValueError, match=f"must be at least {SMALLEST_SIDE} pixels for a suite, got {SMALLEST_SIDE - 1}"
        ):
            SUITES["ideal"].rows(SMALLEST_SIDE - 1)

    def test_shrinking_leaves_at_least_one_pixel(self) -> None:
        assert shrink(Pair(1, 100), 7) == (1, 7)


def test_custom_pairs_are_never_shrunk() -> None:
    rows = own_pairs([Pair(64, 256), Pair(8, 16)]).rows(10)
    assert [row.pair for row in rows] == [(64, 256), (8, 16)]
