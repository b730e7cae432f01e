"""Recipes run in several processes by torchrun: the same models, faults told in one message, nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import parallel_recipe
import pytest
import torch
from parallel_recipe import FAULT, MARK, Rows, Toy, make
from safetensors.torch import load_file

from burnish.errors import DataError, TrainingError
from burnish.losses.distill import Distillation
from burnish.pipeline.machine import Machine
from burnish.pipeline.run import run
from burnish.train.distill import Distill, TeacherLogprobs
from burnish.train.kto import Unpaired
from burnish.train.reward import RewardModeling
from burnish.train.schedule import Linear

pytestmark = pytest.mark.slow
TIMES = {"tokens_per_s", "wall_s", "tflops", "mfu"}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def same(a: Path, b: Path, within: float) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    for name, weight in first.items():
        assert (weight - second[name]).abs().max() <= within, name


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


def sft(runs: Path) -> Path:
    return next(runs.glob("sft-*"))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In one process."""
    return make(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In two processes, on shards."""
    return make(tmp_path_factory.mktemp("two"), processes=2, sharding="full")


def begun(tmp_path: Path, two: Path) -> Path:
    """A folder of runs with only the stages that need no training."""
    runs = tmp_path / "runs"
    runs.mkdir()
    for folder in two.parent.iterdir():
        if folder.name.startswith(("toy-", "rows-")):
            shutil.copytree(folder, runs / folder.name)
    return runs


def test_two_processes_on_shards_make_the_same_models(one: Path, two: Path) -> None:
    for a, b in ((sft(one.parent), sft(two.parent)), (one, two)):
        same(a, b, 1e-4)
        assert sorted(p.name for p in a.iterdir()) == sorted(p.name for p in b.iterdir())
        assert len(metrics(a)) == len(metrics(b))
        for first, second in zip(metrics(a), metrics(b), strict=True):
            assert second == pytest.approx(first, rel=1e-3, abs=1e-4)
    record = json.loads((two / "artifact.json").read_text())
    assert record["provenance"]["machine"]["processes"] == 2
    assert record["provenance"]["machine"]["threads"] == 1


@pytest.mark.parametrize("fields", [{"context": 2, "sharding": "full"}, {"tensor": 2}])
def test_two_processes_that_compute_together_make_the_same_models(
    fields: dict[str, Any], one: Path, tmp_path: Path
) -> None:
    """Rows shared on shards of the weights, and divided matrices: SFT, the reference pass and DPO."""
    made = make(tmp_path / "runs", processes=2, **fields)
    for a, b in ((sft(one.parent), sft(made.parent)), (one, made)):
        same(a, b, 1e-4)
        for first, second in zip(metrics(a), metrics(b), strict=True):
            assert second == pytest.approx(first, rel=1e-3, abs=1e-4)


def test_a_rank_killed_at_any_time_changes_nothing(two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = begun(tmp_path, two)
    monkeypatch.setenv(MARK, str(tmp_path / "mark"))
    monkeypatch.setenv(FAULT, "kill 1 4")
    with pytest.raises(TrainingError, match=r"'sft' was ended by SIGKILL(.|\n)*goes on from there"):
        make(runs, "sft", processes=2, sharding="full")
    make(runs, "sft", processes=2, sharding="full")
    same(sft(two.parent), sft(runs), 0.0)
    assert metrics(sft(two.parent)) == metrics(sft(runs))


@pytest.mark.parametrize("where", [{"processes": 1}, {"processes": 3, "sharding": "replicated"}])
def test_another_number_of_processes_goes_on_from_the_checkpoint(
    where: dict[str, Any], one: Path, two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = begun(tmp_path, two)
    monkeypatch.setenv(MARK, str(tmp_path / "mark"))
    monkeypatch.setenv(FAULT, "kill 0 5")
    with pytest.raises(TrainingError):
        make(runs, "sft", processes=2, sharding="full")
    at = json.loads(next(runs.glob("sft-*.partial/checkpoint/state.json")).read_text())["counters"]["step"]
    assert at > 0
    make(runs, "sft", **where)
    same(sft(one.parent), sft(runs), 1e-4)
    assert [record["step"] for record in metrics(sft(runs))] == list(range(1, 13))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_mistake_on_any_rank_is_told_once(
    rank: int, two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(MARK, str(tmp_path / "mark"))
    monkeypatch.setenv(FAULT, f"mistake {rank} 2")
    with pytest.raises(DataError, match=r"^row 7 cannot be used\.\n  Drop it\.$"):
        make(begun(tmp_path, two), "sft", processes=2)
    assert "Traceback" not in capfd.readouterr().err


def test_an_unexpected_exception_shows_its_traceback(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(MARK, str(tmp_path / "mark"))
    monkeypatch.setenv(FAULT, "raise 1 2")
    with pytest.raises(TrainingError, match="unexpected exception"):
        make(begun(tmp_path, two), "sft", processes=2)
    said = capfd.readouterr().err
    assert said.count("Traceback") == 1
    assert "ZeroDivisionError: nobody expects it" in said


def started(runs: Path, tmp_path: Path, fault: str, *words: str, **more: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    own = {FAULT: fault, MARK: str(tmp_path / "mark"), "PYTHONPATH": paths}
    command = [sys.executable, str(Path(parallel_recipe.__file__)), str(runs), *words]
    return subprocess.Popen(command, env=os.environ | own | more, stderr=subprocess.PIPE, text=True)


def alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_the_run_ends_every_rank(by: signal.Signals, two: Path, tmp_path: Path) -> None:
    runs = begun(tmp_path, two)
    child = started(runs, tmp_path, "wait 1 3", "2", "1", "replicated")
    mark = tmp_path / "mark"
    end = time.monotonic() + 120
    while not mark.exists() or not mark.read_text():
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.05)
    rank = int(mark.read_text())
    peers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and _is_rank(path, runs)]
    assert rank in peers
    assert len(peers) >= 3
    child.send_signal(by)
    child.communicate(timeout=60)
    end = time.monotonic() + 20
    while any(alive(peer) for peer in peers):
        assert time.monotonic() < end, "a rank outlives its run"
        time.sleep(0.05)


def _is_rank(process: Path, runs: Path) -> bool:
    try:
        words = (process / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False
    return "burnish.pipeline." in words and str(runs) in words


def test_two_nodes_share_a_stage(one: Path, two: Path, tmp_path: Path) -> None:
    """Two runs over one folder meet at an address of the loopback; the second waits for what only the first makes."""
    runs = tmp_path / "runs"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    more = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    nodes = [started(runs, tmp_path, "", "1", "2", "hybrid", NODE_RANK=str(i), **more) for i in (1, 0)]
    try:
        for node in nodes:
            _, said = node.communicate(timeout=200)
            assert node.returncode == 0, said
    finally:
        for node in nodes:
            node.kill()
            node.communicate()
    same(sft(one.parent), sft(runs), 1e-4)
    assert not list(runs.glob("*.partial"))


TRAINED = {
    "kto": Unpaired(Toy(), Rows("pairs"), epochs=2, global_batch=4, lr=Linear(1e-3, 0.0), max_tokens=200),
    "reward": RewardModeling(Toy(), Rows("pairs"), epochs=2, global_batch=2, lr=Linear(1e-3, 0.0), max_tokens=200),
    "distill": Distill(
        Toy(), TeacherLogprobs(Toy(), Rows("demos"), k=8, temperature=2.0, max_tokens=200), loss=Distillation(nll=0.5),
        epochs=1, global_batch=3, lr=Linear(1e-3, 0.0), max_tokens=200,
    ),
}  # fmt: skip


@pytest.mark.parametrize("context", [1, 2])
@pytest.mark.parametrize("name", TRAINED)
def test_two_processes_make_the_same_model_of_every_kind(name: str, context: int, tmp_path: Path) -> None:
    machine = Machine(threads=2, micro_tokens=80, checkpoint_every_s=1e9)
    found = [
        run(
            TRAINED[name], runs=tmp_path / where, machine=replace(machine, processes=processes, context=min(context, processes)),
            cache=tmp_path / "cache", modules=(Path(parallel_recipe.__file__),),
        )
        for where, processes in (("one", 1), ("two", 2))
    ]  # fmt: skip
    same(found[0], found[1], 1e-5)
    start, end = weights(next((tmp_path / "one").glob("toy-*"))), weights(found[0])
    assert max((end[key] - value).abs().max() for key, value in start.items() if key in end) > 1e-3, "it learned"
