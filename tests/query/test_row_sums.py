"""Sums over rows that are cut into pieces."""

from __future__ import annotations

import pytest
import torch

from arasfsr.query.fused.row_sums import product_over_rows


@pytest.mark.parametrize("rows", [1, 37, 64, 384, 1024])
@pytest.mark.parametrize("columns", [3, 64])
def test_product_is_exact_for_any_split_of_rows(rows: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    a = torch.randint(-9, 10, (2, rows, columns), generator=generator).float()
    b = torch.randint(-9, 10, (2, rows, 40), generator=generator).float()
    assert torch.equal(product_over_rows(a, b), a.transpose(1, 2) @ b)  # all sums are exact
