"""Time the backends on a size and dtype of your own against `reference`, the method as written.

A backend is verified before it is timed: the relative RMS error of its output (with --backward, of the gradient to the
feature map) against float64 `reference` must be within the limit of the library's self-check. The decoder alone is
timed; the encoder is the same for all.

    python examples/benchmark_backends.py
    python examples/benchmark_backends.py --model edsr --lr 128 --size 512 --dtype bfloat16 --device cuda
    python examples/benchmark_backends.py --backends tiled triton --backward
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.utils.benchmark import Timer

from arasfsr import BackendUnavailable, Encoding, backends, load_model
from arasfsr.testing import error_bar, relative_rms

VERIFIED_ROWS = 16
"""Rows in the middle of the output; float64 is slow."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="a bundled model or a file")
    parser.add_argument("--lr", type=int, default=48, help="side of the input")
    parser.add_argument("--size", type=int, default=160, help="side of the output")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--backends", nargs="+", default=[*backends()], choices=[*backends()], metavar="NAME")
    parser.add_argument("--backward", action="store_true", help="forward and backward")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each backend, at least")
    arguments = parser.parse_args()
    size, dtype, backward = (arguments.size, arguments.size), getattr(torch, arguments.dtype), arguments.backward

    torch.manual_seed(0)
    model = load_model(arguments.model, arguments.device).requires_grad_(backward)
    with torch.no_grad():
        encoding = model.encode(torch.rand(1, 3, arguments.lr, arguments.lr, device=arguments.device) * 2 - 1)
    encoding.features.requires_grad_(backward)
    truth = verified(encoding, size, "reference", torch.float64)
    limit = error_bar(dtype, relative_rms(verified(encoding, size, "reference", dtype), truth))

    print(f"{'forward and backward' if backward else 'forward'}, {arguments.lr} x {arguments.lr} to", end=" ")
    print(f"{arguments.size} x {arguments.size}, {arguments.dtype}, {arguments.device}; largest error {limit:.1e}")
    print(f"{'backend':10} {'error':>8} {'ms':>9} {'IQR':>8} {'speed-up':>9}")
    baseline, all_right = None, True
    for backend in dict.fromkeys(("reference", *arguments.backends)):
        try:
            error = relative_rms(verified(encoding, size, backend, dtype), truth)
        except BackendUnavailable as unavailable:
            print(f"{backend:10} {unavailable}")
            continue
        if not error <= limit:  # nor NaN
            print(f"{backend:10} {error:8.1e} too large: not timed")
            all_right = False
            continue
        threads = torch.get_num_threads()  # Timer would set one
        timer = Timer("run()", globals={"run": partial(run, encoding, size, backend, dtype)}, num_threads=threads)
        measured = timer.blocked_autorange(min_run_time=arguments.seconds)
        milliseconds, spread = measured.median * 1e3, measured.iqr * 1e3
        baseline = baseline or milliseconds
        print(f"{backend:10} {error:8.1e} {milliseconds:9.2f} {spread:8.2f} {baseline / milliseconds:8.2f}x")
    sys.exit(not all_right)


def run(encoding: Encoding, size: tuple[int, int], backend: str, dtype: torch.dtype) -> None:
    """What is timed: the whole picture, and the gradients of all that requires one."""
    picture = encoding.render(size, backend=backend, dtype=dtype)
    if picture.requires_grad:
        picture.sum().backward()


def verified(encoding: Encoding, size: tuple[int, int], backend: str, dtype: torch.dtype) -> Tensor:
    """What is compared: some rows of the picture, without the skip, which would hide errors; or their gradient."""
    top = max(0, size[0] - VERIFIED_ROWS) // 2
    region = (top, 0, min(top + VERIFIED_ROWS, size[0]), size[1])
    rows = replace(encoding, image=None).render(size, region, backend, dtype)
    if not rows.requires_grad:
        return rows
    weights = torch.linspace(0.5, 1.5, rows.numel(), dtype=rows.dtype, device=rows.device)
    return torch.autograd.grad(rows, encoding.features, weights.view(rows.shape))[0]


if __name__ == "__main__":
    main()
