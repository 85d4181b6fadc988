"""LPIPS: its formula, and the files that its weights come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import picture
from safetensors.torch import save_file
from torch import Tensor, nn

from arasfsr.errors import CheckpointError
from arasfsr.evaluation.lpips import CHANNELS, LPIPS, SHAPES, SMALLEST_SIDE, load_lpips
from arasfsr.evaluation.metrics import from_pixels

VGG16 = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512, "pool")
"""torchvision's vgg16.features: each number is a convolution and a ReLU."""

SLICES = (range(4), range(4, 9), range(9, 16), range(16, 23), range(23, 30))
"""Of vgg16.features, as the package lpips cuts them: each ends with the ReLU whose output is compared."""


def vgg16_features() -> nn.Sequential:
    """The public architecture with seeded weights that keep the signal."""
    torch.manual_seed(4)
    layers: list[nn.Module] = []
    before = 3
    for entry in VGG16:
        if isinstance(entry, int):
            layers += [nn.Conv2d(before, entry, 3, padding=1), nn.ReLU()]
            nn.init.kaiming_normal_(layers[-2].weight)  # type: ignore[arg-type]
            before = entry
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


@pytest.fixture(scope="module")
def vgg() -> nn.Sequential:
    return vgg16_features()


@pytest.fixture(scope="module")
def convolutions(vgg: nn.Sequential) -> dict[str, Tensor]:
    """As torchvision names them, with a layer of the classifier."""
    return {"classifier.0.weight": torch.zeros(2, 2), **{f"features.{k}": v for k, v in vgg.state_dict().items()}}


@pytest.fixture(scope="module")
def linear() -> dict[str, Tensor]:
    """As lpips/weights/v0.1/vgg.pth names them; no weight is negative there."""
    torch.manual_seed(5)
    return {f"lin{i}.model.1.weight": torch.rand(1, channels, 1, 1) for i, channels in enumerate(CHANNELS)}


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    return tuple(from_pixels(np.asarray(picture(37, 21, seed))) for seed in (1, 2))  # type: ignore[return-value]


def literal(vgg: nn.Sequential, linear: dict[str, Tensor], first: Tensor, second: Tensor) -> float:
    """The published formula, slice by slice, in float64."""
    shift = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float64).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float64).view(1, 3, 1, 1)
    x, y = ((2 * image.double()[None] - 1 - shift) / scale for image in (first, second))
    total = 0.0
    network = vgg.double()
    with torch.no_grad():
        for i, places in enumerate(SLICES):
            for k in places:
                x, y = network[k](x), network[k](y)
            difference = x / x.norm(dim=1, keepdim=True) - y / y.norm(dim=1, keepdim=True)
            total += (difference**2 * linear[f"lin{i}.model.1.weight"].double()).sum(1).mean().item()
    network.float()
    return total


@pytest.fixture(scope="module")
def lpips(convolutions: dict[str, Tensor], linear: dict[str, Tensor]) -> LPIPS:
    return LPIPS({**convolutions, **linear})


def test_it_is_the_published_formula(
    lpips: LPIPS, vgg: nn.Sequential, linear: dict[str, Tensor], images: tuple[Tensor, Tensor]
) -> None:
    assert lpips(*images) == pytest.approx(literal(vgg, linear, *images), rel=1e-4)


def test_equal_pictures_have_distance_0_and_it_is_symmetric(lpips: LPIPS, images: tuple[Tensor, Tensor]) -> None:
    assert lpips(images[0], images[0]) == 0
    assert lpips(*images) == pytest.approx(lpips(*reversed(images)))
    assert lpips(*images) > 0.01


@pytest.mark.parametrize("shape", [(3, SMALLEST_SIDE - 1, 40), (1, 32, 32), (1, 3, 32, 32)])
def test_pictures_of_another_shape_or_too_small_are_an_error(lpips: LPIPS, shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=rf"picture must be \(3, H, W\) with sides of at least {SMALLEST_SIDE} for LPIPS, got"
    ):
        lpips.features(torch.zeros(shape))


def test_the_smallest_picture_works(lpips: LPIPS) -> None:
    image = torch.rand(3, SMALLEST_SIDE, SMALLEST_SIDE)
    assert lpips(image, image.flip(-1)) > 0


def renamed(convolutions: dict[str, Tensor], linear: dict[str, Tensor]) -> dict[str, Tensor]:
    """As the whole model of the package lpips names them."""
    whole = {"scaling_layer.shift": torch.zeros(1, 3, 1, 1)}
    for name, tensor in convolutions.items():
        _, index, *rest = name.split(".")
        if name.startswith("features."):
            number = next(i for i, places in enumerate(SLICES, 1) if int(index) in places)
            whole[f"net.slice{number}.{index}.{rest[0]}"] = tensor
    whole.update(linear)
    whole.update((name.replace("lin", "lins.", 1), tensor) for name, tensor in linear.items())
    return whole


