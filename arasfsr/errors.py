"""The exceptions that the library raises deliberately; any other is a bug."""

from __future__ import annotations


class ArasfsrError(Exception):
    """Base class of errors that a caller can fix. The one-line message says what must hold and what was given."""


class ArgumentError(ArasfsrError, ValueError):
    """An argument, option or configuration entry is invalid; the message names it."""


class ArgumentTypeError(ArasfsrError, TypeError):
    """An argument has the wrong type; the message names it."""


class BackendUnavailable(ArasfsrError, RuntimeError):
    """A backend requested by name cannot run the call; the message says why and what to do."""


class CheckpointError(ArasfsrError, ValueError):
    """A file is not a checkpoint that this version can load; the message says what is wrong with it."""


class ImageError(ArasfsrError, ValueError):
    """An image cannot be read or written; the message names the file and the reason."""


class TrainingError(ArasfsrError, RuntimeError):
    """A training run cannot continue; the message says why, and what is kept."""


def one_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if the message is empty."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
