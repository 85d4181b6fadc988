"""The exceptions of the package."""

from __future__ import annotations

import pytest

from arasfsr import errors
from arasfsr.errors import ArasfsrError, one_line

BUILT_IN = {
    "ArgumentError": ValueError,
    "BackendUnavailable": RuntimeError,
    "CheckpointError": ValueError,
    "ImageError": ValueError,
    "TrainingError": RuntimeError,
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_error_has_the_common_base_and_a_built_in_one(name: str) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, ArasfsrError)
    assert issubclass(kind, BUILT_IN[name])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n one \n"), "one"),
        (EOFError(), "EOFError"),
        (OSError(" "), "OSError"),
    ],
)
def test_an_error_in_one_line(error: Exception, line: str) -> None:
    assert one_line(error) == line
