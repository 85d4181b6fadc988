"""What comes out of GPU runs: the summary, the tables of several runs, what auto uses, the cuts that are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.results import RESULTS
from tools.gpu import files, history, plan, publish, summary
from tools.kernels.stalls import SAMPLES, stalls


def test_the_best_candidates_make_the_entry_that_is_adopted(tmp_path: Path) -> None:
    own = {"queries": 64, "gather": 16, "forward": {"depth": 32}, "backward": {"rows": 64}, "weights": {"rows": 128}}

    def row(kernel: str, seconds: float | None, **changes: Any) -> dict[str, Any]:
        return {"kernel": kernel, "seconds": seconds, "cut": {**own, **changes}}

    rows = {
        "forward": row("forward", 0.0140),
        "forward, queries 128": row("forward", 0.0120, queries=128),
        "forward, gather 32": row("forward", 0.0119, gather=32),  # less is noise
        "forward, depth 64": row("forward", None, forward={"depth": 64}),
        "backward": row("backward", 0.002),
        "backward, 128 rows": row("backward", 0.001, backward={"rows": 128}),
        "weights": row("weights", 0.001),
        "kernels of something": {"kernels": []},
    }
    rows = {"machine": {"compute_capability": "9.0"}, **{f"cut: {name}": row for name, row in rows.items()}}
    (tmp_path / "suites.json").write_text(json.dumps(rows))
    (tmp_path / "table.json").write_text('{"sm80/64/tf32": {}}')
    publish.publish_cuts(tmp_path, tmp_path / "table.json")
    entry = {"sm90/256/bfloat16": {**own, "queries": 128, "backward": {"rows": 128}}}
    assert json.loads((tmp_path / "measured.json").read_text()) == entry  # of the run
    assert json.loads((tmp_path / "table.json").read_text()) == {"sm80/64/tf32": {}, **entry}
    (tmp_path / "suites.json").write_text(json.dumps({"machine": rows["machine"], "cut: x": row("forward", None)}))
    with pytest.raises(ValueError, match="no cut of the forward was right and timed"):
        publish.publish_cuts(tmp_path, tmp_path / "table.json")


def test_the_page_says_what_is_right_how_fast_it_is_and_what_failed(tmp_path: Path) -> None:
    verdict = {"quantity": "output", "error": 2.0, "limit": 1.0, "ok": False}
    probed = {
        "cuda 256 bfloat16: grid": {"ok": True, "verdicts": [], "error": None},
        "cuda 256 bfloat16: 65": {"ok": False, "verdicts": [verdict], "bitwise": False, "bitwise_gradients": True},
        "triton 256 tf32: 65": {"ok": False, "error": files.STARTED},
        "triton 256 tf32: 257": {"ok": False, "error": "CUDA error: illegal address"},
    }
    steps = {"headline cuda": {"failed": "not done after 30 s", "seconds": 30}, "ncu": {"left out": "no time was left"}}
    case = {"case": "a", "contestant": "cuda", "dtype": "bfloat16", "macs": 10**12, "gate": []}
    rows = {
        "steps": steps,
        "ceilings": {"flops": {"bfloat16": 8e14}, "bytes_per_second": 4e12},
        "a cuda": {**case, "samples_s": [0.01], "replay_s": [0.009], "peak_bytes": 64e6, "error": None},
        "a public-autocast": {**case, "contestant": "public-autocast", "samples_s": [0.3], "error": None},
        "a triton": {**case, "contestant": "triton", "error": "red gate: everything"},
    }
    (tmp_path / "probes.json").write_text(json.dumps(probed))
    (tmp_path / "suites.json").write_text(json.dumps(rows))
    (tmp_path / "memcheck.log").write_text(
        "\n=== racecheck cuda\ncuda: grid ...\nright\n========= RACECHECK SUMMARY: 0 hazards\n\n=== synccheck\nright\n"
    )
    page = "\n".join(summary.page(tmp_path))
    assert "cuda 256 bfloat16: NOT RIGHT on 1 of 2 probes, worst error 2.00 of its limit" in page
    assert "a cuda: 10.000 ms, 25.0% of the ceiling, 30.0 x as fast as the authors' implementation, replay" in page
    assert "replay 9.000 ms, peak 64 MB" in page
    assert "a triton: red gate: everything" in page
    assert "racecheck cuda: RACECHECK SUMMARY: 0 hazards; 1 probes were right" in page
    assert "synccheck: did not end; 1 probes were right" in page
    assert "Left out\n  ncu: no time was left" in page
    assert "output errs by 2.00e+00, limit 1.00e+00; not bitwise" in page
    assert "illegal address" in page
    assert "65: did not end" in page
    assert "Failed\n  headline cuda: not done after 30 s" in page


def test_what_is_proven_was_right_on_every_probe_and_faster_than_tiled(tmp_path: Path) -> None:
    case = "query/full/128x128/1024x1024/b1"
    probed = {f"{name} {width} {dtype}: grid": {"ok": True} for name, width, dtype in plan.PROBES}
    probed["triton 256 float16: grid"]["ok"] = False
    timed = {
        f"{case}/{dtype} {name}": {"samples_s": [seconds], "error": None}
        for dtype in ("bfloat16", "float16", "float32")
        for name, seconds in (("cuda", 0.007), ("triton", 0.006 if dtype == "bfloat16" else 0.2), ("tiled", 0.1))
    }
    timed[f"{case}/float16 cuda"]["error"] = "red gate"
    ceilings = {"flops": {"bfloat16": 8e14, "float16": 8e14, "float32": 5e13}}
    row = {"dtype": "bfloat16", "macs": 2e12, "quartiles_s": [0.009, 0.01, 0.011], "share": 0.1}
    files = {
        "probes.json": probed,
        "suites.json": {
            **timed,
            "ceilings": ceilings,
            "case": row,
            "machine": {"compute_capability": "9.0", "date": ""},
        },
    }
    (tmp_path / "run").mkdir()
    for name, content in files.items():
        (tmp_path / "run" / name).write_text(json.dumps(content))
    (tmp_path / "proven.json").write_text(json.dumps({"sm80": {"bfloat16": ["triton"]}}))
    publish.publish(tmp_path, tmp_path / "proven.json")
    assert json.loads((tmp_path / "suites.json").read_text())["case"]["share"] == pytest.approx(0.5)
    (tmp_path / "run" / "probes.json").unlink()
    with pytest.raises(ValueError, match=r"must hold the folder of a run with probes and ceilings$"):
        publish.publish(tmp_path, tmp_path / "proven.json")
    assert json.loads((tmp_path / "proven.json").read_text()) == {
        "sm80": {"bfloat16": ["triton"]},
        "sm90": {"bfloat16": ["triton", "cuda"]},
    }


def write_run(folder: Path, date: str, probes: dict[str, Any], kernels: dict[str, float]) -> None:
    folder.mkdir(parents=True)
    entries = [{"name": name, "seconds": seconds, "calls": 1} for name, seconds in kernels.items()]
    rows = {
        "machine": {"commit": folder.name, "date": date, "compute_capability": "9.0"},
        f"kernels of {plan.HEADLINE.name} cuda": {"kernels": entries},
    }
    (folder / "suites.json").write_text(json.dumps(rows))
    (folder / "probes.json").write_text(json.dumps(probes))


def test_the_page_of_several_runs_has_each_probe_s_last_verdict_and_a_column_a_run(tmp_path: Path) -> None:
    verdict = {"quantity": "output", "error": 0.5, "limit": 1.0, "ok": True}
    right, wrong = {"ok": True, "verdicts": [verdict]}, {"ok": False, "verdicts": [{**verdict, "error": 3.0}]}
    begun = {"ok": False, "error": files.STARTED}
    name = "cuda 256 bfloat16"
    write_run(tmp_path / "b", "2026-02", {f"{name}: grid": right, f"{name}: 65": begun}, {"forward90<1>": 0.006})
    write_run(tmp_path / "a", "2026-01", {f"{name}: grid": wrong, f"{name}: 65": wrong}, {"forward90<1>": 0.012})
    (tmp_path / "b" / "pytest.xml").write_text("<testsuites><testsuite><testcase name='one'/></testsuite></testsuites>")
    page = history.page(tmp_path)
    assert f"| `{name}` | 1 of 2 | 3.00 | 65 | b, a |" in page
    assert "| 1024 x 1024 output, `cuda`: forward | 5.5 to 7 ms | 12.0 ms | 6.0 ms |" in page
    assert "- b, tests: 1 passed, 0 skipped, 0 failed" in page


def test_a_folder_that_is_no_gpu_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "suites.json").write_text('{"ceilings": {}}')
    with pytest.raises(ValueError, match=r"cpu/suites\.json must name the machine"):
        publish.publish(tmp_path)


def test_runs_whose_rows_lie_in_more_files_are_read_too() -> None:
    oldest = files.read(RESULTS / "nvidia-h200" / "70292edb412f").rows
    assert oldest["machine"]["gpu"] == "NVIDIA H200"
    assert oldest[f"kernels of {plan.HEADLINE.name} cuda"]["kernels"]
    assert oldest["cut: forward"]["kernel"] == "forward"
    assert oldest[f"{plan.HEADLINE.name} cuda"]["samples_s"]


def test_the_instructions_that_wait_most_are_told_with_their_reasons() -> None:
    lines = [
        '"Kernel Name","forward90"',
        f'"Address","Source","{SAMPLES}","stall_wait","stall_math","stall_wait (Not)"',
    ]
    lines += ['"0","  HGMMA R24",990,400,500,9', '"1","EXIT",1,1,0,9', '"2","BRA",9,0,8,9']
    found = list(stalls(lines))
    assert found[0] == "3 instructions, 1000 samples"
    assert [line.split() for line in found[1:]] == [
        ["99.00%", "0", "HGMMA", "R24", "math", "500,", "wait", "400"],
        ["0.90%", "2", "BRA", "math", "8,", "wait", "0"],
    ]
    assert list(stalls(["nothing"])) == [f"no column {SAMPLES!r} in what ncu printed"]
