"""Choice of backend, and the errors of the operator's arguments."""

from __future__ import annotations

import logging
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from models import small_model

import arasfsr
from arasfsr import BackendUnavailable
from arasfsr.query import proven
from arasfsr.query.dispatch import BACKENDS, FUSED, Backend, _choose
from arasfsr.query.fused import triton as triton_backend
from arasfsr.query.fused.limits import constant


def call(backend: str = "auto", **changes: Any) -> torch.Tensor:
    arguments = {"inp": torch.rand(2, 3, 4, 5), "coord": torch.rand(2, 6, 2), "cell": torch.rand(2, 6, 2)}
    return small_model()(**{**arguments, **changes}, backend=backend)


def test_backends_lists_all_four_with_reasons() -> None:
    found = arasfsr.backends()
    assert list(found) == ["reference", "tiled", "triton", "cuda"]
    assert found["reference"] is None
    assert found["tiled"] is None
    if not torch.cuda.is_available():
        assert found["triton"] == found["cuda"] == "no CUDA device"


@pytest.mark.parametrize(
    ("release", "numpy", "found"),
    [("3.6.0", "2.4.0", "numpy below 2.4, got Triton 3.6.0"), ("3.6.0", "2.3.5", None), ("3.7.0", "2.4.0", None)],
)
def test_interpreter_reason_names_a_numpy_too_new(
    monkeypatch: pytest.MonkeyPatch, release: str, numpy: str, found: str | None
) -> None:
    triton = pytest.importorskip("triton", reason="Triton is made for Linux only")
    monkeypatch.setattr(triton, "__version__", release)
    monkeypatch.setattr("numpy.__version__", numpy)
    reason = triton_backend.interpreter_reason()
    assert reason is None if found is None else found in str(reason)


@pytest.mark.parametrize(
    ("release", "capability", "message"),
    [("3.5.1", (10, 0), "Triton 3.5.1 fails to compile"), ("3.5.1", (9, 0), None), ("3.6.0", (10, 0), None)],
)
def test_devices_that_triton_cannot_compile_for_are_refused(
    monkeypatch: pytest.MonkeyPatch, release: str, capability: tuple[int, int], message: str | None
) -> None:
    triton = pytest.importorskip("triton", reason="Triton is made for Linux only")
    monkeypatch.setattr(triton, "__version__", release)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    reason = triton_backend._device_reason(0)
    assert reason is None if message is None else message in str(reason)


def test_auto_logs_why_it_passed_over_faster_backends(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="arasfsr"):
        call("auto")
    assert "backend triton passed over: no CUDA device" in caplog.text


PROVEN_HERE = {"sm90": {"bfloat16": ["cuda", "triton"], "tf32": ["triton"]}}


@pytest.mark.parametrize(
    ("capability", "dtype", "tf32", "taken"),
    [
        ((9, 0), torch.bfloat16, False, "cuda"),
        ((9, 0), torch.float16, False, "tiled"),
        ((9, 0), torch.float32, False, "tiled"),
        ((9, 0), torch.float32, True, "triton"),
        ((8, 0), torch.bfloat16, False, "tiled"),
    ],
)
def test_auto_takes_what_is_proven_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capability: tuple[int, int],
    dtype: torch.dtype,
    tf32: bool,
    taken: str,
) -> None:
    for name in FUSED:
        monkeypatch.setitem(BACKENDS, name, Backend(lambda call: call.features))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    monkeypatch.setattr(proven, "tf32_allowed", lambda: tf32)
    monkeypatch.setattr(proven, "_proven", lambda: PROVEN_HERE)
    features = SimpleNamespace(device=torch.device("cuda", 0))
    with caplog.at_level(logging.DEBUG, logger="arasfsr"):
        found = _choose(SimpleNamespace(features=features, dtype=dtype), "auto")  # type: ignore[arg-type]
    assert found is BACKENDS[taken]
    assert ("passed over: no committed result" in caplog.text) == (taken == "tiled")


