"""The command line as a whole: its exit status, and what the package shows of itself."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import arasfsr
from arasfsr import cli

SAMPLE = str(Path(arasfsr.__file__).parent / "assets" / "sample.png")
CONFIG = str(Path(__file__).parents[2] / "configs" / "tiny.yaml")


@pytest.fixture
def status(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    """The exit status of `arasfsr ARGUMENTS`, run in an empty folder but for an empty folder "empty"."""
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()

    def run(*arguments: str) -> object:
        monkeypatch.setattr(sys, "argv", ["arasfsr", *arguments])
        try:
            cli.main()
        except SystemExit as end:
            return end.code or 0
        return 0

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        ("upscale", SAMPLE, "--scale", "2", "-o", "out.png", "--backend", "cuda"),
        ("upscale", SAMPLE, "--scale", "2", "-o", "out.png", "--model", "none.safetensors"),
        ("upscale", SAMPLE, "--scale", "2", "-o", "out.png", "--model", SAMPLE),
        ("upscale", "none.png", "--scale", "2"),
        ("eval", "none", "--data", "empty"),
        ("eval", "tiny", "--data", "empty"),
        ("train", CONFIG, "--data", "empty"),
        ("train", CONFIG, "--data", "none"),
        ("train", CONFIG, "--data", "empty", "--resume"),
        ("train", SAMPLE, "--data", "empty"),
        ("prepare", "empty", "-o", "out"),
        ("prepare", "none", "-o", "out"),
        ("convert", "none.pth", "out.safetensors"),
        ("convert", SAMPLE, "out.safetensors"),
    ],
)
def test_what_cannot_be_done_is_a_usage_error_and_leaves_nothing(
    status: object, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(*arguments) == 2  # type: ignore[operator]
    said = capsys.readouterr().err
    assert "arasfsr: " in said or "Error" in said
    assert [path.name for path in Path().rglob("*")] == ["empty"]


def test_a_full_disk_is_no_usage_error(
    status: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(prog_name: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cli, "app", fail)
    assert status() == 1  # type: ignore[operator]
    assert capsys.readouterr().err == "arasfsr: [Errno 28] No space left on device\n"


def test_verbose_shows_the_traceback_of_an_error(status: Callable[..., object]) -> None:
    with pytest.raises(FileNotFoundError, match="model must be a bundled one"):
        status("upscale", SAMPLE, "-o", "out.png", "--model", "none", "--verbose")


@pytest.mark.parametrize(
    ("arguments", "step"),
    [
        (("upscale", SAMPLE, "-o", "out.png"), "arasfsr.checkpoints.native.load_model"),
        (("eval", "tiny", "--data", "empty"), "arasfsr.evaluation.evaluate"),
        (("prepare", "empty", "-o", "out"), "arasfsr.preparation.prepare.Preparer"),
    ],
)
def test_ctrl_c_is_130(
    status: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    step: str,
) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(step, interrupt)
    assert status(*arguments) == 130
    assert capsys.readouterr().err == "arasfsr: interrupted\n"


def test_all_done_is_0(status: object) -> None:
    assert status("upscale", SAMPLE, "--size", "9x7", "-o", "out.png") == 0  # type: ignore[operator]
    assert Image.open("out.png").size == (9, 7)


def test_dir_shows_the_public_names_only() -> None:
    assert dir(arasfsr) == sorted(arasfsr.__all__)


@pytest.mark.parametrize(
    "arguments",
    [
        ("upscale", SAMPLE, "--scale", "2", "-o", "out.png"),
        ("eval", "tiny", "--data", "empty"),
        ("train", CONFIG, "--data", "empty", "-o", "run"),
        ("doctor",),
    ],
)
def test_a_backend_that_the_environment_names_is_checked_first(
    status: Callable[..., object],
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is begun, and the picture is not blamed."""
    monkeypatch.setenv("ARASFSR_BACKEND", "foo")
    assert status(*arguments) == 2
    told = capsys.readouterr().err
    assert "ARASFSR_BACKEND" in told
    assert "'foo'" in told
    assert not Path("run").exists()
