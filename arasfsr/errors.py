"""The exceptions that callers may want to catch."""


class BackendUnavailable(RuntimeError):
    """A backend asked for by name cannot serve the call; the message says why and what to do."""


class CheckpointError(ValueError):
    """A file is not a checkpoint that this version can load; the message says what is wrong with it."""


class ImageError(ValueError):
    """An image cannot be read or written; the message names the file and the reason."""


class TrainingError(RuntimeError):
    """A training run cannot go on; the message says why, and what is kept."""
