"""Evaluation against bicubic on a folder of images."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from models import small_model
from pictures import picture, three_pictures
from PIL import Image

from arasfsr import BackendUnavailable, ImplicitSR
from arasfsr.evaluation import BASELINE, LPIPS, SUITES, Evaluation, Pair, Suite, evaluate, own_pairs, scoring
from arasfsr.evaluation.lpips import SHAPES
from arasfsr.evaluation.metrics import PROTOCOLS, Protocol, from_pixels, score
from arasfsr.evaluation.scoring import modules_of, target_of
from arasfsr.images.transform import DEGRADATIONS, largest_square, read_rgb

PAIR = Pair(6, 16)
SIX_TO_SIXTEEN = own_pairs([PAIR])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return three_pictures(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="module")
def face_model() -> ImplicitSR:
    return small_model("without frequency")


@pytest.fixture(scope="module")
def evaluation(folder: Path, face_model: ImplicitSR) -> Evaluation:
    return evaluate({"ours": face_model}, folder, own_pairs([PAIR, Pair(8, 20)]))


class TestTarget:
    def test_the_largest_square_is_the_middle(self) -> None:
        image = picture(31, 20)
        assert np.array_equal(np.asarray(largest_square(image)), np.asarray(image)[:, 5:25])

    def test_a_square_of_the_targets_side_is_unchanged(self) -> None:
        image = picture(16, 16)
        assert target_of(image, 16).tobytes() == image.tobytes()

    def test_a_larger_image_is_shrunk_by_pillows_bicubic(self) -> None:
        image = picture(24, 40)
        square = image.crop((0, 8, 24, 32))
        assert target_of(image, 16).tobytes() == square.resize((16, 16), Image.Resampling.BICUBIC).tobytes()


class TestEvaluate:
    def test_images_smaller_than_the_target_are_left_out_and_counted(self, evaluation: Evaluation) -> None:
        found = [(result.row.pair, result.images, result.too_small) for result in evaluation.rows]
        assert found == [(PAIR, ["a.png", "more/b.png"], 1), (Pair(8, 20), ["more/b.png"], 2)]

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    @pytest.mark.parametrize("degradation", DEGRADATIONS)
    def test_bicubic_is_pillows_upscaling_of_the_degraded_target(
        self, folder: Path, protocol: Protocol, degradation: str
    ) -> None:
        hr = Image.open(folder / "a.png")
        lr = DEGRADATIONS[degradation](hr, (6, 6))
        expected = score(
            from_pixels(np.asarray(lr.resize((16, 16), Image.Resampling.BICUBIC))),
            from_pixels(np.asarray(hr)),
            protocol,
        )
        assert evaluate({}, folder, own_pairs([PAIR], degradation), protocol).rows[0].scores[BASELINE][0] == expected

    def test_a_model_is_scored_on_its_output_rounded_to_uint8(self, folder: Path, face_model: ImplicitSR) -> None:
        hr = Image.open(folder / "a.png")
        lr = np.asarray(hr.resize((6, 6), Image.Resampling.BICUBIC))
        expected = score(from_pixels(face_model.upscale(lr, size=(16, 16))), from_pixels(np.asarray(hr)), "y-float")
        assert evaluate({"ours": face_model}, folder, SIX_TO_SIXTEEN, "y-float").rows[0].scores["ours"][0] == expected

    def test_a_pair_without_large_enough_images_has_no_scores(self, folder: Path) -> None:
        result = evaluate({}, folder, own_pairs([PAIR, Pair(8, 64)])).rows[1]
        assert (result.images, result.too_small, result.scores) == ([], 3, {BASELINE: []})

    def test_images_too_small_for_every_pair_are_an_error(self, folder: Path) -> None:
        with pytest.raises(ValueError, match=r"target of at most 20 pixels, .*, got 8:64, 8:21"):
            evaluate({}, folder, own_pairs([Pair(8, 64), Pair(8, 21)]))

    def test_broken_images_are_skipped_and_listed(self, tmp_path: Path) -> None:
        picture(16, 16).save(tmp_path / "a.png")
        (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
        found = evaluate({}, tmp_path, SIX_TO_SIXTEEN)
        assert (found.broken, found.rows[0].images) == ([tmp_path / "broken.png"], ["a.png"])

    def test_one_image_at_a_time_is_in_memory(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        held: list[weakref.ref[Image.Image]] = []

        def read(path: Path) -> Image.Image:
            assert not [image for image in held if image() is not None]
            image = read_rgb(path)
            held.append(weakref.ref(image))
            return image

        monkeypatch.setattr(scoring, "read_rgb", read)
        evaluate({}, folder, own_pairs([PAIR, Pair(8, 15)]))
        assert len(held) == 5

    def test_a_folder_without_images_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"has no image that can be read; supported are \.png"):
            evaluate({}, tmp_path, SIX_TO_SIXTEEN)
        with pytest.raises(ValueError, match="none is not a folder"):
            evaluate({}, tmp_path / "none", SIX_TO_SIXTEEN)

    def test_progress_counts_every_picture_to_the_end(self, folder: Path, face_model: ImplicitSR) -> None:
        calls: list[tuple[int, int]] = []
        evaluate({"ours": face_model}, folder, SIX_TO_SIXTEEN, progress=lambda done, total: calls.append((done, total)))
        assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]

    def test_the_compute_dtype_reaches_the_model(self, folder: Path, face_model: ImplicitSR) -> None:
        whole = evaluate({"ours": face_model}, folder, SIX_TO_SIXTEEN)
        half = evaluate({"ours": face_model}, folder, SIX_TO_SIXTEEN, dtype=torch.bfloat16)
        assert (whole.dtype, half.dtype) == ("model", "bfloat16")
        assert whole.rows[0].scores["ours"] != half.rows[0].scores["ours"]

    def test_the_backend_reaches_the_model(self, folder: Path, face_model: ImplicitSR) -> None:
        with pytest.raises((BackendUnavailable, ValueError), match="nowhere"):
            evaluate({"ours": face_model}, folder, SIX_TO_SIXTEEN, backend="nowhere")

    def test_the_model_keeps_its_mode(self, folder: Path, face_model: ImplicitSR) -> None:
        model = small_model("without frequency").train()
        evaluate({"ours": model}, folder, SIX_TO_SIXTEEN)
        assert model.training

    @pytest.mark.parametrize(
        ("suite", "protocol", "message"),
        [
            (SIX_TO_SIXTEEN, "y", "protocol must be one of arasfsr, rgb, y-float, got 'y'"),
            (own_pairs([PAIR], "blur"), "rgb", "degradation must be one of bic, nn65, got 'blur'"),
        ],
    )
    def test_unknown_names_are_an_error_before_anything_is_read(
        self, suite: Suite, protocol: Protocol, message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            evaluate({}, Path("no-such-folder"), suite, protocol)

    def test_a_model_must_not_be_named_bicubic(self, folder: Path, face_model: ImplicitSR) -> None:
        with pytest.raises(ValueError, match="'bicubic'"):
            evaluate({BASELINE: face_model}, folder, SIX_TO_SIXTEEN)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images whose shorter sides are 40 and 50."""
    path = tmp_path_factory.mktemp("larger")
    picture(50, 60, 1).save(path / "a.png")
    picture(70, 40, 2).save(path / "b.png")
    return path


