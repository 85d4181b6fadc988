"""`arasfsr upscale`: which files become which, and of what size."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image
from upscale_command import Command, draw, files, size_of

from arasfsr.commands.batch import SizeRule

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


def test_without_a_size_the_output_is_4_times_as_large_and_beside_the_input(upscale: Command) -> None:
    draw("in/a.png")
    assert upscale("in/a.png").exit_code == 0
    assert files() == ["in/a.png", "in/a_x4.png"]
    assert size_of("in/a_x4.png") == (24, 16)


def test_two_sizes_are_a_usage_error(upscale: Command) -> None:
    draw("a.png")
    said = upscale.refusal("a.png", "--scale", "2", "--width", "9")
    assert said.endswith(
        "at most one of --scale, --size, --width, --height, --long-side may be given, got --scale and --width"
    )


@pytest.mark.parametrize("scale", ["0", "-1", "nan", "inf", "abc", "2,5"])
def test_a_scale_that_is_no_number_above_0_is_a_usage_error(upscale: Command, scale: str) -> None:
    draw("a.png")
    said = upscale.refusal("a.png", "--scale", scale)
    assert said.endswith(f"Invalid value for '--scale' / '-s': must be a finite number above 0, got {scale!r}")


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
    assert upscale("in", "--scale", "2").stdout.startswith("wrote in_x2/a.png ")
    assert files() == ["in/a.png", "in_x2/a.png"]


@pytest.mark.parametrize(
    ("here", "folder", "written"),
    [("in", ".", "../in_x2/deeper/a.png"), ("in/deeper", "..", "../../in_x2/deeper/a.png")],
)
def test_the_current_folder_and_those_above_it_have_a_name_too(
    upscale: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, here: str, folder: str, written: str
) -> None:
    draw("in/deeper/a.png")
    monkeypatch.chdir(here)
    assert upscale(folder, "--scale", "2").stdout.startswith(f"wrote {written} ")
    monkeypatch.chdir(tmp_path)
    assert files() == ["in/deeper/a.png", "in_x2/deeper/a.png"]


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


def test_inputs_may_be_given_by_an_option_too(upscale: Command) -> None:
    for path in ("a.png", "b.png", "in/c.png"):
        draw(path)
    assert upscale("a.png", "-i", "b.png", "--input", "in", "-o", "out/").exit_code == 0
    assert [name for name in files() if name.startswith("out")] == ["out/a.png", "out/b.png", "out/c.png"]


def test_no_input_is_a_usage_error(upscale: Command) -> None:
    assert upscale.refusal().endswith("Invalid value for IN: at least one picture or folder must be given, got none")


def test_short_options_are_those_of_other_tools(upscale: Command) -> None:
    draw("a.png")
    assert upscale("-i", "a.png", "-o", "b.png", "-s", "2.5", "-n", "tiny").exit_code == 0
    assert size_of("b.png") == (15, 10)


def test_files_of_other_kinds_in_a_folder_are_counted_and_skipped(upscale: Command) -> None:
    for path in ("in/a.png", "in/b.gif", "in/c.gif", "in/.hidden.gif"):
        draw(path)
    Path("in/README").touch()
    result = upscale("in", "-o", "out")
    assert result.exit_code == 0
    assert result.stderr == "in: files of other kinds skipped: 2 .gif, 1 without suffix\n"


def test_a_missing_input_is_a_usage_error(upscale: Command) -> None:
    assert "got none.png, which does not exist" in upscale.refusal("none.png", "--scale", "2")


def test_a_folder_without_pictures_is_a_usage_error(upscale: Command) -> None:
    Path("in").mkdir()
    assert "the folder in, which has none" in upscale.refusal("in", "--scale", "2")


def test_several_files_into_one_file_are_a_usage_error(upscale: Command) -> None:
    draw("a.png")
    draw("b.png")
    assert "--output must be a folder if IN is a folder or several pictures, got the file b.png" in upscale.refusal(
        "a.png", "b.png", "-o", "b.png", "--scale", "2"
    )


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


def test_an_output_without_a_suffix_is_a_usage_error_that_names_both_ways(upscale: Command) -> None:
    draw("a.png")
    said = upscale.refusal("a.png", "-o", "out", "--scale", "2")
    assert said.endswith("must end in a slash or a suffix, got out (out/ for a folder, out.png for a file)")
    assert files() == ["a.png"]


def test_an_output_without_a_suffix_has_the_format_asked_for(upscale: Command) -> None:
    draw("a.png")
    assert upscale("a.png", "-o", "b", "--scale", "2", "--format", "jpg").exit_code == 0
    with Image.open("b") as image:
        assert (image.format, image.size) == ("JPEG", (12, 8))


@pytest.mark.parametrize("options", [(), ("-o", "b.png")])
def test_a_gif_is_refused_with_what_to_do(upscale: Command, options: tuple[str, ...]) -> None:
    draw("a.gif")
    result = upscale("a.gif", "--scale", "2", *options)
    assert result.exit_code == 1
    assert result.stderr == "arasfsr: a.gif: GIF is not read; convert it to PNG\n"


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
