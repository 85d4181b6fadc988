"""The device that computes, by name."""

from __future__ import annotations

import re

import torch

from arasfsr.errors import ArgumentError


def find_device(name: str | torch.device = "auto") -> torch.device:
    """The device called `name`; "auto" is a GPU if there is one.

    Raises:
        ArgumentError: there is no device of that name, or it cannot be used.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if re.fullmatch(r"(cpu|cuda|xpu|mps)(:[0-9]{1,3})?", str(name)) is None:
        raise ArgumentError(f"device must be auto, cpu, cuda, cuda:1 ..., got {str(name)!r}")
    device = torch.device(name)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = re.split(r"\n|\. ", str(error).strip())[0]
        raise ArgumentError(f"device {str(name)!r} cannot be used: {reason}") from error
    return device
