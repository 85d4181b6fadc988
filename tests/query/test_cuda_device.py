"""What only a CUDA device shows: graphs, streams, several devices, autocast, TF32."""

from __future__ import annotations

import pytest
import torch
from fused_backends import each_dtype, finest_dtype, fused_arguments
from models import fused_model, without_skip
from tolerances import FLOAT32_OUTPUT
from torch import Tensor

from arasfsr.model import Encoding
from arasfsr.nn.convolution import convolve
from arasfsr.testing import relative_rms

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

SIZE = (33, 47)


def encode(device: torch.device | str = "cuda") -> Encoding:
    model = fused_model(64, 4).to(device)
    with torch.no_grad():
        return model.encode(fused_arguments("triton")[0].to(device))


def afresh(encoding: Encoding) -> Encoding:
    """The same encoding with nothing cached."""
    return Encoding(encoding.features, encoding.image, encoding.weights)


@torch.no_grad()
@each_dtype
def test_render_in_a_cuda_graph(fused: str, dtype: torch.dtype) -> None:
    encoding = encode()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        afresh(encoding).render(SIZE, backend=fused, dtype=dtype)  # what is compiled or set up once
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = afresh(encoding).render(SIZE, backend=fused, dtype=dtype)
    for _ in range(2):
        encoding.features.copy_(torch.randn_like(encoding.features))
        graph.replay()
        assert torch.equal(captured, afresh(encoding).render(SIZE, backend=fused, dtype=dtype))


@torch.no_grad()
@finest_dtype
def test_graph_replay_reads_the_current_weights_of_a_frozen_model(fused: str, dtype: torch.dtype) -> None:
    model = fused_model(64, 4).to("cuda").requires_grad_(False)
    encoding = model.encode(fused_arguments("triton")[0].to("cuda"))
    afresh(encoding).render(SIZE, backend=fused, dtype=dtype)  # what is kept on the default stream
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = afresh(encoding).render(SIZE, backend=fused, dtype=dtype)
    for _ in range(2):
        for parameter in model.decoder.parameters():
            parameter.mul_(1.1)
        graph.replay()
        assert torch.equal(captured, afresh(encoding).render(SIZE, backend=fused, dtype=dtype))


@torch.no_grad()
@finest_dtype
def test_concurrent_streams(fused: str, dtype: torch.dtype) -> None:
    encodings = [encode() for _ in range(4)]
    for number, encoding in enumerate(encodings):
        encoding.features.add_(number)
    wanted = [afresh(encoding).render(SIZE, backend=fused, dtype=dtype) for encoding in encodings]
    streams = [torch.cuda.Stream() for _ in encodings]
    torch.cuda.synchronize()
    for _ in range(5):
        found: list[Tensor] = []
        for stream, encoding in zip(streams, encodings, strict=True):
            with torch.cuda.stream(stream):
                found.append(afresh(encoding).render(SIZE, backend=fused, dtype=dtype))
        torch.cuda.synchronize()
        assert all(torch.equal(ours, truth) for ours, truth in zip(found, wanted, strict=True))


@finest_dtype
@pytest.mark.parametrize("index", range(1, torch.cuda.device_count()))
def test_a_device_other_than_the_current_one(fused: str, dtype: torch.dtype, index: int) -> None:
    first, other = encode("cuda:0"), encode(f"cuda:{index}")
    found = other.render(SIZE, backend=fused, dtype=dtype)
    assert found.device == torch.device("cuda", index)
    torch.testing.assert_close(found.to("cuda:0"), first.render(SIZE, backend=fused, dtype=dtype))


@each_dtype
def test_autocast_is_followed(fused: str, dtype: torch.dtype) -> None:
    encoding = without_skip(encode())
    coord, cell = (part.to("cuda") for part in fused_arguments("triton")[1:])
    wanted = encoding.query(coord, cell, fused, dtype)
    with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
        assert torch.equal(encoding.query(coord, cell, fused), wanted)


@pytest.mark.parametrize("allowed", [False, True])
def test_the_lr_map_follows_the_matmul_tf32_switch_not_cudnn_s(allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    features, weight, term = (torch.randn(shape, device="cuda") for shape in ((2, 72, 9, 7), (64, 72, 3, 3), (64,)))
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", allowed)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not allowed)
    found, truth = (
        convolve(features.to(dtype), weight.to(dtype), term.to(dtype).view(1, 1, 1, -1))
        for dtype in (torch.float32, torch.float64)
    )
    assert (relative_rms(found, truth) > FLOAT32_OUTPUT) is allowed
