"""The exceptions that the library raises on purpose; anything else is a bug."""

from __future__ import annotations


class ArasfsrError(Exception):
    """Base of what a caller or a user can mend. The message says, in one line, what was given and what it must be."""


class ArgumentError(ArasfsrError, ValueError):
    """An argument, option or configuration entry is not what it must be; the message names it."""


class ArgumentTypeError(ArasfsrError, TypeError):
    """An argument is of the wrong type; the message names it."""


class BackendUnavailable(ArasfsrError, RuntimeError):
    """A backend asked for by name cannot serve the call; the message says why and what to do."""


class CheckpointError(ArasfsrError, ValueError):
    """A file is not a checkpoint that this version can load; the message says what is wrong with it."""


class ImageError(ArasfsrError, ValueError):
    """An image cannot be read or written; the message names the file and the reason."""


class TrainingError(ArasfsrError, RuntimeError):
    """A training run cannot go on; the message says why, and what is kept."""


def one_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
