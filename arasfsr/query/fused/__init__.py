"""Backends `triton` and `cuda`: what both share, and the launches of each."""
