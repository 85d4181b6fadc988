"""Training samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from training_runs import save_smooth_images

from arasfsr.training.config import BudgetConfig, DataConfig
from arasfsr.training.data import Photograph, Samples, hold_out, read_photographs


def photographs(*sizes: tuple[int, int]) -> list[Photograph]:
    rng = np.random.default_rng(0)
    return [
        Photograph.of(Path(f"{i}.png"), Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)))
        for i, size in enumerate(sizes)
    ]


def test_a_sample_depends_on_seed_and_number_alone() -> None:
    images = photographs((24, 24), (40, 30))
    first, second = (Samples(images, DataConfig(lr_sizes=[8]), 2, 3, 10)[7] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    other = Samples(images, DataConfig(lr_sizes=[8]), 2, 4, 10)[7]
    assert not torch.equal(first.inp, other.inp)


def test_the_inputs_of_a_batch_have_one_size_and_batches_differ() -> None:
    samples = Samples(photographs((64, 64)), DataConfig(lr_sizes=[8, 12, 16], queries=4), 4, 0, 80)
    sides = [[samples[4 * step + i].inp.shape[-1] for i in range(4)] for step in range(20)]
    assert all(len(set(batch)) == 1 for batch in sides)
    assert {batch[0] for batch in sides} == {8, 12, 16}


def test_scales_are_random_in_range_and_not_integers() -> None:
    samples = Samples(photographs((64, 64)), DataConfig(lr_sizes=[16], scale=(1, 3), queries=4), 4, 0, 60)
    scales = [2 / samples[k].cell[0, 0].item() / 16 for k in range(60)]
    assert all(1 <= scale <= 3.04 for scale in scales)
    assert sum(abs(scale - round(scale)) > 0.01 for scale in scales) > 40


def test_a_whole_sample_at_scale_1_is_the_image_itself() -> None:
    images = photographs((16, 16))
    config = DataConfig(lr_sizes=[16], scale=(1, 1), flip=False, queries=300)
    inp, coord, _, target, _ = Samples(images, config, 1, 0, 1)[0]
    assert coord is not None
    pixels = torch.from_numpy(np.asarray(images[0].image).copy()).float() / 127.5 - 1
    index = ((coord + 1) * 16 - 1) / 2
    row, column = index.round().long().unbind(-1)
    torch.testing.assert_close(target, pixels[row, column])
    torch.testing.assert_close(inp, pixels.permute(2, 0, 1))


def test_patches_are_parts_of_the_image() -> None:
    gradient = np.linspace(0, 255, 64).astype(np.uint8)
    image = Image.fromarray(np.repeat(np.tile(gradient, (64, 1))[..., None], 3, axis=2))
    config = DataConfig(lr_sizes=[8], scale=(1, 2), whole=0, patch=(0.25, 0.25), flip=False, queries=4)
    samples = Samples([Photograph.of(Path("x"), image)], config, 1, 0, 30)
    spans = [(samples[k].inp.max() - samples[k].inp.min()).item() for k in range(30)]
    assert max(spans) < 0.6  # the whole image spans 2


def test_larger_images_are_drawn_more_often_when_asked() -> None:
    images = photographs((16, 16), (64, 64))
    config = DataConfig(lr_sizes=[8], scale=(1, 8), queries=1, size_exponent=2)
    samples = Samples(images, config, 1, 0, 300)
    large = sum(2 / samples[k].cell[0, 0].item() > 17 for k in range(300))
    assert large > 200


@pytest.mark.parametrize(
    ("lr_side", "count", "queries"), [(16, 32, 256), (24, 14, 585), (32, 8, 1024), (48, 4, 2048), (64, 2, 4096)]
)
def test_a_budget_gives_every_batch_about_as_many_pixels(lr_side: int, count: int, queries: int) -> None:
    budget, images = BudgetConfig(lr_pixels=8192, queries=8192), photographs((64, 64))
    samples = Samples(images, DataConfig(lr_sizes=[lr_side]), 32, 0, 64, budget)
    assert samples.numbers(1) == range(32, 32 + count)
    assert samples[32].target.shape == (queries, 3)


def test_a_budget_too_small_for_its_inputs_leaves_one_sample_and_one_query() -> None:
    budget = BudgetConfig(lr_pixels=10, queries=1)
    assert (budget.samples(16), budget.queries_per_sample(16)) == (1, 1)
    assert BudgetConfig(lr_pixels=8192, queries=10).queries_per_sample(16) == 1


def test_images_too_small_for_any_sample_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"shorter side of at least 32 pixels, .*, got at most 16"):
        Samples(photographs((16, 20)), DataConfig(lr_sizes=[32]), 1, 0, 1)


def test_images_beyond_the_memory_limit_are_not_kept(tmp_path: Path) -> None:
    save_smooth_images(tmp_path, [(4, 4), (4, 4), (4, 4)])
    found = read_photographs(tmp_path, memory=2 * 4 * 4 * 3).images.values()
    assert sum(photograph.kept is not None for photograph in found) == 2
    assert [photograph.image.tobytes() for photograph in found] == [
        Image.open(photograph.path).tobytes() for photograph in found
    ]


def test_held_out_images_are_not_trained_on() -> None:
    images = photographs(*[(8, 8)] * 10)
    train_images, held_out = hold_out(images, 3, 8)
    assert len(held_out) == 3
    assert len(train_images) == 7
    assert not {photograph.path for photograph in train_images} & {photograph.path for photograph in held_out}


def test_held_out_images_are_large_enough_for_all_pairs() -> None:
    images = photographs(*[(8, 8), (16, 20)] * 4)
    train_images, held_out = hold_out(images, 2, 16)
    assert [photograph.size for photograph in held_out] == [(16, 20)] * 2
    assert len(train_images) == 6


def test_large_images_are_left_to_train_on_where_there_are_few() -> None:
    images = photographs(*[(16, 16), (8, 8)] * 3)
    _, held_out = hold_out(images, 2, 16)
    assert {photograph.size for photograph in held_out} == {(8, 8), (16, 16)}


def test_an_image_must_be_left_to_train_on() -> None:
    with pytest.raises(ValueError, match=r"validation\.images must be below the number of images, 3, got 3"):
        hold_out(photographs(*[(8, 8)] * 3), 3, 8)
