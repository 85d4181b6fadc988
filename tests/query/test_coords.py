"""Geometry: pixel centres, nearest cells, the local ensemble."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from arasfsr.config import FOURIER_CHANNELS
from arasfsr.coords import fourier_encoding, grid_coords, local_ensemble, make_cell, make_coord, nearest_lr_pixel


def test_coordinates_are_pixel_centres() -> None:
    coord = make_coord((2, 4)).view(2, 4, 2)
    torch.testing.assert_close(coord[:, 0, 0], torch.tensor([-0.5, 0.5]))
    torch.testing.assert_close(coord[0, :, 1], torch.tensor([-0.75, -0.25, 0.25, 0.75]))


def test_a_cell_is_a_target_pixel() -> None:
    torch.testing.assert_close(make_cell((4, 8)), torch.tensor([0.5, 0.25]))


def test_region_coordinates_are_those_of_the_grid() -> None:
    whole = make_coord((7, 9)).view(7, 9, 2)
    part = grid_coords((7, 9), 0, 6, 3, (2, 4), torch.device("cpu")).view(2, 3, 2)
    assert torch.equal(part, whole[2:4, 4:7])


@settings(deadline=None)  # the machine may be busy; what is checked is not speed
@given(n=st.integers(1, 200), seed=st.integers(0, 10_000))
def test_nearest_lr_pixel_agrees_with_grid_sample(n: int, seed: int) -> None:
    x = torch.rand(64, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    row = torch.arange(n, dtype=torch.float32).view(1, 1, 1, n)
    grid = torch.stack((x, torch.zeros_like(x)), dim=-1).view(1, 1, -1, 2)
    picked = F.grid_sample(row, grid, mode="nearest", align_corners=False).flatten().long()
    assert torch.equal(nearest_lr_pixel(x, n), picked)


def test_ties_round_to_the_even_pixel() -> None:
    assert nearest_lr_pixel(torch.tensor([-0.5, 0.0, 0.5]), 4).tolist() == [0, 2, 2]


@settings(deadline=None)  # the machine may be busy; what is checked is not speed
@given(h=st.integers(1, 12), w=st.integers(1, 12), seed=st.integers(0, 1000))
def test_ensemble_shares_sum_to_one(h: int, w: int, seed: int) -> None:
    coord = torch.rand(50, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    corners = local_ensemble(coord, (h, w))
    torch.testing.assert_close(corners.share.sum(0), torch.ones(50))
    assert (corners.share >= 0).all()
    assert ((corners.lr_pixel >= 0) & (corners.lr_pixel < h * w)).all()


def test_shares_are_bilinear_inside_the_image() -> None:
    corners = local_ensemble(torch.tensor([[0.05, -0.1]]), (4, 4))
    y, x = (0.05 + 0.25) / 0.5, (-0.1 + 0.25) / 0.5
    expected = torch.tensor([[(1 - y) * (1 - x)], [(1 - y) * x], [y * (1 - x)], [y * x]])
    torch.testing.assert_close(corners.share, expected, rtol=0, atol=1e-5)


def test_fourier_encoding_has_no_pi_and_is_ordered_by_octave() -> None:
    encoding = fourier_encoding(torch.tensor([0.3, -0.2]))
    assert encoding.shape == (FOURIER_CHANNELS,)
    assert encoding[2].item() == pytest.approx(torch.tensor(0.3).sin().item())
    assert encoding[-1].item() == pytest.approx(torch.tensor(-0.2 * 512).cos().item(), abs=1e-5)
