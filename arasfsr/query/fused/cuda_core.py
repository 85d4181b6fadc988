"""Loads the native core: arasfsr._C, the build at ARASFSR_EXTENSION, or for tests the one at ARASFSR_EMULATED."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from typing import Any, Protocol, cast

ABI = 8
"""The ABI version in csrc/include/arasfsr/core.h that this package calls."""

EXTENSION = "arasfsr._C"

EMULATED = "_C_emulated"
"""Name of the module that runs the same kernels on the CPU."""

BUILD = "build it with nvcc: ARASFSR_CUDA=1 pip install ."


class Core(Protocol):
    """The module of csrc/binding.cpp. Structs take their fields by keyword, pointers as integers."""

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
    def scatter(self, problem: Any, kept: Any, z: int, lr_map: int, rel: int) -> None: ...
    def weight_splits(self, problem: Any) -> int: ...
    def weight_gradients(self, problem: Any, kept: Any, z: int, weights: int, biases: int, splits: int) -> None: ...
    def coordinate_scratch(self, problem: Any) -> int: ...
    def coordinate(self, problem: Any, kept: Any, s: int, scratch: int, bytes: int) -> None: ...
    def Problem(self, **fields: int) -> Any: ...
    def Kept(self, **fields: int) -> Any: ...
    def Gradients(self, **fields: int) -> Any: ...


def emulated() -> str | None:
    """The file or folder of the emulated module, if ARASFSR_EMULATED is set."""
    return os.environ.get("ARASFSR_EMULATED") or None


def another() -> str | None:
    """The file of another build of the extension, if ARASFSR_EXTENSION is set."""
    return os.environ.get("ARASFSR_EXTENSION") or None


@functools.cache
def load() -> Core:
    """Load the native core.

    Raises:
        ImportError: it is not built, does not load, or has another ABI; the message says what to do.
    """
    emulation, other = emulated(), another()
    if emulation is not None:
        core, what = _from_file(_emulated_file(Path(emulation)), EMULATED), "the extension"
    elif other is not None:
        core, what = _other_build(Path(other)), f"ARASFSR_EXTENSION={other}"
    else:
        core, what = _import(EXTENSION), "the extension"
    if core.abi() != ABI:
        raise ImportError(f"{what} has ABI {core.abi()}, this version of arasfsr takes {ABI}; {BUILD}")
    return core


def _import(name: str) -> Core:
    try:
        return cast(Core, importlib.import_module(name))
    except ImportError as error:
        message = f"the extension does not load ({type(error).__name__}: {error}); {BUILD}"
        raise ImportError(message, name=error.name) from error


def _other_build(file: Path) -> Core:
    if not file.is_file():
        raise ImportError(f"ARASFSR_EXTENSION must be a build of {EXTENSION}, got {file}, which is not a file")
    try:
        return _from_file(file, EXTENSION.rpartition(".")[2])
    except ImportError as error:
        raise ImportError(f"ARASFSR_EXTENSION={file} does not load ({error})", name=error.name) from error


def _emulated_file(place: Path) -> Path:
    """The emulated module's file: `place`, or the one in the folder `place`."""
    files = sorted(place.glob(f"{EMULATED}.*.so")) if place.is_dir() else [place]
    if len(files) != 1 or not files[0].is_file():
        raise ImportError(f"ARASFSR_EMULATED must be {EMULATED}.*.so or a folder with one such file, got {place}")
    return files[0]


def _from_file(file: Path, module: str) -> Core:
    """Load a module from a file of any name."""
    name = f"arasfsr.{module}"
    loader = ExtensionFileLoader(name, str(file))
    spec = importlib.util.spec_from_file_location(name, file, loader=loader)
    assert spec is not None
    core = importlib.util.module_from_spec(spec)
    loader.exec_module(core)
    return cast(Core, core)