class TestFiles:
    def test_torchvisions_and_lpips_files_together(
        self, convolutions: dict[str, Tensor], linear: dict[str, Tensor], tmp_path: Path
    ) -> None:
        # the published files are of torch.save's old kind
        torch.save(convolutions, tmp_path / "vgg16.pth", _use_new_zipfile_serialization=False)
        torch.save(linear, tmp_path / "vgg.pth", _use_new_zipfile_serialization=False)
        loaded = load_lpips([tmp_path / "vgg16.pth", tmp_path / "vgg.pth"])
        assert torch.equal(loaded._tensors["features.28.weight"], convolutions["features.28.weight"])
        assert torch.equal(loaded._tensors["lin4.model.1.weight"], linear["lin4.model.1.weight"])

    def test_lpips_whole_model_as_one_safetensors_file(
        self, convolutions: dict[str, Tensor], linear: dict[str, Tensor], tmp_path: Path
    ) -> None:
        whole = {name: tensor.clone() for name, tensor in renamed(convolutions, linear).items()}
        save_file(whole, tmp_path / "lpips.safetensors")
        loaded = load_lpips([tmp_path / "lpips.safetensors"])
        assert all(torch.equal(loaded._tensors[n], {**convolutions, **linear}[n]) for n in SHAPES)

    def test_missing_tensors_are_named(
        self, convolutions: dict[str, Tensor], linear: dict[str, Tensor], tmp_path: Path
    ) -> None:
        torch.save(convolutions, tmp_path / "vgg16.pth")
        torch.save(linear, tmp_path / "vgg.pth")
        assert "LPIPS' linear layers are missing (lin0.model.1.weight and 4 more)" in refusal(tmp_path / "vgg16.pth")
        assert "VGG-16's convolutions are missing (features.0.weight and 25 more)" in refusal(tmp_path / "vgg.pth")

    @pytest.mark.parametrize(
        ("tensor", "told"),
        [
            (
                torch.zeros(64, 3, 5, 5),
                r"features.0.weight must be \(64, 3, 3, 3\) of floating point, got \(64, 3, 5, 5\)",
            ),
            (torch.zeros(64, 3, 3, 3, dtype=torch.int32), "torch.int32"),
            (torch.full((64, 3, 3, 3), torch.nan), "features.0.weight has non-finite values"),
        ],
    )
    def test_tensors_of_another_shape_or_dtype_are_an_error(
        self, convolutions: dict[str, Tensor], linear: dict[str, Tensor], tmp_path: Path, tensor: Tensor, told: str
    ) -> None:
        torch.save({**convolutions, **linear, "features.0.weight": tensor}, tmp_path / "wrong.pth")
        with pytest.raises(CheckpointError, match=told):
            load_lpips([tmp_path / "wrong.pth"])

    @pytest.mark.parametrize("name", ["wrong.pth", "wrong.safetensors"])
    @pytest.mark.parametrize("content", [b"", b"no tensors at all", b"\x80\x02}q\x00."])
    def test_another_kind_of_file_is_an_error_of_one_line(self, tmp_path: Path, name: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        refusal(tmp_path / name)

    def test_a_truncated_file_is_an_error(self, linear: dict[str, Tensor], tmp_path: Path) -> None:
        torch.save(linear, tmp_path / "vgg.pth")
        (tmp_path / "vgg.pth").write_bytes((tmp_path / "vgg.pth").read_bytes()[:2000])
        assert "damaged, or holds more than tensors" in refusal(tmp_path / "vgg.pth")

    def test_a_file_that_is_not_a_state_dict_is_an_error(self, tmp_path: Path) -> None:
        torch.save([torch.zeros(2)], tmp_path / "list.pth")
        assert "not a state dict" in refusal(tmp_path / "list.pth")

    def test_code_in_a_file_is_not_run(self, tmp_path: Path) -> None:
        class Bomb:
            def __reduce__(self) -> tuple[object, ...]:
                return Path.touch, (tmp_path / "ran",)

        torch.save({"features.0.weight": Bomb()}, tmp_path / "bomb.pth")
        refusal(tmp_path / "bomb.pth")
        assert not (tmp_path / "ran").exists()

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"none\.pth: no such file"):
            load_lpips([tmp_path / "none.pth"])


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_lpips([path])
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message
