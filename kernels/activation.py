"""Device functions: the decoder's two non-linearities and their derivatives, defined only here.

The backward kernels read only what the forward kept: of the activation the output f, not the input z, so its derivative
must be a function of f; of the modulation the derivative itself, which is not a function of s.
"""

from __future__ import annotations

import triton
import triton.language as tl

from arasfsr.kernels.numerics import wave


@triton.jit
def activation(z):
    """f = relu(z); NaN propagates."""
    return tl.maximum(z, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def activation_backward(f, grad):
    """The gradient of z, from f = activation(z) and `grad`, the gradient of f."""
    return tl.where(f > 0, grad, 0.0)


@triton.jit
def modulation(angle, ARITHMETIC: tl.constexpr):
    """s = sin(angle)."""
    return wave(angle, False, ARITHMETIC)


@triton.jit
def modulation_derivative(angle, ARITHMETIC: tl.constexpr):
    """The derivative of s, by which the backward multiplies its gradient."""
    return wave(angle, True, ARITHMETIC)
