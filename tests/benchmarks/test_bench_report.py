"""Tables and plots from a small file of results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from arasfsr import ModelConfig
from benchmarks import plots, tables
from benchmarks.cases import Case
from benchmarks.run import complete
from tools import machines, quality, report
from tools.gpu import history
from tools.gpu.plan import HEADLINE

FLOPS = {"float32": 1e11, "bfloat16": 1e10}
MACHINE = {
    "processor": "A processor",
    "threads": 2,
    "bfloat16_units": False,
    "torch": "2.13.0",
    "date": "2026-01-02T03:04:05+00:00",
    "commit": "abc",
}


def result(
    name: str, side: int, *samples: float, batch: int = 1, error: str | None = None, model: str = "full"
) -> dict[str, Any]:
    """A row as a run writes it."""
    case = Case("query", model, (64, 64), (side, side), batch, "float32")
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


def write_suites(folder: Path, machine: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    folder.mkdir()
    ceilings = {"flops": FLOPS, "bytes_per_second": 2e10, "machine": machine}
    content = {f"{row['case']} {row['contestant']}": row | {"machine": machine} for row in rows}
    (folder / "suites.json").write_text(json.dumps({"ceilings": ceilings, **content}))


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of results of one machine, as the report's."""
    write_suites(tmp_path / "box", MACHINE, ROWS)
    monkeypatch.setattr(machines, "RESULTS", tmp_path)
    return tmp_path


def suites() -> str:
    """The section of the CPU, in a page of the folder docs."""
    return machines.suites_section(False, machines.RESULTS / "docs")


def test_a_table_has_every_row_with_its_unit_spread_ratio_memory_and_share(results: Path) -> None:
    text = machines.pages()[results / "box" / "README.md"]
    assert text.startswith("# A processor, 2 threads\n\n")
    assert "On A processor, 2 threads, without bfloat16 units, torch 2.13.0, 2026-01-02, commit abc." in text
    assert "float32 100 GFLOP/s" in text
    share = 2 * ROWS[2]["macs"] / 3.0 / 1e11
    line = f"| 64 x 64 to 256 x 256 | float32 | `tiled` | **3 s** (2.95 s to 3.05 s) | 3.00 x | 50 MB | {share:.0%}"
    assert line in text
    assert "| authors' implementation, torch.compile | out of memory |" in text
    assert "| `triton` | RuntimeError: a/b |" in text
    assert "**12 s** (1 run)" in text


def test_a_section_has_the_most_important_cases_and_a_link_to_the_rest(results: Path) -> None:
    text = suites()
    assert "| 64 x 64 to 256 x 256 | float32 | `tiled` | **3 s**" in text
    assert "512 x 512" not in text
    assert text.endswith("Other sizes and dtypes, and plots: [A processor, 2 threads](../box/README.md).")


def test_growth_is_over_four_times_the_queries_and_over_the_batch() -> None:
    found = tables.growth(tables.frame(ROWS))
    assert list(zip(found.step, found.factor, strict=True)) == [
        ("queries x 4, to 512 x 512", 4.0),
        ("batch 1 to 8", 8.0),
    ]
    assert found["from"].tolist() == ["`tiled`, float32, 64 x 64 to 256 x 256"] * 2


def test_without_results_the_section_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "RESULTS", tmp_path)
    sections = [suites(), machines.bars_section(tmp_path), machines.data_section(), machines.machines_section(tmp_path)]
    assert [*sections, machines.speed_section(tmp_path, tmp_path)] == ["No results are committed yet."] * 5
    assert report.draw_plots() == []


def test_without_a_row_or_a_peak_there_is_nothing_to_show(results: Path) -> None:
    path = results / "box" / "suites.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({"ceilings": content["ceilings"]}))
    assert suites().startswith("On A processor")
    assert report.draw_plots() == []
    assert list(machines.pages()) == [results / "box" / "README.md"]
    row = result("tiled", 256, 2.9, 3.0, 3.1) | {"peak_bytes": None}
    assert "| unknown |" in tables.tables(tables.frame([row]))


