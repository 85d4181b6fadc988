"""Check what a wheel holds: `python tools/check_wheel.py WHEEL CHECKOUT` prints each problem and exits 1 if any."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

DATA = ("arasfsr/py.typed", "arasfsr/assets/*", "arasfsr/weights/*.safetensors")
"""Files of the checkout, besides modules, that the wheel must hold."""


def problems(wheel: Path, checkout: Path) -> list[str]:
    """Top-level names other than arasfsr and its metadata, and modules and data of the checkout that are missing."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    top = {name.split("/")[0] for name in names}
    found = [f"{name} is at top level" for name in sorted(top) if name != "arasfsr" and not name.endswith(".dist-info")]
    wanted = {path.relative_to(checkout).as_posix() for pattern in DATA for path in checkout.glob(pattern)}
    wanted |= {path.relative_to(checkout).as_posix() for path in (checkout / "arasfsr").rglob("*.py")}
    kernels = [path for pattern in ("*.py", "*.json") for path in (checkout / "kernels").rglob(pattern)]
    wanted |= {f"arasfsr/{path.relative_to(checkout).as_posix()}" for path in kernels}
    return found + [f"{name} is missing" for name in sorted(wanted - names)]


def main() -> None:
    """Print the problems of the wheel named on the command line."""
    wheel, checkout = map(Path, sys.argv[1:])
    found = problems(wheel, checkout)
    print("\n".join(found) or f"{wheel.name}: only arasfsr at top level, all modules and data inside")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
