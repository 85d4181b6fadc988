"""The state of a run: everything that its checkpoint holds, and how it is written, read and restored."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch.optim.swa_utils import AveragedModel

from arasfsr.checkpoints.native import RUN_MODEL, save_model
from arasfsr.errors import ArgumentError, CheckpointError, TrainingError, one_line
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
    extension: str | None = None
    """A line on what has changed, if the run was extended when it was resumed."""

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

    def restore(self, state: dict[str, Any], folder: Path, new_data: bool = False, extend: bool = False) -> None:
        """Continue from the checkpoint `state`, read from `folder`, in a run at step 0.

        If `extend`, `steps`, `clip` and the optimizer's entries except its name may differ from the checkpoint's. From
        the next step on the learning rate is what it would be if the run had begun with the new entries.

        Raises:
            ArgumentError: the run is extended, and `steps` is not above the checkpoint's step.
            CheckpointError: it has another configuration or, unless `new_data`, other images.
        """
        changes = self._check(state, folder, new_data, extend)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.step = state["step"]
        if changes:
            self._extend(state["optimizer"], changes)
        else:
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
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

    def _extend(self, saved: dict[str, Any], changes: Sequence[str]) -> None:
        """Advance the new schedule to the current step, and take only the moments from the saved optimizer."""
        self.optimizer.step()  # does nothing without gradients, but schedules warn if they are advanced before it
        for _ in range(self.step):
            self.schedule.step()
        groups = self.optimizer.state_dict()["param_groups"]
        for group, old in zip(groups, saved["param_groups"], strict=True):
            group["params"] = old["params"]  # the moments are saved by these numbers
        self.optimizer.load_state_dict({**saved, "param_groups": groups})
        before, now = float(saved["param_groups"][0]["lr"]), float(groups[0]["lr"])
        self.extension = (
            f"extended: {', '.join(changes)}; the schedule is recomputed, the next learning rate is {now:.2e}, not "
            f"{before:.2e}"
        )

    def _check(self, state: dict[str, Any], folder: Path, new_data: bool, extend: bool) -> list[str]:
        """The entries that an extension changes. Raises as `restore`."""
        differing = differences(_known_entries(state, extend), self.config.fixed_entries(extend))
        if differing:
            raise CheckpointError(
                f"{folder}: its checkpoint has another configuration ({'; '.join(differing)}); a run is resumed with "
                "its own: pass the same file and the same --set. --extend changes only steps, clip and the optimizer's "
                f"entries except its name. For another run choose another --output; --init {folder / RUN_MODEL} starts "
                "it from this model"
            )
        changes = differences(
            _known_entries(state), self.config.fixed_entries(), words="{name} from {found} to {wanted}"
        )
        if changes and self.config.steps <= state["step"]:
            raise ArgumentError(
                f"steps must be above {state['step']}, the step that the run has reached, got {self.config.steps}"
            )
        known = state.get("images")
        if known is None:
            _log.warning("%s: its checkpoint does not list its images; assuming that they are the same", folder)
        elif known != self.images and not new_data:
            raise CheckpointError(
                f"{folder}: its checkpoint has other images ({_image_differences(known, self.images)}); pass the same "
                "images, or --new-data"
            )
        return changes


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


def _known_entries(state: dict[str, Any], extend: bool = False) -> Any:
    """The entries of a checkpoint that must not change: `TrainConfig.fixed_entries`."""
    try:
        return TrainConfig.model_validate_json(state["config"]).fixed_entries(extend)
    except ValidationError:  # a version with other entries
        return json.loads(state["config"])


def _image_differences(known: dict[str, list[str]], given: dict[str, list[str]]) -> str:
    """How the images of a checkpoint differ from those given: "1 missing: a.png 24x28 1c291ca3"."""
    before, now = ({image for images in listed.values() for image in images} for listed in (known, given))
    parts = []
    for kind, images in (("missing", sorted(before - now)), ("new", sorted(now - before))):
        if images:
            more = ", ..." if len(images) > NAMES_SHOWN else ""
            parts.append(f"{len(images)} {kind}: {', '.join(images[:NAMES_SHOWN])}{more}")
    return "; ".join(parts) or "in another order"
