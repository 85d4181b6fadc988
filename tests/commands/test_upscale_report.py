"""`arasfsr upscale`: what it prints, and its exit status."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from upscale_command import Command, draw, files, size_of

from arasfsr import BackendUnavailable, load_model
from arasfsr.query import BACKENDS


@pytest.mark.parametrize(("there", "done"), [(False, "wrote"), (True, "overwrote")])
def test_a_line_tells_output_sizes_and_seconds(upscale: Command, there: bool, done: str) -> None:
    draw("a.png")
    if there:
        draw("b.png")
    line = upscale("a.png", "-o", "b.png", "--scale", "2").stdout
    assert line.startswith(f"{done} b.png (6 x 4 -> 12 x 8, ")
    assert line.endswith(" s)\n")


@pytest.mark.parametrize(("size", "told"), [("1024x1024", ["a.png: 6 x 4 -> 1024 x 1024 ..."]), ("9x9", [])])
def test_a_picture_that_takes_long_is_announced(upscale: Command, size: str, told: list[str]) -> None:
    draw("a.png")
    assert upscale("a.png", "-o", "b.png", "--size", size).stderr.splitlines() == told


def test_the_time_left_is_told_after_some_rows(upscale: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    draw("a.png")
    monkeypatch.setattr("arasfsr.commands.progress.LONG_SECONDS", 0)
    assert "a.png: about " in upscale("a.png", "-o", "b.png", "--size", "1024x1024").stderr


def test_ctrl_c_is_one_line_and_leaves_no_file(upscale: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(path: Path, *arguments: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    draw("a.png")
    monkeypatch.setattr("arasfsr.images.files._save_with_pillow", interrupt)
    result = upscale("a.png", "--scale", "2")
    assert (result.exit_code, result.output) == (130, "arasfsr: interrupted\n")
    assert files() == ["a.png"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_too_little_memory_names_the_output_size(
    upscale: Command, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    draw("a.png")
    monkeypatch.setattr("arasfsr.commands.batch.upscale_raster", fail)
    result = upscale("a.png", "-o", "b.png", "--scale", "3")
    assert result.exit_code == 1
    assert result.stderr == "arasfsr: a.png: not enough memory for an output of 18 x 12 pixels\n"


def test_an_output_beyond_any_memory_is_named(upscale: Command) -> None:
    draw("a.png")
    result = upscale("a.png", "-o", "b.png", "--size", "2147483647x2147483647")
    assert result.exit_code == 1
    assert "not enough memory for an output of 2147483647 x 2147483647 pixels" in result.stderr


@pytest.mark.parametrize("option", ["--width", "--height", "--long-side"])
@pytest.mark.parametrize("side", ["0", "abc", "9.5", "2147483648"])
def test_a_side_that_is_no_number_of_pixels_is_a_usage_error(upscale: Command, option: str, side: str) -> None:
    draw("a.png")
    said = upscale.refusal("a.png", option, side)
    assert said.endswith(
        f"Invalid value for '{option}': must be a whole number of pixels, 1 to 2147483647, got {side!r}"
    )


def test_an_unknown_device_is_named(upscale: Command) -> None:
    draw("a.png")
    said = upscale.refusal("a.png", "--scale", "2", "--device", "banana")
    assert said.endswith("must be auto, cpu, cuda, cuda:1 ..., got 'banana'")


@pytest.mark.parametrize(
    ("mode", "told", "becomes"), [("P", "a palette of colours", "RGB"), ("1", "black and white", "L")]
)
def test_a_picture_that_comes_back_in_another_mode_is_announced(
    upscale: Command, mode: str, told: str, becomes: str
) -> None:
    draw("rgb.png")
    Image.open("rgb.png").convert(mode).save("a.png")
    assert f"a.png: {told}, becomes" in upscale("a.png", "-o", "b.png", "--scale", "2").stderr
    with Image.open("b.png") as image:
        assert image.mode == becomes


def test_a_bad_file_is_named_and_the_others_go_on(upscale: Command) -> None:
    draw("in/a.png")
    Path("in/bad.png").write_text("no picture")
    draw("in/c.png")
    result = upscale("in", "-o", "out", "--scale", "2")
    assert result.exit_code == 1
    assert result.stderr.startswith("arasfsr: in/bad.png: no picture of a known format")
    assert result.stderr.count("\n") == 1
    assert [name for name in files() if name.startswith("out")] == ["out/a.png", "out/c.png"]


def test_a_picture_too_large_for_its_format_fails_before_any_work(upscale: Command) -> None:
    draw("a.png")
    result = upscale("a.png", "-o", "out/a.webp", "--size", "16384x16384")
    assert result.exit_code == 1
    assert "too many for WEBP" in result.stderr
    assert files() == ["a.png"]


def test_outputs_that_are_there_are_skipped_if_asked(upscale: Command) -> None:
    draw("in/a.png")
    draw("in/b.png")
    draw("out/a.png", 3, 3)
    result = upscale("in", "-o", "out", "--scale", "2", "--skip-existing")
    assert result.exit_code == 0
    assert (size_of("out/a.png"), size_of("out/b.png")) == ((3, 3), (12, 8))
    assert "skipped out/a.png (exists)\n" in result.stdout


def test_outputs_that_are_there_are_replaced_by_default(upscale: Command) -> None:
    draw("a.png")
    draw("b.png", 3, 3)
    upscale("a.png", "-o", "b.png", "--scale", "2")
    assert size_of("b.png") == (12, 8)


def test_json_is_one_record_a_file_and_nothing_else(upscale: Command) -> None:
    draw("in/a.png")
    Path("in/b.png").touch()
    draw("in/c.png")
    draw("out/c.png")
    result = upscale("in", "-o", "out", "--scale", "2", "--skip-existing", "--json")
    done, failed, skipped = (json.loads(line) for line in result.stdout.splitlines())
    assert done.pop("seconds") >= 0
    assert done == {
        "input": "in/a.png",
        "output": "out/a.png",
        "input_size": [6, 4],
        "output_size": [12, 8],
        "status": "done",
        "error": None,
        "overwrote": False,
    }
    assert (failed["status"], failed["error"]) == ("failed", "in/b.png: the file is empty")
    assert (skipped["status"], skipped["output"]) == ("skipped", "out/c.png")


def test_the_picture_is_that_of_the_library(upscale: Command, model_file: Path) -> None:
    draw("a.png")
    upscale("a.png", "-o", "b.png", "--scale", "2.5")
    with Image.open("a.png") as source, Image.open("b.png") as result:
        expected = load_model(model_file).upscale(source, scale=2.5)
        assert np.array_equal(np.asarray(result), np.asarray(expected))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_lower_precisions(upscale: Command, dtype: str) -> None:
    draw("a.png")
    assert upscale("a.png", "-o", "b.png", "--scale", "2", "--dtype", dtype).exit_code == 0


@pytest.mark.parametrize("option", ["--dtype", "--backend", "--device"])
def test_an_unknown_name_is_a_usage_error(upscale: Command, option: str) -> None:
    draw("a.png")
    assert option in upscale.refusal("a.png", "--scale", "2", option, "nonsense")


def test_a_backend_that_cannot_run_ends_the_run(upscale: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    draw("a.png")
    unable = replace(BACKENDS["cuda"], reason=lambda call: "no device")
    monkeypatch.setitem(BACKENDS, "cuda", unable)
    result = upscale("a.png", "-o", "b.png", "--scale", "2", "--backend", "cuda")
    assert isinstance(result.exception, BackendUnavailable)
    assert not Path("b.png").exists()
