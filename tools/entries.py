"""The entries of a training configuration as a table, from the classes that check them."""

from __future__ import annotations

import json
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from arasfsr.training.config import TrainConfig
from benchmarks.tables import markdown


def entries_section() -> str:
    """A row for each entry, those of the sections with their dotted names, also of sections that are null by default;
    `model` is a link."""
    return markdown(_rows(TrainConfig(), ""))


def _rows(section: BaseModel, prefix: str) -> list[dict[str, str]]:
    rows = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel) and name != "model":
            rows += _rows(value, f"{prefix}{name}.")
        elif name == "model":
            about = "The model: [other models](models.md#other-models)."
            rows.append({"entry": "`model`", "default": "the paper's", "meaning": about})
        else:
            default = json.dumps(section.model_dump(mode="json")[name]).replace('"', "")
            meaning = " ".join((field.description or "").split())
            if get_origin(field.annotation) is Literal:
                meaning = f"{', '.join(get_args(field.annotation))}. {meaning}"
            rows.append({"entry": f"`{prefix}{name}`", "default": f"`{default}`", "meaning": meaning})
            for optional in _optional(field):
                rows += _rows(optional(), f"{prefix}{name}.")
    return rows


def _optional(field: FieldInfo) -> list[type[BaseModel]]:
    """The section that an entry takes besides null, if it takes one."""
    return [kind for kind in get_args(field.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