@pytest.mark.parametrize(
    "switch",
    [
        "torch.set_float32_matmul_precision('high')",
        "torch.backends.cuda.matmul.allow_tf32 = True",
        "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    ],
)
def test_tf32_allowed_through_either_of_torch_s_interfaces(switch: str) -> None:
    told = "from arasfsr.query.fused.limits import tf32_allowed; print(tf32_allowed())"
    command = [sys.executable, "-W", "ignore", "-c", f"import torch; {told}; {switch}; print(tf32_allowed())"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["False", "True"]


def test_import_does_not_load_torch_dynamo() -> None:
    told = "import sys, arasfsr.query, arasfsr.model; print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_a_constant_is_evaluated_once_while_tracing() -> None:
    asked: list[int] = []

    @constant
    def number() -> int:
        asked.append(1)
        return 3

    compiled = torch.compile(lambda x: x + number(), backend="eager", fullgraph=True)
    assert [compiled(torch.ones(1)).item() for _ in range(2)] == [4, 4]
    assert len(asked) == 1


def test_proven_results_name_known_backends_and_arithmetics() -> None:
    for by_arithmetic in proven._proven().values():
        assert {*by_arithmetic} <= {"bfloat16", "float16", "tf32", "float32"}
        assert all({*names} <= {*FUSED} for names in by_arithmetic.values())


def test_environment_variable_sets_what_auto_means(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    for name in ("reference", "tiled"):
        run = BACKENDS[name].run
        note = Backend(lambda call, name=name, run=run: taken.append(name) or run(call))
        monkeypatch.setitem(BACKENDS, name, note)
    monkeypatch.setenv("ARASFSR_BACKEND", "reference")
    call("auto")
    call("tiled")
    for nothing in ("", "auto"):
        monkeypatch.setenv("ARASFSR_BACKEND", nothing)
        call("auto")
    assert taken == ["reference", "tiled", "tiled", "tiled"]


def test_unknown_backend_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARASFSR_BACKEND", "fast")
    with pytest.raises(ValueError, match=r"^ARASFSR_BACKEND must be auto, reference, tiled, triton, cuda, got 'fast'$"):
        call("auto")


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for what this machine lacks")
def test_environment_backend_never_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARASFSR_BACKEND", "cuda")
    with pytest.raises(BackendUnavailable, match=r"^ARASFSR_BACKEND='cuda': no CUDA device; use backend="):
        call("auto")


@pytest.mark.parametrize("name", ["triton", "cuda"])
def test_a_named_backend_never_falls_back(name: str) -> None:
    with pytest.raises(BackendUnavailable, match=rf"backend='{name}': .*; use backend="):
        call(name)


def test_unknown_backend_error_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="backend must be auto, reference, tiled, triton, cuda, got 'fast'"):
        call("fast")


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"inp": torch.rand(2, 1, 4, 5)}, ValueError, r"inp must have shape \(B, 3, h, w\) .*, got \(2, 1, 4, 5\)"),
        ({"inp": torch.rand(2, 3, 0, 5)}, ValueError, r"inp must have shape .*, got \(2, 3, 0, 5\)"),
        (
            {"inp": torch.zeros(2, 3, 4, 5, dtype=torch.uint8)},
            TypeError,
            "inp must be floating .*, got torch.uint8",
        ),
        ({"inp": [1.0]}, TypeError, "inp must be a tensor .*, got list"),
        (
            {"coord": torch.rand(3, 6, 2)},
            ValueError,
            r"coord must have shape .* with B = 2 .*, got \(3, 6, 2\)",
        ),
        ({"coord": torch.rand(2, 6, 3)}, ValueError, r"coord must have shape .*, got \(2, 6, 3\)"),
        ({"coord": torch.rand(2, 6, 2).half()}, TypeError, "coord must be float32 or float64 .*, got torch.float16"),
        ({"cell": torch.rand(2, 5, 2)}, ValueError, r"cell must have shape .* Q = 6 .*, got \(2, 5, 2\)"),
        (
            {"cell": torch.zeros(2, 6, 2, dtype=torch.int64)},
            TypeError,
            "cell must be float32 or .*, got torch.int64",
        ),
        ({"cell": 0.5}, TypeError, "cell must be a tensor, got float"),
        ({"dtype": torch.int8}, ValueError, "dtype must be one of float32, bfloat16, float16, float64, got torch.int8"),
        ({"dtype": "int8"}, ValueError, "dtype must be one of float32, bfloat16, float16, float64, got 'int8'"),
    ],
)
def test_error_names_a_bad_argument(changes: dict[str, Any], kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        call(**changes)


@pytest.mark.parametrize("size", [(0, 4), (4, -1), (4,), (4.0, 4), (True, 2)])
def test_error_names_a_bad_size(size: Any) -> None:
    encoding = small_model().encode(torch.rand(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"^size must be \(height, width\), whole numbers of at least 1, got "):
        encoding.render(size)


def test_numpy_integers_are_sizes_too() -> None:
    encoding = small_model().encode(torch.rand(1, 3, 4, 4))
    side = np.int64(8)
    assert encoding.render((side, side), (0, 0, side, np.int32(4))).shape == (1, 3, 8, 4)


@pytest.mark.parametrize("size", [64, None, 2.5])
def test_error_names_a_size_that_is_not_a_pair(size: Any) -> None:
    encoding = small_model().encode(torch.rand(1, 3, 4, 4))
    with pytest.raises(TypeError, match=rf"^size must be \(height, width\), .*, got {size}$"):
        encoding.render(size)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_dtype_by_name(name: str) -> None:
    encoding = small_model().encode(torch.rand(1, 3, 4, 4))
    by_dtype, by_name = (encoding.render((5, 6), dtype=dtype) for dtype in (getattr(torch, name), name))
    assert torch.equal(by_dtype, by_name)


@pytest.mark.parametrize(
    "region", [5, (0, 0, 4), (0, 0, 9, 8), (-1, 0, 4, 4), (5, 0, 4, 4), (0, 3, 4, 2), (0, 0, 4.0, 4)]
)
def test_error_names_a_bad_region(region: Any) -> None:
    encoding = small_model().encode(torch.rand(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"^region must be \(top, left, bottom, right\)"):
        encoding.render((8, 8), region)


def test_an_empty_region_renders_nothing() -> None:
    encoding = small_model().encode(torch.rand(1, 3, 4, 4))
    assert encoding.render((8, 8), (3, 2, 3, 6)).shape == (1, 3, 0, 4)
