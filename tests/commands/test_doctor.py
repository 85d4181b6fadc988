"""`arasfsr doctor` and its self-check: what is broken shows, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from torch import Tensor
from typer.testing import CliRunner, Result

from arasfsr import testing as selfcheck
from arasfsr.commands import diagnosis
from arasfsr.commands.doctor import doctor
from arasfsr.query import BACKENDS, QueryCall
from arasfsr.query.fused import cuda_core

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def checks() -> list[selfcheck.Check]:
    return list(selfcheck.run_checks(CPU))


@pytest.fixture
def one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks of one model and in float32 only, for speed."""
    monkeypatch.setattr(selfcheck, "MODELS", {"liif": selfcheck.MODELS["liif"]})
    monkeypatch.setattr(selfcheck, "HALF_DTYPES", ())
    monkeypatch.setattr(diagnosis, "devices", lambda: ["cpu"])


def break_tiled(monkeypatch: pytest.MonkeyPatch, change: Callable[[QueryCall, Tensor], Tensor]) -> None:
    """Let the tiled backend return `change(call, output)`."""
    tiled = BACKENDS["tiled"]
    monkeypatch.setitem(BACKENDS, "tiled", replace(tiled, run=lambda call: change(call, tiled.run(call))))


def failures() -> list[tuple[str, str, str | None]]:
    return [(check.backend, check.quantity, check.problem) for check in selfcheck.run_checks(CPU) if not check.ok]


def invoke(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(doctor)
    return CliRunner().invoke(app, arguments)


def test_every_backend_of_this_machine_passes(checks: list[selfcheck.Check]) -> None:
    assert [check for check in checks if not check.ok] == []


def test_tiled_is_checked_on_both_models_in_every_dtype_forward_and_backward(checks: list[selfcheck.Check]) -> None:
    found = [(check.model, check.dtype, check.quantity) for check in checks if check.backend == "tiled"]
    dtypes = ("float32", "bfloat16", "float16")
    wanted = [(model, dtype, of) for model in ("arasfsr", "liif") for dtype in dtypes for of in ("output", "gradient")]
    assert found == wanted


def test_a_backend_that_cannot_run_is_not_checked(checks: list[selfcheck.Check]) -> None:
    available = {name for name, backend in BACKENDS.items() if backend.reason(None) is None}
    assert {check.backend for check in checks} <= available


@torch.no_grad()
def test_a_half_precision_bar_is_twice_the_error_of_reference(checks: list[selfcheck.Check]) -> None:
    encoding = selfcheck.random_encoding(selfcheck.MODELS["liif"], CPU)
    truth, half = (
        encoding.render(selfcheck.SR_SIZE, backend="reference", dtype=dtype)
        for dtype in (torch.float64, torch.bfloat16)
    )
    bars = [check.bar for check in checks if (check.model, check.dtype, check.quantity, check.backend)
            == ("liif", "bfloat16", "output", "tiled")]  # fmt: skip
    assert bars == [pytest.approx(2 * selfcheck.relative_rms(half, truth))]


@pytest.mark.usefixtures("one_model")
def test_an_output_off_by_a_ten_thousandth_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    break_tiled(monkeypatch, lambda call, out: out + 1e-4 * (out - out.detach() + out.detach().std()))
    assert ("tiled", "output", None) in failures()


@pytest.mark.usefixtures("one_model")
def test_a_wrong_gradient_under_a_right_output_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(call: QueryCall, out: Tensor) -> Tensor:
        extra = 1e-2 * call.features.sum()
        return out + (extra - extra.detach())

    break_tiled(monkeypatch, change)
    assert failures() == [("tiled", "gradient", None)]


@pytest.mark.usefixtures("one_model")
def test_nan_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    break_tiled(monkeypatch, lambda call, out: out * float("nan"))
    assert [quantity for _, quantity, _ in failures()] == ["output", "gradient"]


@pytest.mark.usefixtures("one_model")
def test_a_backend_that_raises_fails_with_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(call: QueryCall, out: Tensor) -> Tensor:
        raise RuntimeError("illegal instruction\nand forty more lines")

    break_tiled(monkeypatch, change)
    assert ("tiled", "output", "RuntimeError: illegal instruction") in failures()


@pytest.mark.usefixtures("one_model")
def test_the_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    list(selfcheck.run_checks(CPU))
    assert torch.equal(torch.get_rng_state(), before)


def test_no_query_of_the_check_is_near_a_cell_boundary() -> None:
    for lr, sr in zip(selfcheck.LR_SIZE, selfcheck.SR_SIZE, strict=True):
        corners = [(2 * i + 1) / sr + v / lr for i in range(sr) for v in (-1, 1)]  # in [0, 2], before the shift
        boundaries = [2 * k / lr for k in range(1, lr)]
        assert min(abs(corner - boundary) for corner in corners for boundary in boundaries) > 1e-3


@pytest.mark.usefixtures("one_model")
def test_doctor_exits_with_0_where_all_is_well() -> None:
    result = invoke()
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "all checks passed")


