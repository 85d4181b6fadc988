"""Options of `pytest benchmarks --benchmark-only`."""

from __future__ import annotations

import pytest

from arasfsr.commands.options import choose_device
from benchmarks.cases import registry
from benchmarks.ceilings import dtypes
from benchmarks.contestants import contestants

QUERY, TRAIN = "query/tiny/64x64/256x256/b1/", "train/tiny/48x48/2304-random/b16/"
DEFAULT = (f"{QUERY}float32", f"{QUERY}bfloat16", f"{TRAIN}float32")  # a minute or two together on two CPU cores


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("arasfsr")
    group.addoption("--case", action="append", default=[], help="part of a case's name; by default a short selection")
    group.addoption("--with-compile", action="store_true", help="also those contestants that torch.compile takes long")
    group.addoption("--device", type=choose_device, default="auto", help="cpu or cuda; by default cuda if there is one")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every wanted case with each of its contestants."""
    if "contestant" in metafunc.fixturenames:
        option = metafunc.config.getoption
        device, wanted = option("--device"), option("--case")
        pairs = [
            pytest.param(case, each, id=f"{case.name} {each.name}")
            for case in registry()
            if case.dtype in dtypes(device)
            and (any(part in case.name for part in wanted) if wanted else case.name in DEFAULT)
            for each in contestants(case.dtype, device)
            if option("--with-compile") or not each.compiled
        ]
        metafunc.parametrize(("case", "contestant"), pairs)
