"""Checkpoints of the authors' implementation: .pth with {"model": {"name", "args", "sd"}, ...}."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arasfsr.checkpoints.authors_encoders import READERS, rename
from arasfsr.config import (
    Decoder,
    DecoderConfig,
    DIINNConfig,
    FrequencyConfig,
    LTEConfig,
    ModelConfig,
)
from arasfsr.errors import CheckpointError

ENCODER = "encoder."
"""Prefix of the names of the encoder's tensors, in the authors' files and in this package."""

SWITCHES = {
    "asfsr": {},
    "asfsr_wo_freq": {"frequency": False},
    "asfsr_wo_glo": {"modulated": False},
    "asfsr_wo_res": {"skip": False},
    "liif": {"frequency": False, "modulated": False, "skip": False},
    "lte": {"frequency": False},
    "diinn": {"frequency": False, "skip": False},
}
"""The authors' model names that this version reads, and the components that each disables."""

_RENAME = (
    (r"^netCTM\.(encoder|decoder)\.resblock\.", r"frequency.\1.blocks."),
    (r"^netCTM\.", "frequency."),
    (r"^imnet\.[IK]\.(\d+)\.0\.", r"decoder.content.\1."),
    (r"^imnet\.[CQ]\.(\d+)\.0\.", r"decoder.modulator.\1."),
    (r"^imnet\.output_linear\.", "decoder.output."),
    (r"^coef\.", "decoder.texture.amplitude."),
    (r"^freq\.", "decoder.texture.frequency."),
    (r"^phase\.weight$", "decoder.texture.phase"),
)


def read_authors(path: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Read the configuration and parameters, under this package's names, from an authors' checkpoint.

    Only tensors and plain containers are unpickled; no code in the file can run.

    Raises:
        CheckpointError: the file is not such a checkpoint, or its model is not supported.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).strip().split("\n")[0].split(". ")[0] or type(error).__name__
        raise CheckpointError(f"{path}: damaged, or not a checkpoint of tensors only ({reason})") from error
    try:
        name, args, tensors = (content["model"][key] for key in ("name", "args", "sd"))
        if name not in SWITCHES:
            raise CheckpointError(f"{path}: its model must be one of {', '.join(SWITCHES)}, got {name!r}")
        return _config(path, name, args, tensors), rename_parameters(tensors)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise CheckpointError(f"{path}: not in the authors' format ({reason})") from error


def _config(path: Path, name: str, args: dict[str, Any], tensors: dict[str, Tensor]) -> ModelConfig:
    switches = SWITCHES[name]
    encoder = args["encoder_spec"]
    if encoder["name"] not in READERS:
        raise CheckpointError(f"{path}: its encoder must be one of {', '.join(READERS)}, got {encoder['name']!r}")
    own = {key.removeprefix(ENCODER): tensor for key, tensor in tensors.items() if key.startswith(ENCODER)}
    widths = args["imnet_spec"]["args"]["hidden_list"]
    if len(set(widths)) != 1:
        raise CheckpointError(f"{path}: its decoder's layers must have one width, got hidden_list {widths}")
    frequency = None
    if switches.get("frequency", True):
        blocks = {key.split(".")[3] for key in tensors if key.startswith("netCTM.encoder.resblock.")}
        last = tensors["netCTM.decoder.conv3.weight"]
        frequency = FrequencyConfig(channels=last.shape[0], width=last.shape[1], blocks=len(blocks))
    return ModelConfig(
        encoder=READERS[encoder["name"]](encoder.get("args") or {}, own),
        frequency=frequency,
        decoder=_decoder(name, widths[0], len(widths), tensors),
        skip=switches.get("skip", True),
        init="paper",
    )


def _decoder(name: str, width: int, layers: int, tensors: dict[str, Tensor]) -> Decoder:
    if name == "lte":
        return LTEConfig(width=width, layers=layers, waves=tensors["coef.weight"].shape[0])
    if name == "diinn":
        return DIINNConfig(width=width, layers=layers)
    return DecoderConfig(width=width, layers=layers, modulated=SWITCHES[name].get("modulated", True))


def rename_parameters(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under this package's names, without the unused ones."""
    plain = [int(key.split(".")[2]) for key in tensors if key.startswith("imnet.layers.")]
    last = max(plain, default=-1)
    renamed = {}
    for key, tensor in tensors.items():
        if key.startswith(ENCODER):
            known = rename(key.removeprefix(ENCODER))
            if known is not None:
                renamed[ENCODER + known] = tensor
            continue
        match = re.match(r"^imnet\.layers\.(\d+)\.", key)
        if match:  # a plain MLP alternates linear layers and ReLUs, so layer i is at index 2 i
            index = int(match[1])
            target = "decoder.output." if index == last else f"decoder.content.{index // 2}."
            key = target + key[match.end() :]
        for pattern, replacement in _RENAME:
            key = re.sub(pattern, replacement, key)
        renamed[key] = tensor
    return renamed