class TestSuite:
    def test_every_row_has_every_image(self, faces: Path) -> None:
        found = evaluate({}, faces, SUITES["real"])
        assert [(result.row.pair, result.images) for result in found.rows] == [
            ((16, 32), ["a.png", "b.png"]),
            ((20, 40), ["a.png", "b.png"]),
        ]
        assert (found.images, found.smallest) == (2, ("b.png", 40))

    def test_input_and_target_are_both_made_of_the_original(self, faces: Path) -> None:
        square = largest_square(Image.open(faces / "a.png"))
        lr = DEGRADATIONS["nn65"](square, (16, 16))
        expected = score(
            from_pixels(np.asarray(lr.resize((32, 32), Image.Resampling.BICUBIC))),
            from_pixels(np.asarray(square.resize((32, 32), Image.Resampling.BICUBIC))),
            "rgb",
        )
        found = evaluate({}, faces, SUITES["real"], "rgb").rows[0].scores[BASELINE][0]
        assert found == expected
        assert found != evaluate({}, faces, own_pairs([Pair(16, 32)], "nn65"), "rgb").rows[0].scores[BASELINE][0]

    def test_images_too_small_are_an_error_that_names_the_file(self, folder: Path) -> None:
        with pytest.raises(
            ValueError, match=r"small\.png: the shorter side of an image must be at least 32 pixels for a suite, got 15"
        ):
            evaluate({}, folder, SUITES["ideal"])

    def test_the_ablation_needs_models_that_differ_in_their_modules(self, faces: Path, face_model: ImplicitSR) -> None:
        models = {"whole": small_model("arasfsr"), "less": face_model}
        suite = Suite("ablation", (Pair(16, 32),), by_module=True)
        assert evaluate(models, faces, suite).models == {
            "whole": ("frequency estimation", "modulation", "skip"),
            "less": ("modulation", "skip"),
        }
        with pytest.raises(
            ValueError, match=r"must differ in their modules for suite 'ablation', got a with modulation, skip; b with"
        ):
            evaluate({"a": face_model, "b": face_model}, faces, suite)


def test_the_modules_of_each_ablation() -> None:
    names = ("arasfsr", "without frequency", "without modulation", "without skip", "liif")
    found = [modules_of(small_model(name).config) for name in names]
    assert found == [
        ("frequency estimation", "modulation", "skip"),
        ("modulation", "skip"),
        ("frequency estimation", "skip"),
        ("modulation",),
        (),
    ]


@pytest.fixture(scope="module")
def lpips() -> LPIPS:
    torch.manual_seed(3)
    return LPIPS({name: torch.rand(shape) - (0.5 if len(shape) > 1 else 0) for name, shape in SHAPES.items()})


class TestLPIPS:
    def test_it_scores_the_rounded_picture_beside_the_others(
        self, folder: Path, face_model: ImplicitSR, lpips: LPIPS
    ) -> None:
        hr = Image.open(folder / "a.png")
        lr = np.asarray(hr.resize((6, 6), Image.Resampling.BICUBIC))
        expected = lpips(from_pixels(face_model.upscale(lr, size=(16, 16))), from_pixels(np.asarray(hr)))
        found = evaluate({"ours": face_model}, folder, SIX_TO_SIXTEEN, lpips=lpips)
        assert found.metrics == ("psnr", "ssim", "lpips")
        assert found.rows[0].scores["ours"][0].lpips == expected
        plain = evaluate({"ours": face_model}, folder, SIX_TO_SIXTEEN)
        assert plain.metrics == ("psnr", "ssim")
        assert plain.rows[0].scores["ours"][0] == found.rows[0].scores["ours"][0]._replace(lpips=None)

    def test_targets_too_small_for_it_are_an_error(self, folder: Path, lpips: LPIPS) -> None:
        with pytest.raises(ValueError, match="targets must be at least 16 pixels for LPIPS, got pairs 4:15"):
            evaluate({}, folder, own_pairs([PAIR, Pair(4, 15)]), lpips=lpips)
