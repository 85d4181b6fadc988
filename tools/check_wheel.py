"""Check a wheel's contents: `python tools/check_wheel.py WHEEL CHECKOUT` prints problems and exits 1 if any."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path, PurePosixPath

DATA = ("arasfsr/py.typed", "arasfsr/assets/*", "arasfsr/weights/*.safetensors", "arasfsr/query/*.json")
"""Files of the checkout, besides modules, that the wheel must contain."""

EXTENSION = "arasfsr/_C"
"""The only compiled module, without suffix; a wheel for any platform has none."""


def problems(wheel: Path, checkout: Path) -> list[str]:
    """Unexpected top-level names, unexpected compiled modules, and missing files."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    top = {name.split("/")[0] for name in names}
    found = [f"{name} is at top level" for name in sorted(top) if name != "arasfsr" and not name.endswith(".dist-info")]
    compiled = sorted(name for name in names if PurePosixPath(name).suffix in (".so", ".pyd", ".dylib"))
    extensions = [name for name in compiled if name.split(".")[0] == EXTENSION]
    found += [f"{name} does not belong in a wheel" for name in compiled if name not in extensions]
    platform = wheel.stem.split("-")[-1]
    if len(extensions) != (platform != "any"):
        found.append(f"a wheel for platform {platform} holds {' and '.join(extensions) or 'no extension'}")
    wanted = {path.relative_to(checkout).as_posix() for pattern in DATA for path in checkout.glob(pattern)}
    wanted |= {path.relative_to(checkout).as_posix() for path in (checkout / "arasfsr").rglob("*.py")}
    kernels = [path for pattern in ("*.py", "*.json") for path in (checkout / "kernels").rglob(pattern)]
    wanted |= {f"arasfsr/{path.relative_to(checkout).as_posix()}" for path in kernels}
    return found + [f"{name} is missing" for name in sorted(wanted - names)]


def main() -> None:
    """Print the problems of the wheel named on the command line."""
    wheel, checkout = map(Path, sys.argv[1:])
    found = problems(wheel, checkout)
    inside = "all modules and data" + ("" if wheel.stem.endswith("-any") else " and the extension")
    print("\n".join(found) or f"{wheel.name}: only arasfsr at top level, {inside} inside")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
