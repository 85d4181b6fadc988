"""The README's pictures: what their tiles hold, where they are, and that the committed ones are of this layout."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
from models import small_model
from PIL import Image

from arasfsr.images.transform import resize
from tools import figures
from tools.figures import FACE, GAP, LINE, THEMES, TILE, ZOOM, draw, place, strip, sweep

MODEL = small_model()


def sample(name: str) -> Image.Image:
    return Image.open(str(files("arasfsr") / "assets" / name))


@pytest.fixture(scope="module")
def strip_rows() -> figures.Rows:
    return strip(MODEL, sample("sample_hr.png"), (24, 21))


def tile_of(figure: Image.Image, row: int, column: int) -> Image.Image:
    left, top = place(row, column)
    return figure.crop((left, top, left + TILE, top + TILE))


def test_a_figure_is_as_large_as_its_tiles_and_captions(strip_rows: figures.Rows) -> None:
    assert draw(strip_rows, THEMES["light"]).size == (3 * TILE + 2 * GAP, 3 * (TILE + LINE) + 2 * GAP)


def test_a_tile_of_the_model_is_what_the_model_gives(strip_rows: figures.Rows) -> None:
    lr = resize(sample("sample_hr.png"), (21, 21))
    expected = np.asarray(MODEL.upscale(lr, size=(166, 166)).crop(FACE))
    assert np.array_equal(np.asarray(tile_of(draw(strip_rows, THEMES["light"]), 2, 1))[::ZOOM, ::ZOOM], expected)


def test_the_original_ends_the_middle_row(strip_rows: figures.Rows) -> None:
    shown = np.asarray(tile_of(draw(strip_rows, THEMES["light"]), 1, 2))
    assert np.array_equal(shown[::ZOOM, ::ZOOM], np.asarray(sample("sample_hr.png").crop(FACE)))


def test_captions_name_scale_and_psnr(strip_rows: figures.Rows) -> None:
    assert [cell.caption for cell in strip_rows[0]] == ["input 24 x 24, x6.92", "input 21 x 21, x7.9"]
    assert [cell.caption for cell in strip_rows[1]] == ["bicubic, 23.8 dB", "bicubic, 22.8 dB", "original, 166 x 166"]


def test_a_caption_is_drawn_below_its_tile(strip_rows: figures.Rows) -> None:
    left, top = place(1, 1)
    below = draw(strip_rows, THEMES["light"]).crop((left, top + TILE, left + TILE, top + TILE + LINE + GAP))
    shown = np.flatnonzero(np.asarray(below.convert("L")).min(axis=1) < 100)  # rows with dark pixels
    assert 0 < shown.min() < shown.max() < LINE


@pytest.mark.parametrize("page", THEMES)
def test_a_theme_changes_the_page_and_no_tile(strip_rows: figures.Rows, page: str) -> None:
    figure = draw(strip_rows, THEMES[page])
    assert figure.getpixel((0, TILE + LINE + 1)) == {"light": (255, 255, 255), "dark": (13, 17, 23)}[page]
    assert tile_of(figure, 0, 0).tobytes() == strip_rows[0][0].tile.tobytes()


def test_the_sweep_shows_regions_of_larger_pictures() -> None:
    lr = sample("sample.png")
    _, ours = sweep(MODEL, lr, (64, 16))
    whole, eye = MODEL.upscale(lr, size=(288, 288)), MODEL.upscale(lr, size=(1152, 1152)).crop((294, 363, 582, 651))
    for cell, expected in zip(ours, (whole, eye), strict=True):
        difference = np.asarray(cell.tile).astype(int) - np.asarray(expected)
        assert np.abs(difference).max() <= 1  # a level: a region's rounding may differ from the whole picture's


@pytest.mark.parametrize("page", THEMES)
def test_the_committed_strip_is_of_this_layout(page: str) -> None:
    with Image.open(figures.IMAGES / f"strip-{page}.png") as figure:
        assert figure.size == (5 * TILE + 4 * GAP, 3 * (TILE + LINE) + 2 * GAP)
        original = np.asarray(tile_of(figure, 1, 4))[::ZOOM, ::ZOOM]
    assert np.array_equal(original, np.asarray(sample("sample_hr.png").crop(FACE)))


@pytest.mark.parametrize("page", THEMES)
def test_the_committed_sweep_is_of_this_layout(page: str) -> None:
    with Image.open(figures.IMAGES / f"sweep-{page}.png") as figure:
        assert figure.size == (5 * TILE + 4 * GAP, 2 * (TILE + LINE) + GAP)
        shown = tile_of(figure, 0, 0)
    assert shown.tobytes() == sample("sample.png").resize((TILE, TILE), Image.Resampling.NEAREST).tobytes()
