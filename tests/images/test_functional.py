"""`arasfsr.upscale`: a picture in one call, by its file or in memory, with a model that stays loaded."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from models import small_model
from pictures import noise, picture
from PIL import Image, ImageCms

import arasfsr
from arasfsr import (
    ArgumentError,
    ArgumentTypeError,
    CheckpointError,
    ImageError,
    ImplicitSR,
    functional,
    load_model,
    save_model,
)
from arasfsr.images.files import read_image, write_image
from arasfsr.images.raster import Raster, round_to_8_bits
from arasfsr.upscaling import upscale_raster

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def model() -> ImplicitSR:
    return small_model("without frequency")


@pytest.fixture
def face(tmp_path: Path) -> Path:
    picture(8, 6).save(tmp_path / "face.png")
    return tmp_path / "face.png"


@pytest.fixture
def weights(model: ImplicitSR, tmp_path: Path) -> Path:
    save_model(model, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture(autouse=True)
def _nothing_loaded() -> Iterator[None]:
    functional.forget_models()
    yield
    functional.forget_models()


def same(found: Image.Image, expected: Image.Image) -> bool:
    return found.mode == expected.mode and np.array_equal(np.asarray(found), np.asarray(expected))


# Sizes and kinds of pictures.


@pytest.mark.parametrize("kind", [str, Path])
def test_a_file_becomes_a_pil_image_of_4_times_the_size(model: ImplicitSR, face: Path, kind: type) -> None:
    found = arasfsr.upscale(kind(face), model=model)
    assert same(found, model.upscale(Image.open(face), scale=4))
    assert found.size == (32, 24)


@pytest.mark.parametrize(
    ("arguments", "size"), [({"scale": 2.5}, (20, 15)), ({"size": (7, 9)}, (9, 7)), ({"size": (1, 1)}, (1, 1))]
)
def test_a_file_gets_the_size_asked_for(
    model: ImplicitSR, face: Path, arguments: dict[str, object], size: tuple[int, int]
) -> None:
    assert arasfsr.upscale(face, model=model, **arguments).size == size  # type: ignore[arg-type]


def test_an_image_an_array_and_a_tensor_come_back_as_from_the_model(model: ImplicitSR) -> None:
    image, tensor = picture(8, 6), torch.rand(2, 3, 6, 5)
    assert same(arasfsr.upscale(image, model=model), model.upscale(image, scale=4))
    array = np.asarray(image)
    assert np.array_equal(arasfsr.upscale(array, 2, model=model), model.upscale(array, scale=2))
    assert torch.equal(arasfsr.upscale(tensor, size=(7, 9), model=model), model.upscale(tensor, size=(7, 9)))


def test_scale_and_size_together_are_refused(model: ImplicitSR, face: Path) -> None:
    for image in (face, picture(4, 4)):
        with pytest.raises(ArgumentError, match=r"either scale or size must be given, got scale=2 and size=\(3, 3\)"):
            arasfsr.upscale(image, 2, size=(3, 3), model=model)


def test_dtype_and_backend_reach_the_decoder(model: ImplicitSR, face: Path) -> None:
    for image in (face, picture(8, 6)):
        with pytest.raises(ArgumentError, match=r"backend must be .*, got 'none'"):
            arasfsr.upscale(image, model=model, backend="none")
        with pytest.raises(ArgumentError, match=r"dtype must be .*, got 'none'"):
            arasfsr.upscale(image, model=model, dtype="none")


# What a file holds besides its pixels.


def test_exif_orientation_is_applied_to_a_file(model: ImplicitSR, tmp_path: Path) -> None:
    image, exif = picture(8, 6), Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    found = arasfsr.upscale(tmp_path / "turned.png", model=model)
    assert same(found, model.upscale(image.transpose(Image.Transpose.ROTATE_270), scale=4))


def test_profile_and_resolution_of_a_file_are_kept(model: ImplicitSR, tmp_path: Path) -> None:
    picture(8, 6).save(tmp_path / "face.jpg", icc_profile=SRGB, dpi=(300, 200))
    info = arasfsr.upscale(tmp_path / "face.jpg", model=model).info
    assert info == {"icc_profile": SRGB, "dpi": (300, 200)}


def test_16_bit_grayscale_of_a_file_is_kept(model: ImplicitSR, tmp_path: Path) -> None:
    Image.fromarray(noise(6, 8, dtype=np.uint16)).save(tmp_path / "gray.png")
    found = arasfsr.upscale(tmp_path / "gray.png", model=model)
    assert found.mode == "I;16"
    assert (np.asarray(found) % 257 != 0).any()


@pytest.mark.parametrize("alpha", [None, noise(6, 8, dtype=np.uint16)])
def test_16_bit_colour_of_a_file_is_rounded_to_8_after_upscaling_with_a_warning(
    model: ImplicitSR, tmp_path: Path, caplog: pytest.LogCaptureFixture, alpha: np.ndarray | None
) -> None:
    pytest.importorskip("cv2")
    path = tmp_path / "deep.png"
    write_image(path, Raster(noise(6, 8, 3, dtype=np.uint16), alpha))
    found = np.asarray(arasfsr.upscale(path, model=model))
    expected = round_to_8_bits(upscale_raster(model, read_image(path), (24, 32)))
    assert np.array_equal(found[..., :3], expected.colour)
    assert found.shape[2] == (3 if alpha is None else 4)
    assert caplog.messages == [f"{path}: PIL has no mode for 16-bit colour, rounded to 8 bits"]


def test_a_picture_that_is_not_there_is_named(model: ImplicitSR) -> None:
    with pytest.raises(FileNotFoundError, match=r"got 'none\.png', which does not exist"):
        arasfsr.upscale("none.png", model=model)


def test_a_file_that_is_no_picture_is_named(model: ImplicitSR, tmp_path: Path) -> None:
    (tmp_path / "face.png").write_text("no picture")
    with pytest.raises(ImageError, match=r"face\.png: no picture of a known format"):
        arasfsr.upscale(tmp_path / "face.png", model=model)


# The model.


def test_the_model_is_tiny_by_default(face: Path) -> None:
    assert same(arasfsr.upscale(face), load_model("tiny").upscale(Image.open(face), scale=4))


def test_the_file_of_a_model_and_the_folder_of_a_run_are_models_too(
    model: ImplicitSR, face: Path, weights: Path
) -> None:
    for name in (weights, str(weights), weights.parent):
        assert same(arasfsr.upscale(face, model=name), model.upscale(Image.open(face), scale=4))


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The names of the models that are loaded, one for each time."""
    names: list[object] = []

    def load(name: str, device: torch.device) -> ImplicitSR:
        names.append(name)
        return load_model(name, device)

    monkeypatch.setattr(functional, "load_model", load)
    return names


