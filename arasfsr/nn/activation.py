"""The activation, ReLU, with its derivative; kernels/activation.py and csrc/src/activation.h have the same pair.

The backward needs only the activation's output; its input need not be kept.
"""

from __future__ import annotations

import torch
from torch import Tensor


def activation(z: Tensor) -> Tensor:
    """ReLU that propagates NaN."""
    return z.relu()


def activation_(z: Tensor) -> Tensor:
    """`activation` in place."""
    return z.relu_()


def activation_out(z: Tensor, out: Tensor) -> None:
    """`activation` into `out`, of z's shape and dtype."""
    torch.clamp_min(z, 0, out=out)


def activation_backward_out(f: Tensor, grad: Tensor, out: Tensor) -> None:
    """The gradient of z, from f = activation(z) and `grad`, the gradient of f, into `out`, which may be `grad`."""
    torch.ops.aten.threshold_backward.grad_input(grad, f, 0, grad_input=out)
