"""Which devices the extension's machine code runs on. Does not import torch."""

from __future__ import annotations

import re


def covers(architectures: str, capability: tuple[int, int]) -> bool:
    """Whether code for architectures such as "80 90a 120+ptx" runs on a device of that compute capability.

    Machine code runs on devices of the same major version and the same or a later minor one; with an "a", only on
    that architecture; an "f" changes nothing. PTX is compiled by the driver for any later device.
    """
    for major, minor, kind, ptx in re.findall(r"(\d+)(\d)([af]?)(\+ptx)?", architectures):
        own = int(major), int(minor)
        if own == capability or (kind != "a" and own[0] == capability[0] and own <= capability):
            return True
        if ptx and not kind and own <= capability:
            return True
    return False
