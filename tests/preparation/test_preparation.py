"""Detection and alignment of faces, on the sample face rotated, scaled and pasted into larger pictures."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

import arasfsr
from arasfsr.preparation.align import (
    EYES_DISTANCE,
    EYES_MIDPOINT,
    OVERHANG,
    ROLL_KEPT,
    align,
    natural_side,
    overhang,
    sharpness,
)
from arasfsr.preparation.faces import Detection, Detector, Face, Point, Turn
from arasfsr.preparation.manifest import MANIFEST, Entry, Settings, read_manifest, write_manifest
from arasfsr.preparation.prepare import FAILED, KEPT, LEFT_OUT, Preparer, plan, reasons

pytest.importorskip("cv2")

SAMPLE = Path(arasfsr.__file__).parent / "assets" / "sample_hr.png"

CLOSE = 0.03
"""Largest error of an eye's position, as a fraction of the side; the cascades reach about 0.01."""


def face_in_a_canvas(side: int, canvas: tuple[int, int] = (420, 380), degrees: float = 0) -> tuple[Image.Image, Face]:
    """The sample face, framed as aligned portraits are, of a side in a plain picture, and where its eyes are.

    The picture is turned clockwise about its middle.
    """
    sample = Image.open(SAMPLE).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    left, top = (canvas[0] - side) // 2, (canvas[1] - side) // 3
    picture = Image.new("RGB", canvas, (96, 112, 128))
    picture.paste(sample, (left, top))
    picture = picture.rotate(-degrees, Image.Resampling.BICUBIC, fillcolor=(96, 112, 128))
    middle = Point(canvas[0] / 2, canvas[1] / 2)
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    eyes = []
    for sign in (-1, 1):
        x = left + side * (EYES_MIDPOINT[0] + sign * EYES_DISTANCE / 2) - middle.x
        y = top + side * EYES_MIDPOINT[1] - middle.y
        eyes.append(Point(middle.x + c * x - s * y, middle.y + s * x + c * y))
    return picture, Face(*eyes)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector()


class TestDetector:
    @pytest.mark.parametrize("side", [90, 166, 332])
    @pytest.mark.parametrize("degrees", [0, 12, -25, 35])
    def test_the_eyes_of_a_turned_and_scaled_face_are_found(
        self, detector: Detector, side: int, degrees: float
    ) -> None:
        picture, truth = face_in_a_canvas(side, (side + 250, side + 220), degrees)
        (face,) = detector.detect(picture).faces
        assert math.dist(face.left, truth.left) < CLOSE * side
        assert math.dist(face.right, truth.right) < CLOSE * side

    def test_eyes_of_a_photograph_shrunk_for_detection_are_in_its_own_pixels(self, detector: Detector) -> None:
        picture, truth = face_in_a_canvas(600, (2200, 1400))
        (face,) = detector.detect(picture).faces
        assert math.dist(face.midpoint, truth.midpoint) < CLOSE * 600

    def test_the_larger_of_two_faces_comes_first(self, detector: Detector) -> None:
        picture = Image.new("RGB", (640, 380), (96, 112, 128))
        picture.paste(face_in_a_canvas(120, (240, 300))[0], (0, 0))
        picture.paste(face_in_a_canvas(240, (360, 380))[0], (260, 0))
        first, second = detector.detect(picture).faces
        assert first.distance > 1.5 * second.distance
        assert first.left.x > 260

    def test_a_picture_without_a_face_has_none(self, detector: Detector) -> None:
        y, x = np.mgrid[:300, :300]
        waves = np.stack([128 + 90 * np.sin(x / 9 + c) * np.cos(y / 11) for c in range(3)], axis=-1)
        assert detector.detect(Image.fromarray(waves.astype(np.uint8))).faces == []

    @pytest.mark.parametrize("size", [(1, 1), (3, 400), (20, 20)])
    def test_tiny_pictures_have_none(self, detector: Detector, size: tuple[int, int]) -> None:
        assert detector.detect(Image.new("RGB", size)).faces == []

    def test_without_opencv_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "cv2", None)
        with pytest.raises(ValueError, match=r"optional extra, OpenCV 4: pip install \"arasfsr\[prepare\]\""):
            Detector()


