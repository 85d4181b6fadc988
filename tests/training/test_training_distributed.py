"""Training in several processes: it equals one process, and they end together."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from training_runs import FIVE_SIZES, losses, save_smooth_images, with_budget

from arasfsr import load_model
from arasfsr.errors import TrainingError
from arasfsr.training import loop, step
from arasfsr.training.config import TrainConfig
from arasfsr.training.distributed import FailedElsewhere, Interrupted, Ranks, started_processes
from arasfsr.training.loop import train
from arasfsr.training.state import Run

RUN: dict[str, Any] = {
    "model": {
        "encoder": {
            "name": "swinir",
            "depths": [2],
            "width": 8,
            "heads": 2,
            "window": 4,
            "drop_path": 0.5,
            "features": 6,
        },
        "frequency": {"channels": 2, "width": 4, "blocks": 1},
        "decoder": {"width": 12, "layers": 2},
    },
    "data": {"lr_sizes": [6, 8], "scale": [1, 3], "queries": 32},
    "loss": {"kl_weight": 1e-2},
    "validation": {"images": 1, "pairs": [[8, 16]], "every": 10},
    "clip": 1.0,
    "steps": 20,
    "batch": 5,
    "log_every": 1,
    "checkpoint_every": 10,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_smooth_images(tmp_path_factory.mktemp("data"), FIVE_SIZES)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def _process(rank: int, port: int, results: Any, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    os.environ.update(address, RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
    with started_processes(torch.device("cpu")) as (ranks, _):
        try:
            work(ranks, *arguments)
            results.put((rank, "done", ""))
        except Exception as error:
            results.put((rank, type(error).__name__, str(error)))


def two_processes(work: Callable[..., None], *arguments: Any) -> dict[int, tuple[str, str]]:
    """How `work(ranks, *arguments)` ended in each of two processes: the exception's name, or "done", and its text.

    Killed processes are left out.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["arasfsr.training.loop"])
    results, port = context.SimpleQueue(), free_port()
    processes = [context.Process(target=_process, args=(rank, port, results, work, arguments)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
        assert process.exitcode is not None, "it hangs"
    ended = [process for process in processes if process.exitcode != -signal.SIGKILL]
    return {rank: (kind, text) for rank, kind, text in (results.get() for _ in ended)}


def _train(ranks: Ranks, config: dict[str, Any], data: Path, folder: Path, extend: bool = False) -> None:
    train(TrainConfig.model_validate(config), data, folder, resume=extend, ranks=ranks, extend=extend)


WHOLE: dict[str, Any] = {**RUN, "data": {**RUN["data"], "queries": None}}
BUDGET = with_budget(RUN, 5 * 8 * 8, 150)  # batches of 5 or 9


@pytest.mark.parametrize(("config", "parts"), [(RUN, 1), (WHOLE, 2), (BUDGET, 2)])
def test_two_processes_with_accumulation_equal_one(
    config: dict[str, Any], parts: int, data: Path, tmp_path: Path
) -> None:
    train(TrainConfig.model_validate(config), data, tmp_path / "one")
    ended = two_processes(_train, {**config, "accumulate": parts}, data, tmp_path / "two")
    assert ended == {0: ("done", ""), 1: ("done", "")}
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == 20
    assert two == pytest.approx(one, rel=1e-5)


def _signalled(ranks: Ranks, config: dict[str, Any], data: Path, folder: Path, signum: int, after: int) -> None:
    """The second process alone receives a signal, in the step after `after`."""
    take_step = loop.take_step

    def note(run: Run, *arguments: Any) -> Any:
        if run.step == after and not ranks.first:
            os.kill(os.getpid(), signum)
        return take_step(run, *arguments)

    loop.take_step = note
    train(TrainConfig.model_validate(config), data, folder, ranks=ranks)


def test_a_signal_to_one_process_stops_all_and_one_process_can_resume(data: Path, tmp_path: Path) -> None:
    ended = two_processes(_signalled, RUN, data, tmp_path / "two", signal.SIGTERM, 2)
    stopped = (Interrupted.__name__, "stopped by SIGTERM after step 3; continue with --resume")
    assert ended == {0: stopped, 1: stopped}
    train(TrainConfig.model_validate(RUN), data, tmp_path / "two", resume=True)
    train(TrainConfig.model_validate(RUN), data, tmp_path / "one")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def test_two_processes_extend_a_run_as_one(data: Path, tmp_path: Path) -> None:
    longer = {**RUN, "steps": 30, "optimizer": {"lr": 2e-3, "schedule": "cosine"}}
    for name in ("one", "two"):
        train(TrainConfig.model_validate(RUN), data, tmp_path / name)
    train(TrainConfig.model_validate(longer), data, tmp_path / "one", resume=True, extend=True)
    assert two_processes(_train, longer, data, tmp_path / "two", True) == {0: ("done", ""), 1: ("done", "")}
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def _failing(ranks: Ranks, config: dict[str, Any], data: Path, folder: Path) -> None:
    """The second process fails in its third step."""
    accumulate = step._accumulate

    def fail(run: Run, part: Any) -> Any:
        if run.step == 2 and not ranks.first:
            raise RuntimeError("out of memory")
        return accumulate(run, part)

    step._accumulate = fail
    train(TrainConfig.model_validate(config), data, folder, ranks=ranks)


def test_a_failure_in_one_process_ends_the_others_and_rank_0_reports_it(data: Path, tmp_path: Path) -> None:
    ended = two_processes(_failing, RUN, data, tmp_path / "two")
    message = "process 1 of 2 failed: RuntimeError: out of memory"
    assert ended == dict.fromkeys((0, 1), (FailedElsewhere.__name__, message))


def test_if_one_process_is_killed_the_other_ends_and_the_last_checkpoint_resumes(data: Path, tmp_path: Path) -> None:
    ended = two_processes(_signalled, RUN, data, tmp_path / "two", signal.SIGKILL, 12)  # a checkpoint is of step 10
    assert list(ended) == [0]
    assert ended[0][0] == TrainingError.__name__
    assert "a process of the run has ended or cannot be reached; continue with --resume" in ended[0][1]
    train(TrainConfig.model_validate(RUN), data, tmp_path / "two", resume=True)
    train(TrainConfig.model_validate(RUN), data, tmp_path / "one")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def test_a_run_that_cannot_start_ends_in_all_processes(data: Path, tmp_path: Path) -> None:
    ended = two_processes(_train, {**RUN, "batch": 1}, data, tmp_path / "two")
    assert ended[0][0] == "ArgumentError"
    assert "batch must be at least 2, processes (2) times accumulate (1), got 1" in ended[0][1]
    assert ended[1][0] == FailedElsewhere.__name__
    assert not (tmp_path / "two").exists()


def test_torchrun_runs_the_command_and_rank_0_writes_and_prints(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({**RUN, "steps": 3, "precision": "bfloat16"}))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "arasfsr"]
    command = [*launcher, "train", str(path), "--data", str(data), "-o", str(tmp_path / "run"), "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("after 3 steps on 4 images") == 1
    assert done.stderr.count("begun, 3 steps in all") == 1
    assert len(losses(tmp_path / "run")) == 3
    assert load_model(tmp_path / "run" / "model.safetensors").config.decoder.width == 12


@pytest.mark.parametrize("count", [7, 8, 64])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("parts", [1, 2])
def test_shares_cover_every_item_once_in_order(count: int, size: int, parts: int) -> None:
    shares = [share for rank in range(size) for share in Ranks(rank, size).share(count, parts)]
    assert [i for share in shares for i in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_single_device_is_an_error_with_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(ValueError, match="device must be cpu, or cuda for a GPU each, with 2 processes, got cuda:1"),
        started_processes(torch.device("cuda:1")),
    ):
        pass
