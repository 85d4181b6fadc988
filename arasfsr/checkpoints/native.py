"""Loading and saving models: .safetensors files with the configuration in the metadata."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from arasfsr.bundled import SUFFIX, bundled_file, bundled_models
from arasfsr.checkpoints.authors import read_authors
from arasfsr.config import ModelConfig
from arasfsr.defaults import MODEL
from arasfsr.errors import CheckpointError
from arasfsr.files import replacing
from arasfsr.model import ImplicitSR

CONFIG_KEY = "arasfsr.config"
"""Metadata key of the ModelConfig as JSON."""

RUN_MODEL = f"model{SUFFIX}"
"""The model in the folder of a training run."""


def save_model(model: ImplicitSR, path: Path | str, dtype: torch.dtype | None = None) -> None:
    """Write a model; a failed write leaves no file. `dtype` float16 halves the size."""
    tensors = {
        name: tensor.detach().to("cpu", dtype or tensor.dtype).contiguous()
        for name, tensor in model.state_dict().items()
    }
    with replacing(Path(path)) as temporary:
        save_file(tensors, temporary, metadata={CONFIG_KEY: model.config.model_dump_json()})


def load_model(name: str | Path = MODEL, device: torch.device | str = "cpu") -> ImplicitSR:
    """Load a bundled model by name, a .safetensors file, a .pth file of the authors' implementation, or the model of a
    training run by the run's folder.

    Parameters are float32 and the model is in evaluation mode.

    Raises:
        FileNotFoundError: no such file, folder or bundled model.
        CheckpointError: the file is damaged, not a model, or its tensors do not match its configuration; or the folder
            has no model.
    """
    path = find_model(name)
    if path is not None:
        return _load_file(path, device)
    with bundled_file(str(name)) as path:
        return _load_file(path, device)


def find_model(name: str | Path) -> Path | None:
    """The file of a model: `name` itself, or model.safetensors in the folder `name`; None for a bundled model.

    A file comes before a bundled model of the same name, and that before a folder.

    Raises:
        FileNotFoundError, CheckpointError: as `load_model`.
    """
    path = Path(name)
    if path.is_file():
        return path
    if str(name) in bundled_models():
        return None
    wanted = f"model must be a bundled one ({', '.join(bundled_models())}), a file or the folder of a training run"
    if not path.is_dir():
        raise FileNotFoundError(f"{wanted}, got {str(name)!r}, which does not exist")
    if not (path / RUN_MODEL).is_file():
        raise CheckpointError(f"{wanted}, got the folder {path}, which has no {RUN_MODEL}")
    return path / RUN_MODEL


def _load_file(path: Path, device: torch.device | str) -> ImplicitSR:
    if path.suffix.lower() in (".pth", ".pt"):
        config, tensors = read_authors(path)
    elif path.suffix.lower() == SUFFIX:
        config, tensors = _read_native(path)
    else:
        raise CheckpointError(f"{path}: the suffix must be .safetensors, .pth or .pt, got {path.suffix!r}")
    return build_model(path, config, tensors).to(device)


def _read_native(path: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged, or not a safetensors file ({error})") from error
    if CONFIG_KEY not in metadata:
        raise CheckpointError(f"{path}: not a model of arasfsr, its metadata has no {CONFIG_KEY!r}")
    try:
        config = ModelConfig.model_validate_json(metadata[CONFIG_KEY])
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in error.errors())
        raise CheckpointError(f"{path}: its configuration is not valid in this version ({wrong})") from error
    if "init" not in config.model_fields_set:  # written before there was a choice
        config = config.model_copy(update={"init": "paper"})
    return config, tensors


def build_model(path: Path, config: ModelConfig, tensors: dict[str, Tensor]) -> ImplicitSR:
    """Build a model from a configuration and parameters; every parameter is checked before any is loaded."""
    with torch.device("meta"):
        model = ImplicitSR(config)
    expected = model.state_dict()
    problems = [f"{name} is missing" for name in expected if name not in tensors]
    problems += [f"{name} is unknown" for name in tensors if name not in expected]
    problems += [
        f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(wanted.shape)}"
        for name, wanted in expected.items()
        if name in tensors and tensors[name].shape != wanted.shape
    ]
    problems += [
        f"{name} has dtype {tensor.dtype}" for name, tensor in tensors.items() if not tensor.is_floating_point()
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(f"{path}: its tensors do not fit its configuration: {'; '.join(problems[:3])}{more}")
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_()
    return model.eval()