@pytest.mark.usefixtures("one_model")
def test_doctor_says_what_to_do_on_a_busy_machine() -> None:
    assert "OMP_NUM_THREADS=1" in invoke().output


@pytest.mark.usefixtures("one_model")
def test_doctor_exits_with_1_where_a_check_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    break_tiled(monkeypatch, lambda call, out: out * 1.5)
    result = invoke()
    assert (result.exit_code, result.output.splitlines()[-1]) == (1, "2 checks FAILED")


@pytest.mark.usefixtures("one_model")
def test_doctor_says_why_a_backend_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = replace(BACKENDS["triton"], reason=lambda call: "no CUDA device was found")
    monkeypatch.setitem(BACKENDS, "triton", absent)
    assert "backend triton     not available: no CUDA device was found" in invoke().output.splitlines()


@pytest.mark.parametrize(
    ("kind", "missing", "told"),
    [
        ("sm90", (), "cuda in bfloat16 and tf32, else tiled"),
        ("sm90", ("cuda",), "triton in bfloat16 and tf32, else tiled"),
        ("sm90", ("cuda", "triton"), "tiled: no fused backend that runs here is proven on sm90"),
        ("sm86", (), "tiled: no fused backend that runs here is proven on sm86"),
    ],
)
def test_what_auto_takes_on_a_gpu_is_told(
    kind: str, missing: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = {"sm90": {"bfloat16": ["cuda", "triton"], "tf32": ["cuda", "triton"]}}
    monkeypatch.setattr("arasfsr.query.proven._proven", lambda: proven)
    monkeypatch.setattr("arasfsr.query.proven.architecture", lambda index: kind)
    monkeypatch.setattr(diagnosis, "backends", lambda: {n: "no" if n in missing else None for n in ("cuda", "triton")})
    assert diagnosis.automatic(0) == told


@pytest.mark.usefixtures("one_model")
def test_doctor_says_what_auto_takes() -> None:
    assert "auto on cpu        tiled" in invoke().output.splitlines()
    assert json.loads(invoke("--json").stdout)["auto"]["cpu"] == "tiled"


@pytest.mark.usefixtures("one_model")
def test_doctor_shows_what_a_failing_backend_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(call: QueryCall, out: Tensor) -> Tensor:
        raise RuntimeError("no kernel image for [sm_90]")

    break_tiled(monkeypatch, change)
    assert "cpu tiled liif float32 output: RuntimeError: no kernel image for [sm_90]" in invoke().output


@pytest.mark.usefixtures("one_model")
def test_json_holds_the_checks_and_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    break_tiled(monkeypatch, lambda call, out: out * 1.5)
    report: dict[str, Any] = json.loads(invoke("--json").stdout)
    assert [(check["backend"], check["ok"]) for check in report["checks"] if check["quantity"] == "output"] == [
        ("reference", True),
        ("tiled", False),
    ]
    assert report["ok"] is False


@pytest.mark.usefixtures("one_model")
def test_doctor_keeps_the_extension_s_load_error_and_says_how_to_build_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ARASFSR_EMULATED", raising=False)
    monkeypatch.setattr(cuda_core, "EXTENSION", "broken_module_of_arasfsr")
    monkeypatch.setattr(cuda_core, "load", cuda_core.load.__wrapped__)
    (tmp_path / "broken_module_of_arasfsr.py").write_text("raise ImportError('undefined symbol: _ZN7arasfsr')")
    monkeypatch.syspath_prepend(tmp_path)
    error = "the extension does not load (ImportError: undefined symbol: _ZN7arasfsr); build it with nvcc: "
    assert f"native extension   {error}ARASFSR_CUDA=1 pip install ." in invoke().output


def test_an_optional_module_that_is_not_there_is_absent() -> None:
    assert diagnosis.probe("no_such_module_of_arasfsr") == "absent"


def test_an_optional_module_that_is_there_shows_its_version() -> None:
    assert diagnosis.probe("torch") == torch.__version__


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("raise ImportError('libGL.so.1: cannot open shared object file')", "ImportError: libGL.so.1: cannot open"),
        ("raise OSError('wrong architecture')", "OSError: wrong architecture"),
        ("import no_such_module_of_arasfsr", "ModuleNotFoundError: No module named 'no_such_module_of_arasfsr'"),
    ],
)
def test_an_optional_module_that_does_not_import_keeps_its_error(
    source: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_module_of_arasfsr.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    assert diagnosis.probe("broken_module_of_arasfsr").startswith(f"broken: {shown}")
