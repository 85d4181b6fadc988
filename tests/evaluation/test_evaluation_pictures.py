"""Side-by-side pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import picture
from PIL import Image

from arasfsr.evaluation.pictures import CAPTION, GAP, PANEL_SIDE, Pictures, parse_wanted, side_by_side
from arasfsr.evaluation.suites import Pair, Row

ROW = Row(Pair(8, 16), (Pair(8, 16),))


def paths(count: int) -> list[Path]:
    return [Path("faces") / f"{i}.jpg" for i in range(count)]


class TestWanted:
    def test_a_number_or_names(self) -> None:
        assert parse_wanted("3") == 3
        assert parse_wanted("a.png, more/b.png,a.png") == ("a.png", "more/b.png")

    @pytest.mark.parametrize("text", ["", " , ", "0"])
    def test_no_image_at_all_is_an_error(self, text: str) -> None:
        with pytest.raises(ValueError, match="pictures must be a number from 1, or names"):
            parse_wanted(text)


class TestChoice:
    @pytest.mark.parametrize(
        ("wanted", "chosen"), [(1, ["2"]), (2, ["1", "3"]), (5, list("01234")), (9, list("01234"))]
    )
    def test_a_number_is_spread_evenly(self, wanted: int, chosen: list[str]) -> None:
        found = Pictures(Path("out"), wanted).choose(paths(5), Path("faces"))
        assert [Path(name).stem for name in found.names.values()] == chosen

    def test_names_keep_their_order(self) -> None:
        found = Pictures(Path("out"), ("3.jpg", "0.jpg")).choose(paths(5), Path("faces"))
        assert list(found.names) == [Path("faces/3.jpg"), Path("faces/0.jpg")]

    def test_an_unknown_name_is_an_error_that_lists_known_ones(self) -> None:
        with pytest.raises(ValueError, match=r"must name images below faces, got x.png; there are 0.jpg, 1.jpg"):
            Pictures(Path("out"), ("0.jpg", "x.png")).choose(paths(5), Path("faces"))


class TestSideBySide:
    def test_input_outputs_and_target_in_order_enlarged_by_integer_factors(self) -> None:
        target, lr = picture(100, 100, 1), picture(20, 20, 2)
        outputs = {name: np.asarray(picture(100, 100, seed)) for name, seed in (("bicubic", 3), ("ours", 4))}
        sheet = side_by_side(lr, outputs, target)
        assert sheet.size == (4 * 200 + 3 * GAP, CAPTION + 200)
        panels = [sheet.crop((i * (200 + GAP), CAPTION, i * (200 + GAP) + 200, CAPTION + 200)) for i in range(4)]
        shown = [lr, *map(Image.fromarray, outputs.values()), target]
        for panel, image in zip(panels, shown, strict=True):
            assert panel.tobytes() == image.resize((200, 200), Image.Resampling.NEAREST).tobytes()

    def test_a_large_target_is_not_resized(self) -> None:
        target = picture(PANEL_SIDE + 1, PANEL_SIDE + 1)
        assert side_by_side(picture(8, 8), {}, target).height == CAPTION + PANEL_SIDE + 1

    def test_a_long_name_stays_within_its_panel(self) -> None:
        target, pixels = picture(PANEL_SIDE, PANEL_SIDE), np.full((PANEL_SIDE, PANEL_SIDE, 3), 255, np.uint8)
        sheet = side_by_side(picture(8, 8), {"n" * 500: pixels, "": pixels}, target)
        left = 2 * (PANEL_SIDE + GAP)
        assert np.asarray(sheet)[:CAPTION, left - GAP : left + PANEL_SIDE].min() == 255
        assert np.asarray(sheet)[:CAPTION, PANEL_SIDE + GAP : left - GAP].min() < 255


def test_only_chosen_images_are_written_in_a_folder_per_pair(tmp_path: Path) -> None:
    images = paths(3)
    shown = Pictures(tmp_path / "out", ("1.jpg",)).choose(images, Path("faces"))
    for path in images:
        shown.write(path, ROW, picture(8, 8), {"bicubic": np.asarray(picture(16, 16))}, picture(16, 16))
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")] == ["out/8to16/1.jpg.png"]