class TestTurn:
    @pytest.mark.parametrize("degrees", [0, 20, -40, 90])
    def test_a_point_of_the_canvas_maps_back(self, degrees: float) -> None:
        turn = Turn((30, 50), degrees)
        point = Point(*(turn.matrix @ (12.0, 7.0, 1.0)))
        assert turn.back(point) == pytest.approx((12, 7))
        height, width = turn.canvas
        assert 0 <= point.x <= width
        assert 0 <= point.y <= height

    def test_a_quarter_turn_moves_pixels_clockwise(self) -> None:
        cv2 = pytest.importorskip("cv2")
        picture = np.arange(6, dtype=np.uint8).reshape(2, 3)
        assert np.array_equal(Turn((2, 3), 90).apply(cv2, picture), np.rot90(picture, -1))


class TestAlign:
    def test_an_upright_face_is_cropped_without_resampling(self) -> None:
        picture, face = face_in_a_canvas(200)
        square = align(picture, face)
        assert square.size == (200, 200)
        assert square.tobytes() == picture.crop((110, 60, 310, 260)).tobytes()

    def test_a_face_with_a_small_roll_is_cropped_too(self) -> None:
        picture, face = face_in_a_canvas(200, degrees=ROLL_KEPT - 0.1)
        left, top = (round(m - part * 200) for m, part in zip(face.midpoint, EYES_MIDPOINT, strict=True))
        assert align(picture, face).tobytes() == picture.crop((left, top, left + 200, top + 200)).tobytes()

    @pytest.mark.parametrize("degrees", [-30, 10, 75])
    def test_a_rotated_face_is_turned_upright(self, degrees: float) -> None:
        upright, face = face_in_a_canvas(200, (600, 600))
        picture, turned = face_in_a_canvas(200, (600, 600), degrees)
        found = np.asarray(align(picture, turned), np.float64)
        wanted = np.asarray(align(upright, face), np.float64)
        assert turned.roll == pytest.approx(degrees)
        inner = slice(20, 180)
        # turned bicubically twice, so that only edges of hair and teeth differ
        assert np.abs(found - wanted)[inner, inner].mean() < 3

    def test_no_square_is_enlarged(self) -> None:
        face = Face(Point(100, 100), Point(100 + 26.2, 100))
        assert natural_side(face) == 100

    def test_beyond_the_picture_its_edge_is_repeated(self) -> None:
        picture, face = face_in_a_canvas(200, (200, 200))
        shifted = Face(*(Point(eye.x + 4, eye.y) for eye in (face.left, face.right)))
        square = np.asarray(align(picture, shifted))
        assert np.array_equal(square[:, -5:], np.repeat(np.asarray(picture)[:, -1:], 5, axis=1))
        assert overhang(shifted, picture.size) == pytest.approx(0.02)

    def test_a_face_inside_has_no_overhang_unless_it_is_rotated(self) -> None:
        picture, face = face_in_a_canvas(200, (220, 230))
        assert overhang(face, picture.size) <= 0
        picture, face = face_in_a_canvas(200, (220, 230), 30)
        assert overhang(face, picture.size) > OVERHANG


