"""Which devices the extension's machine code runs on. Needs no torch."""

from __future__ import annotations

import re


def covers(architectures: str, capability: tuple[int, int]) -> bool:
    """Whether code for architectures such as "80 90a 120+ptx" runs on a device of that compute capability.

    Machine code serves its major version from its minor one on, with an "a" its own device alone, with an "f" the
    same as without; from PTX the driver makes code for all that came later.
    """
    for major, minor, kind, ptx in re.findall(r"(\d+)(\d)([af]?)(\+ptx)?", architectures):
        own = int(major), int(minor)
        if own == capability or (kind != "a" and own[0] == capability[0] and own <= capability):
            return True
        if ptx and not kind and own <= capability:
            return True
    return False
