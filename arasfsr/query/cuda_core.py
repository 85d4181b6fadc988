"""Loads the native core: arasfsr._C, or for tests the emulated module that ARASFSR_EMULATED names."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any, Protocol, cast

ABI = 7
"""Of csrc/include/arasfsr/core.h: what this package calls."""

EXTENSION = "arasfsr._C"

EMULATED = "_C_emulated"
"""The module that runs the same kernels on the CPU; a file of that name and Python's suffix."""

BUILD = "build it where nvcc is: ARASFSR_CUDA=1 pip install ."


class Core(Protocol):
    """The module of csrc/binding.cpp. Structs take their fields by name, pointers as integers."""

    TILE: int
    BFLOAT16: int
    FLOAT16: int
    TF32: int

    def abi(self) -> int: ...
    def architectures(self) -> str: ...
    def supports(self, problem: Any) -> tuple[str, int] | None: ...
    def turn(self, problem: Any) -> int: ...
    def render_scratch(self, problem: Any) -> int: ...
    def render(self, problem: Any, out: int, scratch: int, bytes: int) -> None: ...
    def keep_scratch(self, problem: Any) -> int: ...
    def keep(self, problem: Any, kept: Any, scratch: int, bytes: int) -> None: ...
    def backward_scratch(self, problem: Any) -> int: ...
    def backward(self, problem: Any, kept: Any, gradients: Any, scratch: int, bytes: int) -> None: ...
    def scatter(self, problem: Any, kept: Any, z: int, latent: int, rel: int) -> None: ...
    def weight_splits(self, problem: Any) -> int: ...
    def weight_gradients(self, problem: Any, kept: Any, z: int, weights: int, biases: int, splits: int) -> None: ...
    def coordinate_scratch(self, problem: Any) -> int: ...
    def coordinate(self, problem: Any, kept: Any, s: int, scratch: int, bytes: int) -> None: ...
    def Problem(self, **fields: int) -> Any: ...
    def Kept(self, **fields: int) -> Any: ...
    def Gradients(self, **fields: int) -> Any: ...


def emulated() -> str | None:
    """The file or folder of the emulated module, where the environment names one."""
    return os.environ.get("ARASFSR_EMULATED") or None


@functools.cache
def load() -> Core:
    """The native core.

    Raises:
        ImportError: it is not built, does not load, or is not of this package's version; the message says what to do.
    """
    place = emulated()
    if place is not None:
        core = _from_file(Path(place))
    else:
        try:
            core = cast(Core, importlib.import_module(EXTENSION))
        except ImportError as error:
            raise ImportError(
                f"the extension does not load ({type(error).__name__}: {error}); {BUILD}", name=error.name
            ) from error
    if core.abi() != ABI:
        raise ImportError(f"the extension has ABI {core.abi()}, this version of arasfsr takes {ABI}; {BUILD}")
    return core


def _from_file(place: Path) -> Core:
    """The emulated module in a file, or in the folder that holds it."""
    files = sorted(place.glob(f"{EMULATED}.*.so")) if place.is_dir() else [place]
    if len(files) != 1 or not files[0].is_file():
        raise ImportError(f"ARASFSR_EMULATED={place}; taken is {EMULATED}.*.so or a folder with one such file")
    name = f"arasfsr.{EMULATED}"
    spec = importlib.util.spec_from_file_location(name, files[0])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return cast(Core, module)
