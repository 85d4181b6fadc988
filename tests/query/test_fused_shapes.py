"""The fused backends compute the same function, whatever shapes, switches, cuts and chunks come."""

from __future__ import annotations

import pytest
import torch
from fused_backends import FLOAT32_FUSED, half_only, skip_module_without
from fused_cases import CASES, WIDTHS, Case, assert_rounded_alike
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from models import gradients
from tolerances import FLOAT32_OUTPUT, GOLDEN_GRADIENT, SAME_DTYPE_FACTOR

from arasfsr.testing import relative_rms

skip_module_without("triton", "cuda")
pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("fused", FLOAT32_FUSED)
@settings(max_examples=8, deadline=None)
@given(case=CASES)
def test_any_shape_in_float32(fused: str, case: Case) -> None:
    model, arguments = case.problem(fused)
    found, *found_gradients = case.decode(fused, model, arguments)
    truth = model(*arguments, backend="reference", dtype=torch.float64)
    assert relative_rms(found, truth) <= FLOAT32_OUTPUT
    exact = gradients(model, *arguments, backend="reference", dtype=torch.float64)
    plain = gradients(model, *arguments, backend="reference")
    for ours, theirs, true in zip(found_gradients, plain, exact, strict=True):
        scale = true.double().norm().clamp(min=1e-9)
        error, plain_error = ((g.double() - true.double()).norm() / scale for g in (ours, theirs))
        assert error <= max(GOLDEN_GRADIENT, SAME_DTYPE_FACTOR * plain_error)  # one query's terms may cancel


@half_only
@settings(max_examples=15, deadline=None, derandomize=True, phases=[Phase.generate])  # small as they come
@given(case=CASES, width=st.sampled_from((*WIDTHS, 200)))
def test_any_shape_in_half_precision(fused: str, dtype: torch.dtype, case: Case, width: int) -> None:
    assert_rounded_alike(fused, dtype, case._replace(width=width))
