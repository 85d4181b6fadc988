"""Arbitrary-resolution, arbitrary-scale face super-resolution, made fast."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from arasfsr._version import __version__

if TYPE_CHECKING:
    from arasfsr.bundled import bundled_models
    from arasfsr.checkpoints.native import load_model, save_model
    from arasfsr.config import (
        DecoderConfig,
        DIINNConfig,
        EncoderConfig,
        FrequencyConfig,
        LTEConfig,
        ModelConfig,
        RCANConfig,
        RDNConfig,
        SwinIRConfig,
    )
    from arasfsr.errors import (
        ArasfsrError,
        ArgumentError,
        ArgumentTypeError,
        BackendUnavailable,
        CheckpointError,
        ImageError,
        TrainingError,
    )
    from arasfsr.functional import upscale
    from arasfsr.model import Encoding, ImplicitSR
    from arasfsr.query import backends

__all__ = [
    "ArasfsrError",
    "ArgumentError",
    "ArgumentTypeError",
    "BackendUnavailable",
    "CheckpointError",
    "DIINNConfig",
    "DecoderConfig",
    "EncoderConfig",
    "Encoding",
    "FrequencyConfig",
    "ImageError",
    "ImplicitSR",
    "LTEConfig",
    "ModelConfig",
    "RCANConfig",
    "RDNConfig",
    "SwinIRConfig",
    "TrainingError",
    "__version__",
    "backends",
    "bundled_models",
    "load_model",
    "save_model",
    "upscale",
]

_HOMES = {
    "arasfsr.bundled": ("bundled_models",),
    "arasfsr.checkpoints.native": ("load_model", "save_model"),
    "arasfsr.config": (
        "DIINNConfig",
        "DecoderConfig",
        "EncoderConfig",
        "FrequencyConfig",
        "LTEConfig",
        "ModelConfig",
        "RCANConfig",
        "RDNConfig",
        "SwinIRConfig",
    ),
    "arasfsr.errors": (
        "ArasfsrError",
        "ArgumentError",
        "ArgumentTypeError",
        "BackendUnavailable",
        "CheckpointError",
        "ImageError",
        "TrainingError",
    ),
    "arasfsr.functional": ("upscale",),
    "arasfsr.model": ("Encoding", "ImplicitSR"),
    "arasfsr.query": ("backends",),
}
"""The module of each public name, imported on first use so that `arasfsr --help` does not import torch."""


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            value = getattr(importlib.import_module(module), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
