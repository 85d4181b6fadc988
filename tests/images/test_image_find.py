"""The images of a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from arasfsr.errors import ArgumentError
from arasfsr.images.find import find_images, read_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images, one of them in a subfolder, two broken files, and other things."""
    (tmp_path / "more").mkdir()
    Image.new("RGB", (3, 2)).save(tmp_path / "b.png")
    Image.new("L", (5, 4)).save(tmp_path / "more" / "a.JPG", format="JPEG")
    (tmp_path / "a.png").write_bytes(b"not a png")
    (tmp_path / "more" / "empty.bmp").touch()
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "folder.png").mkdir()
    return tmp_path


def test_image_files_are_found_recursively_and_sorted(folder: Path) -> None:
    found = [path.relative_to(folder).as_posix() for path in find_images(folder)]
    assert found == ["a.png", "b.png", "more/a.JPG", "more/empty.bmp"]


def test_images_are_read_as_rgb_and_only_the_extract_is_kept(folder: Path) -> None:
    found = read_images(folder, lambda path, image: (path.name, image.mode, image.size))
    assert found.images == {
        folder / "b.png": ("b.png", "RGB", (3, 2)),
        folder / "more" / "a.JPG": ("a.JPG", "RGB", (5, 4)),
    }


def test_hidden_files_and_an_excluded_folder_are_left_out(tmp_path: Path) -> None:
    for name in ("a.png", ".b.png", ".c/d.png", "out/e.png", "in/out/f.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_images(tmp_path, excluded=tmp_path / "in" / ".." / "out")
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a.png", "in/out/f.png"]


def test_files_of_other_kinds_are_counted_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("more/a.gif", "b.GIF", "README"):
        (folder / name).touch()
    with caplog.at_level("INFO", "arasfsr"):
        find_images(folder)
    assert caplog.messages == [f"{folder}: files of other kinds skipped: 2 .gif, 1 .txt, 1 without suffix"]


def test_a_folder_of_images_alone_is_found_silently(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.png").touch()
    with caplog.at_level("INFO", "arasfsr"):
        find_images(tmp_path)
    assert caplog.messages == []


def test_broken_images_are_logged_and_listed(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "arasfsr")
    found = read_images(folder, lambda _, image: image.size)
    assert found.broken == [folder / "a.png", folder / "more" / "empty.bmp"]
    assert [record.message.split(": ")[:2] for record in caplog.records] == [
        ["skipped", str(path)] for path in found.broken
    ]


def test_a_missing_folder_and_one_without_readable_images_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="absent is not a folder"):
        read_images(tmp_path / "absent", lambda _, image: image)
    (tmp_path / "broken.png").touch()
    with pytest.raises(ArgumentError, match=r"has no image that can be read \(1 broken\); supported are \.png, "):
        read_images(tmp_path, lambda _, image: image)
