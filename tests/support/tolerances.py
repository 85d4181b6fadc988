"""Every tolerance of the tests, with its reason (docs/method.md, section 4). None is ever loosened to pass."""

import torch

from arasfsr.testing import FLOAT32_BAR as FLOAT32_OUTPUT
from arasfsr.testing import LEAST_COSINE as COSINE
from arasfsr.testing import REFERENCE_FACTOR as SAME_DTYPE_FACTOR

__all__ = ["COSINE", "FLOAT32_OUTPUT", "SAME_DTYPE_FACTOR"]

GOLDEN_OUTPUT = 1e-5
"""Relative RMS of the decoder's float32 output against the authors' implementation."""

GOLDEN_GRADIENT = 1e-4
"""Relative RMS of a float32 gradient against the authors' implementation."""

FLOAT64 = 1e-12
"""Relative RMS between two ways to compute the same thing in float64."""

SAME_ROUNDINGS = {torch.bfloat16: 2**-8, torch.float16: 2**-11, torch.float32: 2**-11}
"""Relative error between two computations that round activations in the same places and differ in the order of sums: a
few activations of a hundred come out a unit in the last place apart, which is half of this. float32 stands for TF32."""
