"""The state of a run: everything that its checkpoint holds, and how it is written, read and restored."""

from __future__ import annotations

import json
import logging
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch.optim.swa_utils import AveragedModel

from arasfsr.checkpoints.native import RUN_MODEL, save_model
from arasfsr.errors import CheckpointError, TrainingError, one_line
from arasfsr.files import replacing
from arasfsr.model import ImplicitSR
from arasfsr.training.config import TrainConfig, differences

_log = logging.getLogger(__name__)

STATE = "last.ckpt"

NAMES_SHOWN = 3
"""Images that an error lists by name."""


@dataclass
class Run:
    """A run between two steps."""

    config: TrainConfig
    model: ImplicitSR
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    images: dict[str, list[str]]
    """`listing` of the training images and of the held-out ones."""
    step: int = 0
    seconds: float = 0.0
    """Time spent in steps, including those before the run was resumed."""
    last: dict[str, Any] | None = None
    """The last validation: its step and the scores by pair."""
    best: dict[str, Any] | None = None
    """The step with the best mean PSNR over the pairs, and that PSNR in dB."""

    @property
    def averaged(self) -> ImplicitSR:
        """The moving average of the model, which is the result of the run."""
        assert isinstance(self.average.module, ImplicitSR)
        return self.average.module

    def add_validation(self, scores: dict[str, dict[str, float]]) -> None:
        """Record the validation scores of the current step."""
        self.last = {"step": self.step, "scores": scores}
        if scores:
            mean = sum(score["psnr"] for score in scores.values()) / len(scores)
            if self.best is None or mean > self.best["psnr"]:
                self.best = {"step": self.step, "psnr": mean}

    def save(self, folder: Path) -> None:
        """Write the checkpoint and the averaged model; a write that fails leaves the files that are there.

        Raises:
            TrainingError: they cannot be written.
        """
        try:
            write_state(folder, self._state())
            save_model(self.averaged, folder / RUN_MODEL)
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or one_line(error)
            if (folder / STATE).is_file():
                kept = "the last checkpoint there is intact, continue with --resume"
            else:
                kept = "it has no checkpoint to continue from"
            raise TrainingError(f"{folder}: cannot write step {self.step}: {reason}; {kept}") from error

    def restore(self, state: dict[str, Any], folder: Path, new_data: bool = False) -> None:
        """Continue from the checkpoint `state`, read from `folder`.

        Raises:
            CheckpointError: it has another configuration or, unless `new_data`, other images.
        """
        self._check(state, folder, new_data)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.step = state["step"]
        self.seconds, self.last, self.best = state.get("seconds", 0.0), state.get("last"), state.get("best")

    def _state(self) -> dict[str, Any]:
        return {
            "config": self.config.model_dump_json(),
            "images": self.images,
            "step": self.step,
            "seconds": self.seconds,
            "last": self.last,
            "best": self.best,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def _check(self, state: dict[str, Any], folder: Path, new_data: bool) -> None:
        differing = _config_differences(state["config"], self.config)
        if differing:
            raise CheckpointError(
                f"{folder}: its checkpoint has another configuration ({'; '.join(differing)}); a run is resumed with "
                f"its own. For a longer or another run choose another --output; --init {folder / RUN_MODEL} starts it "
                "from this model"
            )
        known = state.get("images")
        if known is None:
            _log.warning("%s: its checkpoint does not list its images; assuming that they are the same", folder)
        elif known != self.images and not new_data:
            raise CheckpointError(
                f"{folder}: its checkpoint has other images ({_image_differences(known, self.images)}); pass the same "
                "images, or --new-data"
            )


NEEDED = ("config", "step", "model", "average", "optimizer", "schedule")
"""What the checkpoint of every version holds."""


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Replace the folder's checkpoint atomically."""
    with replacing(folder / STATE) as temporary:
        torch.save(state, temporary)


def read_state(folder: Path) -> dict[str, Any]:
    """Read the folder's checkpoint; nothing in the file is executed.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    path = folder / STATE
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {STATE} to resume from")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({one_line(error)})") from error
    missing = [name for name in NEEDED if not isinstance(state, dict) or name not in state]
    if missing:
        raise CheckpointError(f"{path}: must be the checkpoint of a run, but {', '.join(missing)} is missing")
    return state


def _config_differences(found: str, wanted: TrainConfig) -> list[str]:
    """The entries that must not change and in which a checkpoint's configuration, as JSON, differs from `wanted`."""
    try:
        known = TrainConfig.model_validate_json(found).fixed_entries()
    except ValidationError:  # a version with other entries
        known = json.loads(found)
    return differences(known, wanted.fixed_entries())


def _image_differences(known: dict[str, list[str]], given: dict[str, list[str]]) -> str:
    """How the images of a checkpoint differ from those given: "1 missing: a.png 24x28 1c291ca3"."""
    before, now = ({image for images in listed.values() for image in images} for listed in (known, given))
    parts = []
    for kind, images in (("missing", sorted(before - now)), ("new", sorted(now - before))):
        if images:
            more = ", ..." if len(images) > NAMES_SHOWN else ""
            parts.append(f"{len(images)} {kind}: {', '.join(images[:NAMES_SHOWN])}{more}")
    return "; ".join(parts) or "in another order"