def test_the_data_table_has_rates_and_bars(results: Path) -> None:
    row = {"per_second": 431.6, "rates": [431.6], "load": 1.0, "machine": MACHINE}
    (results / "box" / "data.json").write_text(json.dumps({"samples": row | {"bar": 300.0}, "decode-png": row}))
    text = machines.data_section()
    assert "On A processor, torch 2.13.0, 2026-01-02:" in text
    assert "| samples of 1,024 queries, whole faces | **432** | at least 300 |" in text
    assert "| PNG files decoded | **432** |  |" in text


def test_plots_lie_beside_the_page_that_shows_them_and_are_the_same_each_time(results: Path, tmp_path: Path) -> None:
    rows = tables.frame(results / "box" / "suites.json")
    first, second = (plots.draw(rows, tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == [f"{kind}.svg" for kind in plots.KINDS]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert all(f"]({path.name})" in machines.pages()[results / "box" / "README.md"] for path in first)
    assert "floor (float32)" in first[0].read_text()


GPU = MACHINE | {"gpu": "A GPU", "driver": "1.2", "cuda": "13.0", "commit": "def"}


def headline(name: str, seconds: float) -> dict[str, Any]:
    row = {"gate": None, "error": None, "samples_s": [seconds], "peaks_bytes": [1]}
    return complete(row, HEADLINE, name, ModelConfig(), FLOPS, "cuda")


@pytest.fixture
def gpu(results: Path) -> Path:
    """The same folder, with a GPU that computed the headline case."""
    times = {"cuda": 0.01, "tiled": 0.2, "public-autocast": 0.4, "public-autocast-compile": 0.3}
    write_suites(results / "gpu", GPU, [headline(name, time) for name, time in times.items()])
    return results


def test_the_speed_table_has_a_row_a_backend_with_speedups_and_what_was_measured_on(gpu: Path) -> None:
    text = machines.speed_section(gpu, gpu / "docs" / "benchmarks.md")
    case = "A GPU: 128 x 128 to 1024 x 1024, bfloat16"
    assert [line for line in text.splitlines() if line.startswith("| A")] == [
        f"| {case} | `cuda` | **10 ms** | 400 ms (40.0 x) | 300 ms (30.0 x) |",
        f"| {case} | `tiled` | **200 ms** | 400 ms (2.0 x) | 300 ms (1.5 x) |",
        "| A processor, 2 threads: 64 x 64 to 256 x 256, float32 | `tiled` | **3 s** | 9 s (3.0 x) |  |",
    ]
    assert "Measured on A GPU (driver 1.2, CUDA 13.0), torch 2.13.0, 2026-01-02, commit def; A processor, 2" in text
    assert text.endswith("[benchmarks](docs/benchmarks.md).")


def test_the_speed_plot_is_light_and_dark_and_the_same_each_time(gpu: Path, tmp_path: Path) -> None:
    first, second = (plots.draw_headlines(machines.headlines(), tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == ["speed-light.svg", "speed-dark.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    for path, (text, _) in zip(first, plots.THEMES.values(), strict=True):
        assert "10 ms (40.0 x)" in path.read_text()
        assert f"fill: {text}" in path.read_text()


def test_the_models_table_has_sizes_gains_and_times(results: Path) -> None:
    path = results / "box" / "suites.json"
    small = result("tiled", 256, 0.5, model="tiny") | {"machine": MACHINE}
    path.write_text(json.dumps(json.loads(path.read_text()) | {f"{small['case']} tiled": small}))
    tiny, edsr = (line for line in quality.models_section(results).splitlines() if line.startswith("| `"))
    assert re.match(r"\| `tiny` \| \d{3},\d{3} \| \d\.\d MB \| \+\d\.\d\d dB \| \+\d\.\d\d dB \| 500 ms \| .*", tiny)
    assert re.match(r"\| `edsr` \| \d,\d{3},\d{3} \| \d\.\d MB \| .* \| 3 s \| .*", edsr)


def test_the_status_table_has_probes_speedups_and_what_auto_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "gpu" / "abc"
    run.mkdir(parents=True)
    machine = {"machine": GPU | {"compute_capability": "9.0", "triton": "3.6.0"}}
    rows = {f"{HEADLINE.name} {name}": {"samples_s": [time]} for name, time in (("cuda", 0.01), ("tiled", 0.2))}
    (run / "suites.json").write_text(json.dumps(machine | rows))
    probes = {"cuda 256 bfloat16: 65": True, "cuda 64 bfloat16: 65": False, "triton 256 bfloat16: 65": True}
    (run / "probes.json").write_text(json.dumps({name: {"ok": ok} for name, ok in probes.items()}))
    monkeypatch.setattr(history.proven, "of_architecture", lambda name: {"bfloat16": ["cuda", "triton"]})
    text = history.status(tmp_path)
    assert text.startswith("A GPU (compute capability 9.0), torch 2.13.0, Triton 3.6.0:\n\n")
    assert "| `cuda` | bfloat16 | 1 of 2 | 20.0 x | yes |" in text
    assert "| `triton` | bfloat16 | 1 of 1 | not timed | without `cuda` |" in text
    assert "| `cuda` | float16 | 0 of 0 | not timed | no |" in text


def test_plots_are_of_the_lr_size_with_most_rows() -> None:
    rows = tables.frame([*ROWS, headline("cuda", 1.0), result("tiled", 1024, 1.0)])
    assert plots.plotted(rows).lr.unique().tolist() == ["64 x 64"]
    rows = tables.frame([ROWS[2], headline("cuda", 1.0), headline("tiled", 1.0)])
    assert plots.plotted(rows).lr.unique().tolist() == ["128 x 128"]


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


def test_excerpts_have_a_page_of_their_own_and_a_sentence(results: Path) -> None:
    before = suites()
    path = results / "box" / "suites.json"
    rows = [excerpt("public-compile", 256, 6.0), excerpt("tiled", 256, 2.0), excerpt("tiled", 512, 2.0)]
    rows += [excerpt("public-compile", 1024, 3.0), excerpt("tiled", 1024, 2.0)]
    content = json.loads(path.read_text()) | {f"{row['case']} {row['contestant']}": row for row in rows}
    path.write_text(json.dumps(content))
    page = machines.pages()[results / "box" / "excerpts.md"]
    assert "| query | full | 64 x 64 | 8 | float32 | `tiled` | 3.00 x (2 s) | 1.50 x (2 s) |" in page
    told = tables.summary(tables.compared(tables.frame(rows)), "[all](excerpts.md)")
    assert told.startswith("On excerpts of 2 cases ([all](excerpts.md)), the speedup of `tiled`")
    assert "1.50 x to 3.00 x in float32 (median 2.25 x)" in told
    after = suites()
    assert "2 cases ([all of them](../box/excerpts.md))" in after
    assert [line for line in after.splitlines() if line.startswith("|")] == [
        line for line in before.splitlines() if line.startswith("|")
    ]


def test_a_missed_bar_is_called_so(results: Path) -> None:
    slow = {"ratio": 2.04, "bar": 3.0, "median_s": {"reference": 4.0, "tiled": 2.0}, "machine": MACHINE}
    quick = {"seconds": 0.5, "bar": 1.0, "machine": MACHINE}
    (results / "box" / "bars.json").write_text(json.dumps({"render-float32": slow, "tiny-render": quick}))
    told = [line.split(" | ")[-1] for line in machines.bars_section(results).splitlines() if line.startswith("| ")][2:]
    assert told == ["at least 3 x: missed |", "at most 1 s |"]


def test_bars_are_those_of_the_newest_machine_with_links_to_the_others(results: Path) -> None:
    older = MACHINE | {"date": "2026-01-01", "processor": "Another"}
    for folder, machine in ((results / "box", MACHINE), (results / "older", older)):
        folder.mkdir(exist_ok=True)
        row = {"seconds": 0.5, "bar": 1.0, "machine": machine}
        (folder / "bars.json").write_text(json.dumps({"tiny-render": row}))
    text = machines.bars_section(results)
    assert text.startswith("On A processor, 2 threads")
    assert text.endswith("Other machines: [Another, 2 threads](older/README.md).")
    assert machines.machines_section(results).splitlines() == [
        "- [A processor, 2 threads](box/README.md)",
        "- [Another, 2 threads](older/README.md)",
    ]
