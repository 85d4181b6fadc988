"""Options of `pytest benchmarks --benchmark-only`."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("arasfsr")
    group.addoption("--case", action="append", default=[], help="part of a case's name; by default a short selection")
    group.addoption("--with-compile", action="store_true", help="also those contestants that torch.compile takes long")
    group.addoption("--device", default="auto", help="cpu or cuda; by default cuda if there is one")
