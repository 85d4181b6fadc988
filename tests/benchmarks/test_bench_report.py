"""Tables and plots from a small file of results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arasfsr import ModelConfig
from benchmarks import plots, tables
from benchmarks.cases import Case
from benchmarks.run import complete
from tools import quality, report

FLOPS = {"float32": 1e11, "bfloat16": 1e10}
MACHINE = {
    "processor": "A processor",
    "threads": 2,
    "bfloat16_units": False,
    "torch": "2.13.0",
    "date": "2026-01-02T03:04:05+00:00",
    "commit": "abc",
}


def result(name: str, side: int, *samples: float, batch: int = 1, error: str | None = None) -> dict[str, Any]:
    """A row as a run writes it."""
    case = Case("query", "full", (64, 64), (side, side), batch, "float32")
    row: dict[str, Any] = {"gate": None, "error": error}
    if samples:
        row |= {"samples_s": list(samples), "peaks_bytes": [50_000_000] * len(samples)}
    return complete(row, case, name, ModelConfig(), FLOPS, "cpu")


ROWS = [
    result("public", 256, 8.0, 9.0, 10.0),
    result("public-compile", 256, error="out of memory (RuntimeError: not a byte left)"),
    result("tiled", 256, 2.9, 3.0, 3.1),
    result("tiled", 512, 12.0),
    result("tiled", 256, 24.0, 24.0, 24.0, batch=8),
    result("triton", 256, error="RuntimeError: a|b"),
]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of results of one machine, as the report's."""
    content: dict[str, Any] = {f"{row['case']} {row['contestant']}": row for row in json.loads(json.dumps(ROWS))}
    ceilings = {"flops": FLOPS, "bytes_per_second": 2e10, "machine": MACHINE}
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "suites.json").write_text(json.dumps({"ceilings": ceilings, **content}))
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    return tmp_path


def test_a_table_has_every_row_with_its_unit_spread_ratio_memory_and_share(results: Path) -> None:
    text = report.suites_tables()
    assert "On A processor, 2 threads, without bfloat16 units, torch 2.13.0, 2026-01-02, commit abc." in text
    assert "float32 100 GFLOP/s" in text
    share = 2 * ROWS[2]["macs"] / 3.0 / 1e11
    line = f"| 64 x 64 to 256 x 256 | float32 | `tiled` | **3 s** (2.95 s to 3.05 s) | 3.00 x | 50 MB | {share:.0%}"
    assert line in text
    assert "| public way, torch.compile | out of memory |" in text
    assert "| `triton` | RuntimeError: a/b |" in text
    assert "**12 s** (1 run)" in text


def test_growth_is_over_four_times_the_queries_and_over_the_batch() -> None:
    found = tables.growth(tables.frame(ROWS))
    assert list(zip(found.step, found.factor, strict=True)) == [
        ("queries x 4, to 512 x 512", 4.0),
        ("batch 1 to 8", 8.0),
    ]
    assert found["from"].tolist() == ["`tiled`, float32, 64 x 64 to 256 x 256"] * 2


def test_without_results_the_section_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    assert report.suites_tables() == "No machine's results are committed yet."
    assert report.draw_plots(tmp_path / "docs") == []


def test_without_a_row_or_a_peak_there_is_nothing_to_show(results: Path) -> None:
    path = results / "box" / "suites.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({"ceilings": content["ceilings"]}))
    assert report.suites_tables().startswith("On A processor")
    assert report.draw_plots(results) == report.write_excerpts() == []
    row = result("tiled", 256, 2.9, 3.0, 3.1) | {"peak_bytes": None}
    assert "| unknown |" in tables.tables(tables.frame([row]))


def test_the_data_table_has_rates_and_bars(results: Path) -> None:
    row = {"per_second": 431.6, "rates": [431.6], "load": 1.0, "machine": MACHINE}
    (results / "box" / "data.json").write_text(json.dumps({"samples": row | {"bar": 300.0}, "decode-png": row}))
    text = report.data_tables()
    assert "On A processor, torch 2.13.0, 2026-01-02:" in text
    assert "| samples of 1,024 queries, whole faces | **432** | at least 300 |" in text
    assert "| PNG files decoded | **432** |  |" in text


