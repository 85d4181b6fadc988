"""What upscaling does where nothing else is asked for, on the command line and in Python."""

from __future__ import annotations

SCALE = 4
"""The factor for both sides, where no size is given."""

MODEL = "tiny"
"""The bundled model."""