def test_a_model_is_loaded_once(face: Path, weights: Path, loaded: list[object]) -> None:
    for name in ("tiny", weights, "tiny", weights, weights.parent):
        arasfsr.upscale(face, model=name)
    assert loaded == ["tiny", str(weights)]


def test_a_model_whose_file_has_changed_is_loaded_again(face: Path, weights: Path, loaded: list[object]) -> None:
    before = arasfsr.upscale(face, model=weights)
    other = small_model("without frequency", seed=1)
    save_model(other, weights)
    os.utime(weights, ns=(0, 0))  # a clock may be coarse
    after = arasfsr.upscale(face, model=weights)
    assert same(after, other.upscale(Image.open(face), scale=4))
    assert not same(after, before)


def test_a_relative_name_is_that_of_the_folder_of_its_time(
    face: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: list[object]
) -> None:
    monkeypatch.chdir(tmp_path)
    arasfsr.upscale(face, model="model.safetensors")
    arasfsr.upscale(face, model=weights)
    assert loaded == [str(weights)]


def test_only_the_two_models_used_last_stay_loaded(face: Path, model: ImplicitSR, tmp_path: Path) -> None:
    names = [tmp_path / f"{number}.safetensors" for number in range(3)]
    for name in names:
        save_model(model, name)
        arasfsr.upscale(face, model=name)
    assert functional._load.cache_info().currsize == 2


def test_loaded_models_can_be_released(face: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[ImplicitSR]] = []

    def load(name: str, device: torch.device) -> ImplicitSR:
        found = load_model(name, device)
        alive.append(weakref.ref(found))
        return found

    monkeypatch.setattr(functional, "load_model", load)
    arasfsr.upscale(face, model=weights)
    gc.collect()
    assert alive[0]() is not None
    functional.forget_models()
    gc.collect()
    assert alive[0]() is None


def test_a_model_that_is_not_there_lists_those_that_are(face: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a bundled one \(edsr, tiny\)"):
        arasfsr.upscale(face, model="none")


def test_a_file_that_is_no_model_is_named(face: Path) -> None:
    with pytest.raises(CheckpointError, match=r"face\.png: the suffix must be "):
        arasfsr.upscale(face, model=face)


def test_a_model_of_another_type_is_refused(face: Path) -> None:
    with pytest.raises(ArgumentTypeError, match="model must be a name, a file or an ImplicitSR, got int"):
        arasfsr.upscale(face, model=4)  # type: ignore[call-overload]


# The device.


def test_an_unknown_device_is_named(face: Path) -> None:
    with pytest.raises(ArgumentError, match=r"device must be auto, cpu, cuda, cuda:1 .*, got 'banana'"):
        arasfsr.upscale(face, device="banana")


def test_a_device_that_cannot_be_used_says_why(face: Path) -> None:
    with pytest.raises(ArgumentError, match=r"device 'cuda:99' cannot be used: \w+"):
        arasfsr.upscale(face, device=torch.device("cuda:99"))


@pytest.mark.parametrize("there_is_one", [True, False])
def test_auto_is_a_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch, there_is_one: bool) -> None:
    from arasfsr.devices import find_device

    monkeypatch.setattr("torch.cuda.is_available", lambda: there_is_one)
    assert find_device("auto").type == ("cuda" if there_is_one else "cpu")


def test_a_model_given_stays_where_it_is(model: ImplicitSR, face: Path) -> None:
    with pytest.raises(ArgumentError, match=r"device must be auto for an ImplicitSR, .*, got 'cpu'"):
        arasfsr.upscale(face, model=model, device="cpu")
