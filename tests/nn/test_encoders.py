"""The encoders: what the public implementations compute, for any LR size, layout and dtype."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from public_encoders import (
    Functions,
    Shapes,
    edsr_shapes,
    rcan_shapes,
    rdn_shapes,
    swinir_shapes,
    tensors_of,
    write_public,
)
from pydantic import ValidationError
from tolerances import FLOAT64, GOLDEN_OUTPUT
from torch import Tensor, nn
from torch.nn import functional as F

from arasfsr import (
    CheckpointError,
    DecoderConfig,
    EncoderConfig,
    FrequencyConfig,
    ImplicitSR,
    ModelConfig,
    RCANConfig,
    RDNConfig,
    SwinIRConfig,
    load_model,
    save_model,
)
from arasfsr.checkpoints.authors_encoders import rename
from arasfsr.config import Encoder
from arasfsr.nn.encoders import build_encoder
from arasfsr.nn.encoders.swinir import pad_to_windows, shift_mask, stochastic_depth
from arasfsr.nn.noise import draw
from arasfsr.testing import relative_rms

SMALL_SWINIR = SwinIRConfig(depths=(2, 3), width=12, heads=3, window=4, mlp_ratio=1.5, features=6)
SMALL: dict[str, Encoder] = {
    "edsr": EncoderConfig(blocks=2, features=6, residual_scale=0.1),
    "rdn": RDNConfig(blocks=2, layers=3, growth=4, features=6),
    "rcan": RCANConfig(groups=2, blocks=2, features=6, reduction=3),
    "swinir": SMALL_SWINIR,
}
SIZES = [(1, 1), (5, 7), (12, 12), (20, 20), (33, 17)]


class Public(NamedTuple):
    """A public encoder: its name and arguments there, its tensors, what it computes, and its configuration here."""

    name: str
    args: dict[str, Any]
    shapes: Shapes
    run: Callable[[Functions, Tensor], Tensor]
    config: Encoder


PUBLIC = {
    "edsr-baseline": Public(
        "edsr-baseline",
        {},
        edsr_shapes(2, 6),
        lambda functions, image: functions.edsr(image, 2, 1.0),
        EncoderConfig(blocks=2, features=6),
    ),
    "edsr": Public(
        "edsr", {}, edsr_shapes(2, 6), lambda functions, image: functions.edsr(image, 2, 0.1), SMALL["edsr"]
    ),
    "edsr with its own scale": Public(
        "edsr",
        {"res_scale": 0.5},
        edsr_shapes(2, 6),
        lambda functions, image: functions.edsr(image, 2, 0.5),
        EncoderConfig(blocks=2, features=6, residual_scale=0.5),
    ),
    "rdn": Public(
        "rdn",
        {"RDNconfig": "B"},
        rdn_shapes(2, 3, 4, 6),
        lambda functions, image: functions.rdn(image, 2, 3),
        SMALL["rdn"],
    ),
    "rcan": Public(
        "rcan",
        {"reduction": 3},
        rcan_shapes(2, 2, 6, 3),
        lambda functions, image: functions.rcan(image, 2, 2),
        SMALL["rcan"],
    ),
    "swinir": Public(
        "swinir",
        {},
        swinir_shapes((2, 3), 12, 3, 4, 18, 6),
        lambda functions, image: functions.swinir(image, (2, 3), 3, 4),
        SMALL["swinir"],
    ),
}


@pytest.fixture(params=list(SMALL))
def encoder(request: pytest.FixtureRequest) -> nn.Module:
    """A small encoder of each kind, its biases and norms no longer at their initial zeros and ones."""
    found = build_encoder(SMALL[request.param]).eval()
    with torch.no_grad():
        for parameter in found.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return found


@pytest.fixture(params=list(PUBLIC))
def public(request: pytest.FixtureRequest) -> Public:
    return PUBLIC[request.param]


def image_of(size: tuple[int, int], batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, *size) * 2 - 1


# --- what they compute -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "bar"), [(torch.float32, GOLDEN_OUTPUT), (torch.float64, FLOAT64)])
def test_a_public_checkpoint_s_encoder_computes_what_it_did(
    public: Public, dtype: torch.dtype, bar: float, tmp_path: Path
) -> None:
    path, tensors = tmp_path / "model.pth", tensors_of(public.shapes)
    write_public(path, public.name, public.args, tensors)
    model = load_model(path).to(dtype)
    assert model.config.encoder == public.config
    image = image_of((8, 12)).to(dtype)
    with torch.no_grad():
        found = model.encode(image).features
    literal = Functions({key: tensor.to(dtype) for key, tensor in tensors.items()})
    assert found.dtype == dtype
    assert relative_rms(found, public.run(literal, image)) <= bar


def test_a_public_checkpoint_s_encoder_is_differentiated_as_it_was(public: Public, tmp_path: Path) -> None:
    tensors = {key: tensor.double() for key, tensor in tensors_of(public.shapes).items()}
    write_public(
        tmp_path / "model.pth", public.name, public.args, {key: value.float() for key, value in tensors.items()}
    )
    encoder = load_model(tmp_path / "model.pth").double().encoder
    tensors = {key: tensor.float().double().requires_grad_() for key, tensor in tensors.items()}
    image = image_of((8, 8)).double().requires_grad_()
    truth = public.run(Functions(tensors), image)
    upstream = torch.rand_like(truth)
    used = {key: tensor for key, tensor in tensors.items() if rename(key) is not None}
    exact = torch.autograd.grad(truth, [image, *used.values()], upstream)
    parameters = dict(encoder.named_parameters())
    leaves = [image, *(parameters[str(rename(key))] for key in used)]
    found = torch.autograd.grad(encoder(image), leaves, upstream)
    scale = max(gradient.norm() for gradient in exact).item()  # a bias of keys has none but rounding's
    errors = [
        (ours - theirs).norm().item() / max(theirs.norm().item(), 1e-3 * scale)
        for ours, theirs in zip(found, exact, strict=True)
    ]
    assert max(errors) <= 100 * FLOAT64


def test_a_public_checkpoint_converted_is_the_same_model(public: Public, tmp_path: Path) -> None:
    write_public(tmp_path / "model.pth", public.name, public.args, tensors_of(public.shapes))
    model = load_model(tmp_path / "model.pth")
    save_model(model, tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    assert again.config == model.config
    image = image_of((5, 6))
    assert torch.equal(again.encode(image).features, model.encode(image).features)


def test_the_defaults_have_the_papers_sizes() -> None:
    """Millions of parameters up to the feature map; RDN, RCAN and SwinIR are known as 22, 15.4 and 11.6 or so."""
    configs = (EncoderConfig(), EncoderConfig.large(), RDNConfig(), RCANConfig(), SwinIRConfig())
    with torch.device("meta"):
        encoders = [build_encoder(config) for config in configs]
    found = [sum(parameter.numel() for parameter in encoder.parameters()) / 1e6 for encoder in encoders]
    assert [round(millions, 1) for millions in found] == [1.2, 38.4, 22.0, 15.3, 11.6]


# --- any size ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_any_size_keeps_its_size(encoder: nn.Module, size: tuple[int, int]) -> None:
    found = encoder(image_of(size))
    assert found.shape == (2, 6, *size)
    assert found.isfinite().all()


@pytest.mark.parametrize("size", SIZES)
def test_every_parameter_and_the_image_get_a_gradient(encoder: nn.Module, size: tuple[int, int]) -> None:
    image = image_of(size).requires_grad_()
    found = encoder(image)
    (found * torch.rand_like(found)).sum().backward()
    assert image.grad.any()
    without = [name for name, parameter in encoder.named_parameters() if parameter.grad is None]
    assert without == []
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


@pytest.mark.parametrize("size", [(12, 20), (9, 18), (11, 8)])
def test_swinir_pads_by_reflection_and_crops(size: tuple[int, int]) -> None:
    encoder = build_encoder(SMALL_SWINIR.model_copy(update={"window": 8})).eval()
    image = image_of(size)
    padded = F.pad(image, (0, -size[1] % 8, 0, -size[0] % 8), mode="reflect")
    assert not padded.shape[2] % 8
    assert not padded.shape[3] % 8
    torch.testing.assert_close(encoder(image), encoder(padded)[:, :, : size[0], : size[1]], rtol=0, atol=0)


@pytest.mark.parametrize(("size", "modes"), [((1, 5), ("replicate", "reflect")), ((4, 4), ("replicate", "replicate"))])
def test_a_side_too_short_to_reflect_repeats_its_border(size: tuple[int, int], modes: tuple[str, str]) -> None:
    image = image_of(size)
    truth = F.pad(image, (0, 0, 0, -size[0] % 8), mode=modes[0])
    truth = F.pad(truth, (0, -size[1] % 8, 0, 0), mode=modes[1])
    assert torch.equal(pad_to_windows(image, 8), truth)


def test_whole_windows_are_not_padded() -> None:
    image = image_of((16, 8))
    assert pad_to_windows(image, 8) is image


def test_pixels_of_opposite_ends_do_not_see_one_another() -> None:
    """In an image of one window the shift makes four parts of it."""
    mask = shift_mask((4, 4), 4, 2, torch.device("cpu"))
    assert mask.shape == (1, 16, 16)
    seen = (mask[0] == 0).sum(1)
    assert seen.tolist() == [4] * 16
    inner = shift_mask((16, 16), 4, 2, torch.device("cpu")).view(4, 4, 16, 16)[:3, :3]
    assert not inner.any()


# --- layouts, dtypes, modes --------------------------------------------------------------------------------------


def test_channels_last_is_the_same(encoder: nn.Module) -> None:
    image = image_of((12, 12))
    truth = encoder(image)
    found = encoder.to(memory_format=torch.channels_last)(image.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-5)


def test_a_bfloat16_encoder_is_near_the_float32_one(encoder: nn.Module) -> None:
    image = image_of((5, 7))
    truth = encoder(image)
    found = encoder.to(torch.bfloat16)(image.to(torch.bfloat16))
    assert found.dtype == torch.bfloat16
    assert relative_rms(found, truth) < 0.03


def test_autocast_trains_in_bfloat16(encoder: nn.Module) -> None:
    image = image_of((5, 7))
    truth = encoder(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = encoder(image)
    assert found.dtype == torch.bfloat16
    assert relative_rms(found, truth) < 0.03
    found.float().square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


def test_an_encoder_holds_parameters_alone(encoder: nn.Module) -> None:
    assert list(encoder.buffers()) == []
    assert set(encoder.state_dict()) == {name for name, _ in encoder.named_parameters()}


def test_compiles_into_one_graph(encoder: nn.Module) -> None:
    image = image_of((5, 7))
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(image), encoder(image))


def test_stochastic_depth_drops_each_branch_for_itself_and_keeps_the_mean() -> None:
    found = stochastic_depth(torch.empty(4000, 3, 1, 1), [0, 0.25], None)
    assert found.shape == (2, 2, 4000, 1, 1, 1)
    assert found[0].unique().tolist() == [1]
    assert found[1].unique().tolist() == pytest.approx([0, 4 / 3])
    assert found[1].mean(dim=(1, 2, 3, 4)).tolist() == pytest.approx([1, 1], abs=0.05)
    assert not torch.equal(found[1, 0], found[1, 1])


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_with_a_generator_for_each_image_what_is_drawn_for_it_does_not_depend_on_the_others() -> None:
    model = ImplicitSR(
        ModelConfig(
            encoder=SMALL_SWINIR.model_copy(update={"drop_path": 0.9}),
            frequency=FrequencyConfig(channels=2, width=4, blocks=1),
            decoder=DecoderConfig(width=8),
        )
    ).train()
    images = image_of((8, 8), 1).repeat(3, 1, 1, 1)
    together = model.encode(images, generators(1, 2, 3)).features
    alone = torch.cat([model.encode(images[:1], generators(seed)).features for seed in (1, 2, 3)])
    torch.testing.assert_close(together, alone)
    torch.manual_seed(1)  # no other generator is drawn from
    torch.testing.assert_close(model.encode(images, generators(1, 2, 3)).features, together, rtol=0, atol=0)
    assert not torch.allclose(together[0], together[1])


def test_there_are_as_many_generators_as_images() -> None:
    with pytest.raises(ValueError, match="one for each of 3 images, got 2"):
        draw(torch.randn, torch.empty(3, 1), (4,), generators(1, 2))


def test_stochastic_depth_is_for_training_alone() -> None:
    image = image_of((8, 8))
    encoder = build_encoder(SMALL_SWINIR.model_copy(update={"drop_path": 0.9})).train()
    assert not torch.equal(encoder(image), encoder(image))
    assert torch.equal(encoder.eval()(image), encoder(image))
    assert encoder.dropped == pytest.approx([0, 0.225, 0.45, 0.675, 0.9])


# --- in a model --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(SMALL))
def test_a_model_of_any_encoder_upscales_and_comes_back(name: str, tmp_path: Path) -> None:
    model = ImplicitSR(ModelConfig.liif(SMALL[name], width=8)).eval()
    save_model(model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.config == model.config
    image = torch.rand(1, 3, 12, 20)
    found = loaded.upscale(image, scale=1.7)
    assert found.shape == (1, 3, 20, 34)
    assert torch.equal(found, model.upscale(image, scale=1.7))


def test_an_encoder_without_a_name_is_edsr() -> None:
    found = ModelConfig.model_validate({"encoder": {"blocks": 3, "features": 8}})
    assert found.encoder == EncoderConfig(blocks=3, features=8)


@pytest.mark.parametrize(
    ("encoder", "wanted"),
    [
        ({"name": "hat"}, "name must be one of edsr, rdn, rcan, swinir"),
        ({"name": "rcan", "features": 8}, "reduction must be at most features, 8, got 16"),
        ({"name": "swinir", "width": 20}, "width must be a multiple of heads, 6, got 20"),
        ({"name": "swinir", "depths": []}, "depths"),
        ({"name": "rdn", "reduction": 4}, "reduction"),
    ],
)
def test_an_encoder_that_cannot_be_is_refused(encoder: dict[str, Any], wanted: str) -> None:
    with pytest.raises(ValidationError, match=wanted):
        ModelConfig.model_validate({"encoder": encoder})


@pytest.mark.parametrize(
    ("name", "args"), [("rdn", {}), ("swinir", {}), ("rcan", {"reduction": 2}), ("edsr", {"res_scale": 0})]
)
def test_a_public_checkpoint_whose_encoder_is_another_is_refused(
    name: str, args: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "model.pth"
    write_public(path, name, args, tensors_of(rcan_shapes(1, 1, 6, 3)))
    with pytest.raises(CheckpointError, match="not in the authors' format") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