class TestSharpness:
    def test_enlarged_and_blurred_pictures_have_little(self) -> None:
        sample = Image.open(SAMPLE).convert("RGB")
        half = sample.resize((83, 83), Image.Resampling.BICUBIC)
        enlarged = half.resize((166, 166), Image.Resampling.BICUBIC)
        least = Settings().min_sharpness
        assert sharpness(sample) > least
        assert max(map(sharpness, (enlarged, sample.filter(ImageFilter.GaussianBlur(1.5))))) < least

    def test_it_does_not_depend_on_contrast(self) -> None:
        sample = Image.open(SAMPLE).convert("L")
        faint = Image.fromarray((np.asarray(sample) // 2 + 64).astype(np.uint8))
        assert sharpness(faint) == pytest.approx(sharpness(sample), rel=0.05)

    @pytest.mark.parametrize("size", [(1, 1), (2, 2), (40, 40)])
    def test_a_flat_picture_has_none(self, size: tuple[int, int]) -> None:
        assert sharpness(Image.new("RGB", size, "gray")) == 0


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each kind: two faces that are kept, a small one, a blurred one, one cut off, none, and a broken file."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "more").mkdir()
    face_in_a_canvas(166)[0].save(folder / "a.png")
    face_in_a_canvas(180, degrees=20)[0].save(folder / "more" / "turned.jpg", quality=98)
    face_in_a_canvas(90)[0].save(folder / "small.png")
    face_in_a_canvas(166)[0].filter(ImageFilter.GaussianBlur(1.5)).save(folder / "blurred.png")
    face_in_a_canvas(166)[0].crop((140, 60, 420, 380)).save(folder / "cut.png")
    Image.new("RGB", (200, 200), "teal").save(folder / "none.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def prepared(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Entry]]:
    out = tmp_path_factory.mktemp("prepared")
    return out, Preparer(photographs, out, Settings(), workers=2).run()


class TestPreparer:
    def test_each_photograph_has_a_status_and_a_reason(self, prepared: tuple[Path, list[Entry]]) -> None:
        found = {entry.source: (entry.status, (entry.reason or "").split(":")[0]) for entry in prepared[1]}
        broken = found.pop("broken.png")
        assert broken[0] == FAILED
        assert found == {
            "a.png": (KEPT, ""),
            "more/turned.jpg": (KEPT, ""),
            "small.png": (LEFT_OUT, "too small"),
            "blurred.png": (LEFT_OUT, "not sharp"),
            "cut.png": (LEFT_OUT, "cut off"),
            "none.png": (LEFT_OUT, "no face"),
        }

    def test_only_kept_faces_are_written_and_they_are_aligned(
        self, prepared: tuple[Path, list[Entry]], detector: Detector
    ) -> None:
        out, entries = prepared
        written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
        assert written == ["a.png", MANIFEST, "more/turned.png"]
        for entry in entries:
            if entry.output is not None:
                square = Image.open(out / entry.output)
                assert square.size == (entry.side, entry.side)
                # the square is too tight for the cascade
                room = Image.fromarray(np.pad(np.asarray(square), ((60, 60), (60, 60), (0, 0)), mode="edge"))
                (face,) = detector.detect(room).faces
                wanted = 60 + EYES_MIDPOINT[0] * square.width, 60 + EYES_MIDPOINT[1] * square.width
                assert math.dist(face.midpoint, wanted) < CLOSE * square.width
                assert abs(face.roll) < 2 * ROLL_KEPT

    def test_the_manifest_holds_the_records_sorted(self, prepared: tuple[Path, list[Entry]]) -> None:
        out, entries = prepared
        found = read_manifest(out, Settings())
        assert found == sorted(entries, key=lambda entry: entry.source)

    def test_another_run_makes_the_same_bytes(
        self, photographs: Path, prepared: tuple[Path, list[Entry]], tmp_path: Path
    ) -> None:
        Preparer(photographs, tmp_path / "again", Settings(), workers=1).run()
        for name in ("a.png", MANIFEST, "more/turned.png"):
            assert (tmp_path / "again" / name).read_bytes() == (prepared[0] / name).read_bytes()

    def test_a_second_run_repeats_only_what_failed_was_lost_or_changed(self, photographs: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        Preparer(photographs, out, Settings()).run()
        lines = (out / MANIFEST).read_text().splitlines(keepends=True)
        (out / "a.png").unlink()
        resumed = Preparer(photographs, out, Settings())
        asked: list[str] = []
        prepare = resumed._prepare
        resumed._prepare = lambda job: (asked.append(job.source.name), prepare(job))[1]  # type: ignore[method-assign]
        resumed.run()
        assert asked == ["a.png", "broken.png"]
        assert (out / MANIFEST).read_text().splitlines(keepends=True) == lines

    def test_an_interrupted_run_continues_where_it_stopped(
        self, photographs: Path, prepared: tuple[Path, list[Entry]], tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        calls: list[str] = []

        def stop(entries: object) -> None:
            calls.append("")
            if len(calls) == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Preparer(photographs, out, Settings()).run(stop)
        with (out / MANIFEST).open("a") as manifest:
            manifest.write('{"source": "cut off in the mid')
        assert len(read_manifest(out, Settings())) == 3
        Preparer(photographs, out, Settings()).run()
        assert (out / MANIFEST).read_bytes() == (prepared[0] / MANIFEST).read_bytes()

    def test_a_failure_of_opencv_is_recorded_and_the_others_are_done(
        self, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        detect = Detector._detect

        def fail(detector: Detector, image: Image.Image) -> Detection:
            if image.size == (200, 200):
                raise detector._cv2.error("Insufficient memory\nmore")
            return detect(detector, image)

        monkeypatch.setattr(Detector, "_detect", fail)
        entries = {entry.source: entry for entry in Preparer(photographs, tmp_path, Settings()).run()}
        assert entries["a.png"].status == KEPT
        assert entries["none.png"].status == FAILED
        assert entries["none.png"].reason == f"{photographs / 'none.png'}: Insufficient memory"

    def test_larger_squares_are_shrunk(self, photographs: Path, tmp_path: Path) -> None:
        entries = Preparer(photographs, tmp_path, Settings(min_side=64, max_side=100, min_sharpness=0)).run()
        sides = [entry.side for entry in entries if entry.status == KEPT]
        assert sides
        assert max(side for side in sides if side) == 100
        assert Image.open(tmp_path / "a.png").size == (100, 100)

    def test_every_face_of_a_photograph_is_written(self, tmp_path: Path) -> None:
        picture = Image.new("RGB", (640, 380), (96, 112, 128))
        picture.paste(face_in_a_canvas(150, (280, 340))[0], (0, 0))
        picture.paste(face_in_a_canvas(220, (350, 380))[0], (290, 0))
        (tmp_path / "in").mkdir()
        picture.save(tmp_path / "in" / "two.png")
        settings = Settings(min_side=100, min_sharpness=0)
        entries = Preparer(tmp_path / "in", tmp_path / "out", settings).run()
        assert [entry.output for entry in entries] == ["two.png", "two.face2.png"]
        assert Image.open(tmp_path / "out" / "two.png").width > Image.open(tmp_path / "out" / "two.face2.png").width

    def test_other_settings_need_another_folder(self, photographs: Path, prepared: tuple[Path, list[Entry]]) -> None:
        with pytest.raises(ValueError, match=r"manifest.jsonl: settings must be .*min_side=128.* got .*min_side=64"):
            Preparer(photographs, prepared[0], Settings(min_side=64))

    def test_reasons_are_counted_without_their_numbers(self, prepared: tuple[Path, list[Entry]]) -> None:
        entry = Entry("x", 1, LEFT_OUT, "too small: 80 pixels, of at least 128")
        assert reasons([entry, replace(entry, reason="too small: 9 pixels"), *prepared[1]])["too small"] == 3
        eyes = [replace(entry, reason=f"no two eyes in {count} faces") for count in (2, 3)]
        assert reasons(eyes) == {"no two eyes": 2}


class TestPlan:
    def test_outputs_mirror_the_tree_and_keep_the_suffix_if_names_would_collide(self, tmp_path: Path) -> None:
        (tmp_path / "more").mkdir()
        for name in ("a.jpg", "a.png", "more/a.webp", "notes.txt"):
            (tmp_path / name).touch()
        found = {
            job.source.relative_to(tmp_path).as_posix(): job.output.as_posix()
            for job in plan(tmp_path, tmp_path / "out")
        }
        assert found == {"a.jpg": "a.jpg.png", "a.png": "a.png.png", "more/a.webp": "more/a.png"}

    def test_an_output_folder_inside_is_ignored(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        for name in ("a.png", "out/a.png"):
            (tmp_path / name).touch()
        assert [job.source.name for job in plan(tmp_path, tmp_path / "out")] == ["a.png"]
        with pytest.raises(ValueError, match="must not be the folder of the photographs"):
            plan(tmp_path, tmp_path)

    def test_a_folder_without_photographs_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="has no photographs"):
            plan(tmp_path, tmp_path / "out")


@pytest.mark.parametrize("text", ["", "{}\n", "no json\n", '{"settings": {"size": 3}}\n'])
def test_another_file_in_place_of_the_manifest_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.jsonl: not a manifest of this version"):
        read_manifest(tmp_path, Settings())


def test_a_manifest_round_trips(tmp_path: Path) -> None:
    entries = [Entry("a", 3, KEPT, None, "a.png", 128, 0.5, (1.0, 2.0), (3.0, 4.5)), Entry("b", 4, FAILED, "broken")]
    write_manifest(tmp_path, Settings(), reversed(entries))
    assert read_manifest(tmp_path, Settings()) == entries
