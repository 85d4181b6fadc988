"""The scripts of examples/: they run as their users run them, and what they print is true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))


def output_of(script: str, *arguments: str) -> str:
    """What a script prints, on the CPU."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(ROOT / "examples" / script), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def losses(output: str) -> list[float]:
    return [float(loss) for loss in re.findall(r"loss (\d\.\d+)", output)]


@pytest.mark.slow
def test_a_custom_encoder_learns_to_beat_bicubic_on_the_face_it_saw() -> None:
    output = output_of("custom_encoder.py")
    first, *_, last = losses(output)
    assert last < first
    ours, bicubic = map(float, re.findall(r"(\d+\.\d+)(?:,|$)", output.strip().splitlines()[-1]))
    assert ours > bicubic


def test_training_on_whole_images_lowers_the_loss() -> None:
    found = losses(output_of("full_image_training.py", "--epochs", "4", "--size", "48"))
    assert len(found) == 4
    assert all(after < before for before, after in pairwise(found))


def test_training_on_whole_images_keeps_far_less_than_the_reference_does() -> None:
    arguments = ("full_image_training.py", "--epochs", "1", "--size", "96", "--backend")
    tiled, reference = (
        float(re.findall(r"(\d+\.\d+) MB", output_of(*arguments, backend))[0]) for backend in ("tiled", "reference")
    )
    assert 0 < tiled < reference / 50


@pytest.mark.parametrize("options", [(), ("--backward",), ("--dtype", "bfloat16")], ids=" ".join)
def test_the_benchmark_times_what_agrees_with_the_reference(options: tuple[str, ...]) -> None:
    output = output_of("benchmark_backends.py", "--lr", "12", "--size", "40", "--seconds", "0.1", *options)
    limit = float(re.findall(r"largest error (\S+)", output)[0])
    rows = {row.split()[0]: row.split()[1:] for row in output.splitlines()[2:]}
    assert rows["reference"][-1] == "1.00x"
    assert float(rows["tiled"][0]) <= limit
    speed_up = float(rows["reference"][1]) / float(rows["tiled"][1])
    assert float(rows["tiled"][-1][:-1]) == pytest.approx(speed_up, rel=0.02, abs=0.01)  # of rounded times
    assert "no CUDA device" in output


def test_the_benchmark_times_nothing_that_is_wrong(tmp_path: Path) -> None:
    broken = "import runpy, arasfsr.query.dispatch as d\nwas = d.BACKENDS['tiled']\n"
    broken += "d.BACKENDS['tiled'] = d.Backend(lambda call: was.run(call) * 1.01)\n"
    (tmp_path / "wrong.py").write_text(
        f"{broken}runpy.run_path({str(ROOT / 'examples' / 'benchmark_backends.py')!r}, run_name='__main__')\n"
    )
    command = [sys.executable, str(tmp_path / "wrong.py"), "--lr", "8", "--size", "16", "--backends", "tiled"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1].endswith("too large: not timed")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_says_what_it_shows_and_how_to_run_it(script: Path) -> None:
    assert f"python examples/{script.name}" in output_of(script.name, "--help")


@pytest.mark.parametrize("example", [path.name for path in (ROOT / "examples").iterdir() if path.is_file()])
def test_the_readme_of_the_examples_lists_each(example: str) -> None:
    assert example == "README.md" or f"]({example})" in (ROOT / "examples" / "README.md").read_text()
