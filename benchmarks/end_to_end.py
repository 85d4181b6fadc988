"""From a PNG file to a PNG file: read, encode, query, round, write; the authors' way and ours."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from arasfsr.coords import make_cell, make_coord
from arasfsr.testing import REFERENCE_FACTOR
from arasfsr.upscaling import denormalise, normalise
from benchmarks.cases import Case
from benchmarks.ceilings import TORCH_DTYPES
from benchmarks.contestants import Contestant, Decode, autocast
from benchmarks.gate import Verdict, reference, sample
from benchmarks.workload import Inputs, model_of

ROUNDING = 0.5  # grey levels: the most by which rounding to uint8 moves a pixel


class FileToFile:
    """One contestant upscaling one file."""

    def __init__(self, case: Case, contestant: Contestant, device: torch.device, decode: Decode) -> None:
        self._case, self._contestant, self._device, self._decode = case, contestant, device, decode
        model: Any = model_of(case.model).to(device).requires_grad_(False)
        self._model = model.to(memory_format=torch.channels_last) if device.type == "cuda" else model
        self._weights = self._model.decoder.weights()
        self._encode = torch.compile(self._features, dynamic=False) if contestant.compiled else self._features
        self._coord = make_coord(case.output, device).unsqueeze(0)
        self._cell = make_cell(case.output, device).view(1, 1, 2)
        self._folder = tempfile.TemporaryDirectory(prefix="arasfsr-bench-")
        self._source, self._target = (Path(self._folder.name) / name for name in ("in.png", "out.png"))
        pixels = torch.randint(256, (*case.lr, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(self._source)

    def __call__(self) -> None:
        with Image.open(self._source) as image:
            image.load()
            if backend := self._contestant.backend:
                dtype = TORCH_DTYPES[self._case.dtype]
                big = self._model.upscale(image, size=self._case.output, backend=backend, dtype=dtype)
            else:
                big = self._public(image)
        big.save(self._target)

    def _features(self, inp: Tensor) -> Any:
        return self._model.encode(inp).features

    def _read(self, image: Image.Image) -> Tensor:
        pixels = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1).unsqueeze(0)
        return normalise(pixels).to(self._device)

    def _inputs(self, features: Tensor, inp: Tensor) -> Inputs:
        return Inputs(features, inp if self._model.config.skip else None, self._coord, self._cell, None, None)

    @torch.no_grad()
    def _public(self, image: Image.Image) -> Image.Image:
        inp = self._read(image)
        with autocast(self._case.dtype, self._device):
            features = self._encode(inp)
        out = denormalise(self._decode(self._inputs(features, inp), self._weights)[0])
        pixels = (out * 255).round().to(torch.uint8).view(*self._case.output, 3)
        return Image.fromarray(pixels.cpu().numpy())

    @torch.no_grad()
    def judge(self) -> Verdict:
        """Run, and compare a sample of the written pixels with float64 `reference` of the same encoder, in levels.

        The bar is that of the gate, twice the error of `reference` in the same dtype, and what rounding adds.
        """
        self()
        with Image.open(self._source) as image:
            inp = self._read(image)
        with Image.open(self._target) as image:
            if image.size != self._case.output[::-1]:
                return Verdict("file", float("inf"), 0.0)
            written = torch.from_numpy(np.asarray(image, dtype=np.float64)).view(-1, 3)
        exact = self._inputs(self._features(inp), inp)
        with autocast(self._case.dtype, self._device):
            same = self._inputs(self._features(inp), inp)
        index = sample(exact)

        def levels(inputs: Inputs, dtype: torch.dtype) -> Tensor:
            return denormalise(reference(inputs.at(index), self._weights, dtype)[0].double()).cpu() * 255

        truth = levels(exact, torch.float64)
        found, plain = written[index.cpu()], levels(same, TORCH_DTYPES[self._case.dtype])
        error, least = (float((each - truth).square().mean().sqrt()) for each in (found, plain))
        return Verdict("file", error, REFERENCE_FACTOR * least + ROUNDING)
