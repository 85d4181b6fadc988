"""Random changes of training samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from arasfsr.images.transform import resize, to_tensor
from arasfsr.training.config import AugmentConfig, DataConfig
from arasfsr.training.data import Photograph, Sample, Samples

NOTHING: dict[str, Any] = {
    "probability": 1, "rotation": 0, "zoom": (1, 1), "shift": 0, "brightness": 0, "contrast": 0
}  # fmt: skip
"""Every sample is augmented, and by nothing."""


def textured(side: int) -> Image.Image:
    coarse = np.random.default_rng(0).integers(60, 196, (side // 3, side // 3, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def gray(*columns: float) -> Image.Image:
    """48 x 48 pixels; each value in [0, 1] fills an equal part of the columns."""
    pixels = np.repeat(np.array(columns) * 255, 48 // len(columns)).round().astype(np.uint8)
    return Image.fromarray(np.tile(pixels[:, None], (48, 1, 3)))


def samples(image: Image.Image, count: int, changes: dict[str, Any] | None, **data: Any) -> list[Sample]:
    """Whole images, 24 x 24, of the whole of one image, not flipped, with these changes alone; null, if without any."""
    augment = None if changes is None else AugmentConfig.model_validate({**NOTHING, **changes})
    config = DataConfig(**{"lr_sizes": [12], "scale": (2, 2), "queries": None, "flip": False, **data}, augment=augment)
    made = Samples([Photograph.of(Path("x"), image)], config, 4, 0, count)
    return [made[k] for k in range(count)]


def targets(image: Image.Image, count: int, changes: dict[str, Any] | None, **data: Any) -> torch.Tensor:
    """The targets of `samples`, with values in [0, 1]."""
    return torch.stack([sample.target for sample in samples(image, count, changes, **data)]) / 2 + 0.5


@pytest.mark.parametrize("flip", [False, True])
def test_an_augmentation_by_nothing_is_a_resize(flip: bool) -> None:
    plain, changed = (targets(textured(48), 8, changes, flip=flip) for changes in (None, {}))
    assert (changed - plain).abs().max() < 1.5 / 255


def test_an_augmented_sample_depends_on_seed_and_number_alone() -> None:
    config = DataConfig(lr_sizes=[8], augment=AugmentConfig(probability=1))
    images = [Photograph.of(Path("x"), textured(48))]
    first, second = (Samples(images, config, 2, 3, 10)[7] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(Samples(images, config, 2, 4, 10)[7].inp, first.inp)


def test_the_input_is_made_from_the_augmented_target() -> None:
    everything = {"rotation": 5, "zoom": (0.9, 1.1), "shift": 0.1, "brightness": 0.2, "contrast": 0.2}
    for sample in samples(textured(48), 4, everything):
        target = ((sample.target + 1) * 127.5).round().byte().permute(1, 2, 0)
        assert torch.equal(sample.inp, to_tensor(resize(Image.fromarray(target.numpy()), (12, 12))))


@pytest.mark.parametrize(("probability", "least", "most"), [(0, 0, 0), (0.5, 20, 44), (1, 64, 64)])
def test_probability_is_the_fraction_of_augmented_samples(probability: float, least: int, most: int) -> None:
    plain = targets(gray(0.4), 1, None)[0]
    found = targets(gray(0.4), 64, {"probability": probability, "brightness": 0.5})
    assert least <= sum(not torch.equal(target, plain) for target in found) <= most


def test_zoom_magnifies_the_middle() -> None:
    plain, changed = targets(gray(*np.linspace(0.2, 0.8, 48)), 1, None)[0], {"zoom": (2, 2)}
    found = targets(gray(*np.linspace(0.2, 0.8, 48)), 1, changed)[0]
    span, half = ((x[0, 12, 20] - x[0, 12, 3]).item() for x in (plain, found))
    assert half == pytest.approx(span / 2, abs=0.01)
    assert found.mean().item() == pytest.approx(plain.mean().item(), abs=0.01)


def test_shifts_reach_both_sides_up_to_the_largest() -> None:
    changed = targets(gray(*np.linspace(0.2, 0.8, 48)), 40, {"shift": 0.25})[:, 0, 12, 12]
    shifts = (changed - 0.5) / 0.6
    assert -0.26 < shifts.min() < -0.15
    assert 0.15 < shifts.max() < 0.28


def test_rotations_reach_both_sides_up_to_the_largest() -> None:
    found = targets(gray(*np.linspace(0.2, 0.8, 48)), 40, {"rotation": 20})[:, 0]
    down, right = found[:, 16, 12] - found[:, 8, 12], found[:, 12, 16] - found[:, 12, 8]
    degrees = torch.rad2deg(torch.atan(down / right))
    assert -21 < degrees.min() < -14
    assert 14 < degrees.max() < 21


def test_brightness_is_added_and_clipped() -> None:
    found = targets(gray(0.4), 40, {"brightness": 0.3}).mean((1, 2, 3))
    assert 0.1 - 1e-2 < found.min() < 0.2
    assert 0.6 < found.max() < 0.7 + 1e-2
    assert targets(gray(0.9), 40, {"brightness": 0.3}).max() == 1


def test_contrast_multiplies_differences_from_mid_gray() -> None:
    found = targets(gray(0.4, 0.8), 40, {"contrast": 0.5})[:, 0, 12]
    factors = (found[:, 3] - 0.5) / -0.1
    assert 0.45 < factors.min() < 0.7
    assert 1.3 < factors.max() < 1.55
    torch.testing.assert_close((found[:, 20] - 0.5) / 0.3, factors, rtol=0, atol=0.03)


def test_an_augmented_sample_may_show_a_patch_of_a_wide_image() -> None:
    wide = Image.new("RGB", (90, 40), (102, 102, 102))
    assert targets(wide, 8, {"rotation": 5, "shift": 0.5}, whole=0).unique().tolist() == pytest.approx([0.4])
