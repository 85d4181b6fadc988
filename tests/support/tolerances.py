"""Every tolerance of the tests, with its reason (DESIGN, section 4). None is ever loosened to pass."""

import torch

GOLDEN_OUTPUT = 1e-5
"""Relative RMS of the decoder's float32 output against the authors' implementation."""

GOLDEN_GRADIENT = 1e-4
"""Relative RMS of a float32 gradient against the authors' implementation."""

FLOAT32_OUTPUT = 1e-5
"""Relative RMS of the decoder's float32 output against float64."""

SAME_DTYPE_FACTOR = 2.0
"""A fast path may err this many times as much as the plain torch path in the same dtype."""

COSINE = 0.9999
"""Least cosine between a float32 gradient and its float64 truth. (In half precision plain torch itself stays under
it: 0.992 in bfloat16 for the worst parameter of asfsr-full; there SAME_DTYPE_FACTOR judges.)"""

FLOAT64 = 1e-12
"""Relative RMS between two ways to compute the same thing in float64."""

SAME_ROUNDINGS = {torch.bfloat16: 2**-8, torch.float16: 2**-11, torch.float32: 2**-11}
"""Relative error between two computations that round activations in the same places and differ in the order of sums: a
few activations of a hundred come out a unit in the last place apart, which is half of this. float32 stands for TF32."""
