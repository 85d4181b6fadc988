"""The registry of cases, ceilings and shares."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks import ceilings
from benchmarks.cases import RECIPE, Case, chosen, excerpts, registry
from benchmarks.workload import Workload


def test_names_are_unique() -> None:
    names = [case.name for case in registry()]
    assert len(names) == len(set(names))


def test_every_case_of_the_issue_is_there() -> None:
    cases = set(registry())
    keys = {(c.suite, c.model, c.lr[0], c.output, c.batch, c.dtype, c.scattered) for c in cases}
    for dtype in ("float32", "tf32", "bfloat16", "float16"):
        for output in ((256, 256), (512, 512), (1024, 1024), (2048, 2048), (1000, 1504)):
            for lr, batch, model in ((64, 1, "full"), (128, 8, "tiny")):
                assert ("query", model, lr, output, batch, dtype, False) in keys
                assert ("query", model, lr, output, batch, dtype, True) in keys
        assert any(c.suite == "train" and c.output == RECIPE and c.batch == 16 and c.dtype == dtype for c in cases)
        for side in (512, 1024):
            assert any(c.suite == "train" and c.output == (side, side) and c.dtype == dtype for c in cases)
        assert any(c.suite == "end-to-end" and c.dtype == dtype for c in cases)


def test_the_most_important_come_first() -> None:
    cases = registry()
    assert cases[0].name == "query/full/64x64/256x256/b1/float32"
    assert [case.rank for case in cases] == sorted(case.rank for case in cases)


def test_an_unknown_suite_is_refused() -> None:
    with pytest.raises(ValueError, match="suite must be one of query, train, end-to-end, got 'qeury'"):
        Case("qeury", "full", (64, 64), (256, 256), 1, "float32")


def test_cases_are_chosen_by_suite_size_dtype_and_model() -> None:
    found = chosen(registry(), suite=["query"], output=[(256, 256)], dtype=["bfloat16"], model=["tiny"])
    assert found
    assert all((c.suite, c.output, c.dtype, c.model) == ("query", (256, 256), "bfloat16", "tiny") for c in found)


def test_an_excerpt_is_rows_in_the_middle_of_the_grid() -> None:
    case = Case("query", "tiny", (8, 8), (64, 48), 2, "float32")
    short = case.shortened(400)
    assert (short.queries, short.region) == (192, (30, 0, 34, 48))
    assert short.name == "query/tiny/8x8/64x48/b2/float32/excerpt-192"
    whole, part = (Workload.of(each, torch.device("cpu")).sets[0] for each in (case, short))
    assert torch.equal(part.coord, whole.coord[:, 30 * 48 : 34 * 48])
    assert torch.equal(part.cell, whole.cell)
    assert (part.grid, part.region) == ((64, 48), (30, 0, 34, 48))


def test_a_case_that_is_small_enough_stays_as_it_is() -> None:
    case = Case("query", "tiny", (8, 8), (64, 48), 2, "float32")
    assert case.shortened(64 * 48 * 2) is case
    assert case.shortened(1).queries == 48  # a row at least


def test_excerpts_of_random_queries_are_there_once() -> None:
    cases = excerpts(registry(), 16_384)
    random = [c for c in cases if c.suite == "query" and c.scattered and (c.model, c.dtype) == ("full", "float32")]
    assert sorted((c.lr[0], c.batch, c.queries) for c in random) == [
        (64, 1, 16_384),
        (64, 8, 2_048),
        (128, 1, 16_384),
        (128, 8, 2_048),
    ]
    assert {case.suite for case in cases} == {"query", "train"}


def test_a_share_is_operations_over_time_over_the_ceiling() -> None:
    assert ceilings.share(macs=50e9, seconds=2.0, flops=100e9) == pytest.approx(0.5)


def test_on_a_cpu_the_ceiling_is_the_faster_of_the_dtype_and_float32() -> None:
    flops = {"float32": 100.0, "bfloat16": 10.0, "float16": 300.0}
    assert ceilings.ceiling(flops, "bfloat16", "cpu") == ("float32", 100.0)
    assert ceilings.ceiling(flops, "float16", "cpu") == ("float16", 300.0)
    assert ceilings.ceiling(flops, "bfloat16", "cuda") == ("bfloat16", 10.0)


def test_ceilings_are_measured_in_every_dtype_of_the_device() -> None:
    found = ceilings.measure(torch.device("cpu"), side=32, copy_bytes=1 << 12)
    assert set(found["flops"]) == {"float32", "bfloat16", "float16"}
    assert all(rate > 0 for rate in (*found["flops"].values(), found["bytes_per_second"]))


def test_a_slow_dtype_s_product_is_small_enough_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "_rate", lambda device, dtype, side, runs: {"float32": 1e12, "bfloat16": 1e9}[dtype])
    assert ceilings._affordable(torch.device("cpu"), "float32", 1024) == 1024
    assert ceilings._affordable(torch.device("cpu"), "bfloat16", 1024) == 512


def test_tf32_is_on_in_its_own_cases_only() -> None:
    def switches() -> tuple[bool, bool]:
        newer: tuple[Any, ...] = torch.backends.cuda.matmul, torch.backends.cudnn.conv
        assert torch.backends.cudnn.allow_tf32 == (newer[1].fp32_precision == "tf32")  # and nothing raises
        return newer[0].fp32_precision == "tf32", newer[1].fp32_precision == "tf32"

    before = switches()
    with ceilings.precision("tf32"):
        assert switches() == (True, True)
        with ceilings.precision("float32"):
            assert switches() == (False, False)
        assert switches() == (True, True)
    assert switches() == before
