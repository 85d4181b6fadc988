"""Backends `triton` and `cuda`: shared code, and the launchers of each."""
