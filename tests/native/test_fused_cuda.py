"""The binding of the native core: how it takes its arguments, and what it says of those that it does not take."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fused_backends import device_of, fused_arguments, skip_module_without
from models import fused_model

from arasfsr import BackendUnavailable
from arasfsr.coords import make_cell
from arasfsr.query.call import Grid, Queries, QueryCall
from arasfsr.query.fused import cuda, cuda_core
from arasfsr.query.fused.cuda_launch import CudaLauncher
from arasfsr.query.fused.packed import ENCODING_ROWS
from arasfsr.query.operator import problem_of

skip_module_without("cuda")
pytestmark = pytest.mark.gpu


def problem(**changes: int) -> Any:
    """Sizes that a kernel takes, and no pointers."""
    sizes = {"layers": 4, "width": 64, "padded": 64, "modulated": 1, "lr_height": 4, "lr_width": 5, "images": 1}
    return cuda_core.load().Problem(**{"abi": cuda_core.ABI, "queries": 3, **sizes, **changes})


def test_struct_fields_default_to_zero() -> None:
    given = problem(stream=4096, lr_map=1 << 40)
    assert (given.lr_width, given.stream, given.lr_map, given.image, given.per_image) == (5, 4096, 1 << 40, 0, 0)
    kept = cuda_core.load().Kept(count=7, f=64)
    assert (kept.first, kept.count, kept.f, kept.share) == (0, 7, 64, 0)
    assert cuda_core.load().Gradients(z=16).z == 16


def test_unknown_struct_field() -> None:
    with pytest.raises(TypeError, match="Problem has no field heigth"):
        problem(heigth=4)


def test_the_sizes_of_core_and_package_agree() -> None:
    core: Any = cuda_core.load()
    assert core.ENCODING == ENCODING_ROWS
    assert core.TILE == 64


@pytest.mark.parametrize(
    ("changes", "found"),
    [({}, None), ({"padded": 512, "width": 512}, ("padded", 512)), ({"layers": 99}, ("layers", 99))],
)
def test_supports_names_the_value_that_no_kernel_takes(changes: dict[str, int], found: tuple[str, int] | None) -> None:
    assert cuda_core.load().supports(problem(**changes)) == found


def test_invalid_argument_is_a_runtime_error_that_names_it() -> None:
    core = cuda_core.load()
    with pytest.raises(RuntimeError, match=r"^invalid argument to the native core: lr_width=-3$"):
        core.supports(problem(lr_width=-3))
    with pytest.raises(RuntimeError, match=r"^invalid argument to the native core: abi=99$"):
        core.render_scratch(problem(abi=99))
    with pytest.raises(RuntimeError, match=r"^no native kernel supports layers=99$"):
        core.render(problem(layers=99), 16, 16, 0)
    with pytest.raises(RuntimeError, match=r"^invalid argument to the native core: lr_map="):
        core.render(problem(), 16, 16, 1 << 30)
    with pytest.raises(RuntimeError, match=r"^invalid argument to the native core: count=9$"):
        core.keep(problem(), core.Kept(count=9, tiles=1), 0, 0)
    with pytest.raises(RuntimeError, match=r"^invalid argument to the native core: tiles=0$"):
        core.backward(problem(), core.Kept(count=3), core.Gradients(), 0, 0)


def test_what_only_the_core_refuses_makes_the_backend_unavailable() -> None:
    model = fused_model(layers=9).to(device_of("cuda"))
    with pytest.raises(BackendUnavailable, match=r"^backend='cuda': layers=9, for which it has no kernel"):
        model(*fused_arguments("cuda"), backend="cuda", dtype=torch.bfloat16)


@pytest.mark.skipif(not cuda.emulated(), reason="a GPU has the multiprocessors that it has")
@pytest.mark.parametrize("processors", [132, 78])
@pytest.mark.parametrize("images", [1, 2, 4])
def test_chunks_fill_the_device(monkeypatch: pytest.MonkeyPatch, processors: int, images: int) -> None:
    """Of the paper's model and 1024 x 1024 queries that images share, on compute capability 9.0."""
    monkeypatch.setenv("ARASFSR_EMULATION_CAPABILITY", "90")
    monkeypatch.setenv("ARASFSR_EMULATION_PROCESSORS", str(processors))
    weights = fused_model(256, 4).decoder.weights()
    features = torch.zeros(images, weights.content[0][0].shape[1] // 9, 16, 16)
    grid = Grid((1024, 1024), (0, 0, 1024, 1024))
    cell = make_cell(grid.size).view(1, 1, 2)
    launcher = CudaLauncher(problem_of(QueryCall(features, None, Queries(None, grid), cell, weights, torch.bfloat16)))
    tiles = [-(-count // launcher.tile) for _, count in launcher.chunks()]
    for name, at_a_time in (("keep", launcher.turn), ("backward", launcher.turn // 4)):
        turns = sum(-(-of_chunk // at_a_time) for of_chunk in tiles)
        efficiency = sum(tiles) / (turns * at_a_time)
        print(f"{processors} multiprocessors, {images} images, {name}: {turns} turns, {efficiency:.0%} full")
        assert efficiency >= 0.9


def test_too_little_scratch_is_refused() -> None:
    core = cuda_core.load()
    buffer = torch.empty(1 << 20, dtype=torch.uint8)
    address = -(-buffer.data_ptr() // 16) * 16
    pointers = ("lr_map", "coord", "rel_weight", "content_weight", "content_bias", "encoding_weight", "output_bias")
    more = ("modulator_weight", "modulator_bias", "output_weight")
    given = problem(**dict.fromkeys((*pointers, *more), address))
    assert core.render_scratch(given) > 8
    with pytest.raises(RuntimeError, match="scratch_bytes=8"):
        core.render(given, address, address, 8)
