"""The skip's backward, written by hand, is autograd's through grid_sample."""

from __future__ import annotations

import pytest
import torch

from arasfsr.query.skip import bilinear_skip, bilinear_skip_backward


@pytest.mark.parametrize("images", [1, 2])
def test_backward_matches_grid_sample(images: int) -> None:
    image = torch.rand(2, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    coord = torch.rand(images, 40, 2, dtype=torch.float64) * 2.4 - 1.2  # some beyond the border
    coord[0, 0], coord[0, 1] = 1, -1
    coord.requires_grad_()
    grad = torch.rand(2, 40, 3, dtype=torch.float64)
    wanted = torch.autograd.grad(bilinear_skip(image, coord), (image, coord), grad)
    found = bilinear_skip_backward(grad, image.detach(), coord.detach(), need_image=True)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_image_gradient_is_skipped_when_not_needed() -> None:
    image, coord, grad = torch.rand(1, 3, 4, 4), torch.rand(1, 5, 2), torch.rand(1, 5, 3)
    assert bilinear_skip_backward(grad, image, coord, need_image=False)[0] is None