def test_plots_are_named_in_the_section_and_the_same_each_time(results: Path, tmp_path: Path) -> None:
    first, second = (report.draw_plots(tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == [f"box-{kind}.svg" for kind in plots.KINDS]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert all(f"docs/{path.name}" in report.suites_tables() for path in first)
    assert "floor (float32)" in first[0].read_text()


def test_the_floor_is_operations_over_the_ceiling() -> None:
    assert plots.plotted(tables.frame(ROWS[2:3])).floor.tolist() == pytest.approx([2 * ROWS[2]["macs"] / 1e11])


@pytest.mark.parametrize(("value", "text"), [(12.34, "12.3 s"), (0.0123, "12.3 ms"), (4e-5, "40 us")])
def test_seconds_read_well(value: float, text: str) -> None:
    assert tables.seconds(value) == text


def excerpt(name: str, side: int, seconds: float) -> dict[str, Any]:
    """A row of an excerpt."""
    case = Case("query", "full", (64, 64), (side, side), 8, "float32").shortened(4096)
    row = {"gate": None, "error": None, "samples_s": [seconds], "peaks_bytes": [1]}
    return complete(row, case, name, ModelConfig(), FLOPS, "cpu") | {"machine": MACHINE}


def test_excerpts_have_a_page_of_their_own_and_a_sentence(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = report.suites_tables()
    path = results / "box" / "suites.json"
    rows = [excerpt("public-compile", 256, 6.0), excerpt("tiled", 256, 2.0), excerpt("tiled", 512, 2.0)]
    rows += [excerpt("public-compile", 1024, 3.0), excerpt("tiled", 1024, 2.0)]
    content = json.loads(path.read_text()) | {f"{row['case']} {row['contestant']}": row for row in rows}
    path.write_text(json.dumps(content))
    monkeypatch.setattr(report, "DOCS", results)
    assert [page.name for page in report.write_excerpts()] == ["box-excerpts.md"]
    page = (results / "box-excerpts.md").read_text()
    assert "| query | full | 64 x 64 | 8 | float32 | `tiled` | 3.00 x (2 s) | 1.50 x (2 s) |" in page
    told = tables.summary(tables.compared(tables.frame(rows)), "[each](docs/box-excerpts.md)")
    assert told.startswith("On excerpts of 2 cases")
    assert "1.50 to 3.00 times in float32 (median 2.25)" in told
    after = report.suites_tables()
    assert "2 cases" in after
    assert [line for line in after.splitlines() if line.startswith("|")] == [
        line for line in before.splitlines() if line.startswith("|")
    ]


def test_methods_have_a_line_each_and_the_best_stands_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {"bicubic": (26.0, 0.7), "A": (28.25, 0.8), "B": (28.5, 0.75)}
    mean = {name: {"psnr": psnr, "ssim": ssim} for name, (psnr, ssim) in scores.items()}
    content = {
        "methods": list(scores),
        "protocol": "y-float",
        "degradation": "bic",
        "pairs": [{"lr": 64, "hr": 256, "images": 40, "mean": mean}],
        "training": {"steps": 1500, "batch": 8, "images": 1088},
    }
    monkeypatch.setattr(quality, "METHODS_FILE", tmp_path / "methods.json")
    (tmp_path / "methods.json").write_text(json.dumps(content))
    text = quality.methods_table()
    assert text.startswith("1,500 steps of 8 samples each, on 1,088 images; scored on 40 others")
    assert text.splitlines()[-3:] == [
        "| bicubic | 26.00 / 0.7000 |",
        "| A | 28.25 / 0.8000 |",
        "| B | **28.50** / 0.7500 |",
    ]


def test_a_missed_bar_is_called_so(results: Path) -> None:
    slow = {"ratio": 2.04, "bar": 3.0, "median_s": {"reference": 4.0, "tiled": 2.0}, "machine": MACHINE}
    quick = {"seconds": 0.5, "bar": 1.0, "machine": MACHINE}
    (results / "box" / "bars.json").write_text(json.dumps({"render-float32": slow, "tiny-render": quick}))
    told = [line.split(" | ")[-1] for line in report.bars_tables().splitlines() if line.startswith("| ")][2:]
    assert told == ["at least 3 x: missed |", "at most 1 s |"]
