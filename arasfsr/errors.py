"""The exceptions that callers may want to catch."""


class ArasfsrError(Exception):
    """Base class of every error that the package raises on purpose."""


class ArgumentError(ArasfsrError, ValueError):
    """An argument, option or configuration entry is not what it must be; the message names it."""


class BackendUnavailable(ArasfsrError, RuntimeError):
    """A backend asked for by name cannot serve the call; the message says why and what to do."""


class CheckpointError(ArasfsrError, ValueError):
    """A file is not a checkpoint that this version can load; the message says what is wrong with it."""


class ImageError(ArasfsrError, ValueError):
    """An image cannot be read or written; the message names the file and the reason."""


class TrainingError(ArasfsrError, RuntimeError):
    """A training run cannot go on; the message says why, and what is kept."""


def one_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its type where the message is empty."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
