"""Measurements: speed and memory at equal results. `python -m benchmarks --help` lists them."""
