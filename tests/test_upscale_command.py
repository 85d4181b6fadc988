"""`arasfsr upscale`: which files become which, of what size, and what is said and returned."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from arasfsr import BackendUnavailable, DecoderConfig, EncoderConfig, ImplicitSR, ModelConfig, save_model
from arasfsr.cli import app
from arasfsr.commands.batch import SizeRule
from arasfsr.query import BACKENDS


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = ModelConfig(
        encoder=EncoderConfig(blocks=1, features=8), frequency=None, decoder=DecoderConfig(width=16, layers=2)
    )
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_model(ImplicitSR(config), path)
    return path


class Command:
    """`arasfsr upscale --model SMALL` in a folder of its own."""

    def __init__(self, model_file: Path) -> None:
        self.model_file = model_file

    def __call__(self, *arguments: str) -> Result:
        defaults = ("--model", str(self.model_file), "--device", "cpu")
        return CliRunner().invoke(app, ["upscale", *defaults, *arguments])

    def refusal(self, *arguments: str) -> str:
        """What is said about a usage error, on one line."""
        result = self(*arguments)
        assert result.exit_code == 2, result.output
        return " ".join(result.stderr.replace("│", " ").split())


@pytest.fixture
def upscale(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(model_file)


def draw(path: str, width: int = 6, height: int = 4) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)


def size_of(path: str) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def files() -> list[str]:
    return sorted(path.as_posix() for path in Path().rglob("*") if path.is_file())


# Sizes.


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--scale", "3.7"), (22, 15)),
        (("--scale", "1"), (6, 4)),
        (("--scale", "0.5"), (3, 2)),
        (("--scale", "0.01"), (1, 1)),
        (("--size", "9x11"), (9, 11)),
        (("--width", "12"), (12, 8)),
        (("--height", "2"), (3, 2)),
        (("--long-side", "13"), (13, 9)),
    ],
)
def test_the_output_has_the_size_asked_for(
    upscale: Command, options: tuple[str, str], expected: tuple[int, int]
) -> None:
    draw("a.png")
    assert upscale("a.png", "-o", "b.png", *options).exit_code == 0
    assert size_of("b.png") == expected


@pytest.mark.parametrize(
    ("rule", "size", "expected"),
    [
        (SizeRule(long_side=100), (40, 20), (100, 50)),
        (SizeRule(long_side=100), (20, 40), (50, 100)),
        (SizeRule(width=10), (1, 4096), (1, 10)),
        (SizeRule(height=7), (7, 5), (7, 5)),
        (SizeRule(size=(3, 4)), (7, 5), (3, 4)),
    ],
)
def test_one_given_side_keeps_the_aspect_ratio(
    rule: SizeRule, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert rule.apply(size) == expected


@pytest.mark.parametrize(("width", "height"), [(1, 1), (4096, 1), (1, 512)])
def test_pixels_and_strips_are_upscaled(upscale: Command, width: int, height: int) -> None:
    draw("a.png", width, height)
    assert upscale("a.png", "-o", "b.png", "--scale", "1.5").exit_code == 0
    assert size_of("b.png") == (max(1, round(1.5 * width)), max(1, round(1.5 * height)))


def test_no_size_is_a_usage_error(upscale: Command) -> None:
    draw("a.png")
    assert "must be given, got none" in upscale.refusal("a.png")


def test_two_sizes_are_a_usage_error(upscale: Command) -> None:
    draw("a.png")
    assert "must be given, got --scale and --width" in upscale.refusal("a.png", "--scale", "2", "--width", "9")


@pytest.mark.parametrize("scale", ["0", "-1", "nan", "inf"])
def test_a_scale_that_is_no_number_above_0_is_a_usage_error(upscale: Command, scale: str) -> None:
    draw("a.png")
    assert "--scale" in upscale.refusal("a.png", "--scale", scale)


@pytest.mark.parametrize("size", ["9", "9x", "0x9", "9x-1", "9.5x9", "9x9x9"])
def test_a_size_that_is_not_width_x_height_is_a_usage_error(upscale: Command, size: str) -> None:
    draw("a.png")
    assert "WIDTHxHEIGHT" in upscale.refusal("a.png", "--size", size)


# Names.


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (("--scale", "3.7"), "a_x3.7.png"),
        (("--scale", "2"), "a_x2.png"),
        (("--size", "9x11"), "a_9x11.png"),
        (("--width", "9"), "a_w9.png"),
        (("--height", "9"), "a_h9.png"),
        (("--long-side", "9"), "a_l9.png"),
    ],
)
def test_without_an_output_the_name_tells_the_size(upscale: Command, options: tuple[str, str], name: str) -> None:
    draw("in/a.png")
    assert upscale("in/a.png", *options).exit_code == 0
    assert files() == ["in/a.png", f"in/{name}"]


def test_an_output_folder_that_exists_takes_the_name(upscale: Command) -> None:
    draw("a.png")
    Path("out").mkdir()
    upscale("a.png", "-o", "out", "--scale", "2")
    assert files() == ["a.png", "out/a.png"]


def test_an_output_that_ends_in_a_slash_is_a_folder(upscale: Command) -> None:
    draw("a.png")
    upscale("a.png", "-o", "new/deeper/", "--scale", "2")
    assert files() == ["a.png", "new/deeper/a.png"]


def test_the_format_is_that_of_the_output_suffix(upscale: Command) -> None:
    draw("a.png")
    upscale("a.png", "-o", "b.jpg", "--scale", "2")
    with Image.open("b.jpg") as image:
        assert image.format == "JPEG"


def test_a_folder_is_mirrored(upscale: Command) -> None:
    draw("in/a.png")
    draw("in/deeper/b.TIF")
    draw("in/deeper/c.jpg")
    Path("in/notes.txt").write_text("no picture")
    draw("in/.hidden.png")
    assert upscale("in", "-o", "out", "--scale", "2").exit_code == 0
    assert [name for name in files() if name.startswith("out")] == [
        "out/a.png",
        "out/deeper/b.TIF",
        "out/deeper/c.jpg",
    ]


def test_a_folder_without_an_output_becomes_one_beside_it(upscale: Command) -> None:
    draw("in/a.png")
    upscale("in", "--scale", "2")
    assert files() == ["in/a.png", "in_x2/a.png"]


def test_outputs_inside_the_input_folder_are_not_inputs_of_the_next_run(upscale: Command) -> None:
    draw("in/a.png")
    upscale("in", "-o", "in/out", "--scale", "2")
    upscale("in", "-o", "in/out", "--scale", "2")
    assert files() == ["in/a.png", "in/out/a.png"]


def test_several_files_go_into_a_folder(upscale: Command) -> None:
    draw("a.png")
    draw("b.png")
    upscale("a.png", "b.png", "-o", "out", "--scale", "2")
    assert files() == ["a.png", "b.png", "out/a.png", "out/b.png"]


def test_a_format_is_given_to_all(upscale: Command) -> None:
    draw("in/a.jpg")
    upscale("in", "-o", "out", "--format", "png", "--scale", "2")
    assert files() == ["in/a.jpg", "out/a.png"]


def test_a_missing_input_is_a_usage_error(upscale: Command) -> None:
    assert "got none.png, which does not exist" in upscale.refusal("none.png", "--scale", "2")


def test_a_folder_without_pictures_is_a_usage_error(upscale: Command) -> None:
    Path("in").mkdir()
    assert "the folder in, which has none" in upscale.refusal("in", "--scale", "2")


def test_several_files_into_one_file_are_a_usage_error(upscale: Command) -> None:
    draw("a.png")
    draw("b.png")
    assert "--output must be a folder" in upscale.refusal("a.png", "b.png", "-o", "b.png", "--scale", "2")


@pytest.mark.parametrize("inputs", [("a.png", "b.png"), ("in",)])
def test_several_pictures_into_the_name_of_one_are_a_usage_error(upscale: Command, inputs: tuple[str, ...]) -> None:
    for path in ("a.png", "b.png", "in/c.png"):
        draw(path)
    assert "named like a picture" in upscale.refusal(*inputs, "-o", "two.png", "--scale", "2")
    assert not Path("two.png").exists()


def test_a_folder_may_be_named_like_a_picture_where_a_slash_says_so(upscale: Command) -> None:
    draw("in/a.png")
    assert upscale("in", "-o", "out.png/", "--scale", "2").exit_code == 0
    assert files() == ["in/a.png", "out.png/a.png"]


@pytest.mark.parametrize(("options", "format_"), [((), "PNG"), (("--format", "jpg"), "JPEG")])
def test_an_output_without_a_suffix_has_the_inputs_format_or_that_asked_for(
    upscale: Command, options: tuple[str, ...], format_: str
) -> None:
    draw("a.png")
    assert upscale("a.png", "-o", "b", "--scale", "2", *options).exit_code == 0
    with Image.open("b") as image:
        assert (image.format, image.size) == (format_, (12, 8))


def test_a_gif_is_refused_by_name(upscale: Command) -> None:
    draw("a.gif")
    result = upscale("a.gif", "-o", "b.png", "--scale", "2")
    assert result.exit_code == 1
    assert "a GIF, no picture of a known format (PNG, JPEG, WEBP, TIFF, BMP)" in result.stderr


def test_an_unknown_output_suffix_is_a_usage_error(upscale: Command) -> None:
    draw("a.png")
    assert "the suffix must be one of" in upscale.refusal("a.png", "-o", "b.gif", "--scale", "2")


def test_an_unknown_format_is_a_usage_error(upscale: Command) -> None:
    draw("a.png")
    assert "--format" in upscale.refusal("a.png", "--format", "gif", "--scale", "2")


def test_a_format_against_the_output_suffix_is_a_usage_error(upscale: Command) -> None:
    draw("a.png")
    assert "--format must agree with" in upscale.refusal("a.png", "-o", "b.png", "--format", "jpg", "--scale", "2")


@pytest.mark.parametrize("output", ["a.png", ".", "./", "link.png", "hard.png"])
def test_an_input_is_never_overwritten(upscale: Command, output: str) -> None:
    draw("a.png")
    Path("link.png").symlink_to("a.png")
    os.link("a.png", "hard.png")
    before = Path("a.png").read_bytes()
    assert "must not overwrite an input" in upscale.refusal("a.png", "-o", output, "--scale", "2")
    assert Path("a.png").read_bytes() == before


def test_one_input_is_not_overwritten_by_the_output_of_another(upscale: Command) -> None:
    draw("a/x.png")
    draw("b/x.png")
    assert "must not overwrite an input" in upscale.refusal("a", "-o", "b", "b/x.png", "--scale", "2")


def test_two_inputs_do_not_become_one_output(upscale: Command) -> None:
    draw("in/a.png")
    draw("in/a.jpg")
    said = upscale.refusal("in", "-o", "out", "--format", "png", "--scale", "2")
    assert "got out/a.png for both in/a.jpg and in/a.png" in said
    assert not Path("out").exists()


# What is said and returned.


def test_a_line_tells_output_sizes_and_seconds(upscale: Command) -> None:
    draw("a.png")
    line = upscale("a.png", "-o", "b.png", "--scale", "2").stdout
    assert line.startswith("b.png  (6 x 4 -> 12 x 8, ")
    assert line.endswith(" s)\n")


@pytest.mark.parametrize(("size", "told"), [("1024x1024", ["a.png: 6 x 4 -> 1024 x 1024 ..."]), ("9x9", [])])
def test_a_picture_that_takes_long_is_announced(upscale: Command, size: str, told: list[str]) -> None:
    draw("a.png")
    assert upscale("a.png", "-o", "b.png", "--size", size).stderr.splitlines() == told


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
def test_a_side_below_1_is_a_usage_error(upscale: Command, option: str) -> None:
    draw("a.png")
    assert option in upscale.refusal("a.png", option, "0")


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
    assert "out/a.png  (skipped" in result.stdout


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
    }
    assert (failed["status"], failed["error"]) == ("failed", "in/b.png: the file is empty")
    assert (skipped["status"], skipped["output"]) == ("skipped", "out/c.png")


def test_the_picture_is_that_of_the_library(upscale: Command, model_file: Path) -> None:
    from arasfsr import load_model

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
