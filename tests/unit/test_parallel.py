"""Ranks: whatever their number and however they hold the weights, a step is the same; and the arithmetic of sharing out."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from training_runs import DATA, START

from burnish.errors import RecipeError
from burnish.model.parallel import Ranks, deal, either
from burnish.model.trains import LoRA
from burnish.pipeline.machine import Machine
from burnish.pipeline.plan import plan
from burnish.pipeline.ranks import Fault, Node, alone, cause, machine_of
from burnish.train.distill import TeacherLogprobs
from burnish.train.optimizer import Adafactor, AdamW8bit, Muon
from burnish.train.rows import split
from burnish.train.sft import SFT

SCRIPT = Path(__file__).parents[1] / "parallel_ranks.py"
FAMILIES = ("biases", "windows", "norms of heads", "transformers' layers", "adapters")
CASES = ("sft mean", "sft sum", "long", "dpo", "bradley-terry")
TWO = ("2-replicated", "2-full", "2-replicated-context2", "2-full-context2", "2-replicated-tensor2")
FOUR = (
    "4-replicated", "4-full", "4-hybrid", "4-replicated-context2", "4-full-context4", "4-hybrid-context2",
    "4-replicated-tensor2", "4-replicated-context2-tensor2",
)  # fmt: skip


def start(folder: Path, *sizes: int) -> None:
    paths = os.pathsep.join([str(SCRIPT.parent), str(SCRIPT.parents[1])])
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), *map(str, sizes)],
        env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One and two ranks."""
    found = tmp_path_factory.mktemp("ranks")
    start(found, 1, 2)
    return found


@pytest.fixture(scope="module")
def more(folder: Path) -> Path:
    """Four ranks too."""
    start(folder, 4)
    return folder


def read(folder: Path, label: str) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / f"{label}.pt", weights_only=False)
    return found


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], within: float) -> None:
    assert a.keys() == b.keys()
    for name, weight in a.items():
        assert (weight - b[name]).abs().max() <= within, name


def agree(folder: Path, label: str) -> None:
    """Every step of these ranks against one process that is given all rows as one batch."""
    alone_, ranks = read(folder, "1-replicated"), read(folder, label)
    for dtype, within in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        for case in CASES:
            one, several = alone_[f"{case} {dtype} joined"], ranks[f"{case} {dtype}"]
            assert several["found"] == pytest.approx(one["found"], rel=within * 10)
            assert several["norm"] == pytest.approx(one["norm"], rel=within * 10)
            same(one["weights"], several["weights"], within)


def stops(folder: Path, label: str) -> None:
    found = read(folder, label)["broken"]
    assert len(found["said"]) == int(label[0])
    for said in found["said"]:
        assert "Optimizer step 1: the loss is inf on the rows 2, 5, 6" in said
    same(read(folder, "1-replicated")["broken"]["weights"], found["weights"], 1e-10)


def goes_on(folder: Path, label: str) -> None:
    """From its own checkpoint to the same bits, from those of other sizes and shards to rounding."""
    found, other = read(folder, label)["resumed"], read(folder, "1-replicated")["resumed"]
    same(found["through"], found[f"checkpoint-{label}"], 0.0)
    for name, weights in found.items():
        same(other["through"], weights, 1e-10)
        assert name == "through" or name.startswith("checkpoint-")
    model, first = (load_file(folder / f"model-{name}" / "model.safetensors") for name in (label, "1-replicated"))
    same(first, model, 1e-10)


def refers(folder: Path, label: str) -> None:
    one, several = (read(folder, name)["reference"] for name in ("1-replicated", label))
    assert torch.allclose(one, several, rtol=1e-6, atol=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("what", [agree, stops, goes_on, refers])
@pytest.mark.parametrize("label", ["1-replicated", *TWO])
def test_two_ranks(label: str, what: Any, folder: Path) -> None:
    what(folder, label)


@pytest.mark.slow
@pytest.mark.parametrize("what", [agree, stops, goes_on, refers])
@pytest.mark.parametrize("label", FOUR)
def test_four_ranks(label: str, what: Any, more: Path) -> None:
    what(more, label)


@pytest.mark.slow
@pytest.mark.parametrize("label", ["2-replicated-context2", "2-replicated-tensor2"])
@pytest.mark.parametrize("name", FAMILIES)
def test_teams_of_other_families(name: str, label: str, folder: Path) -> None:
    """transformers computes norms in float32 whatever the model's type, so its own layers agree to less."""
    one, two = (read(folder, which).get(f"family {name}") for which in ("1-replicated", label))
    if name == "adapters" and "tensor" in label:
        assert two is None
        return
    assert one is not None
    assert two is not None
    within = 1e-6 if name == "transformers' layers" else 1e-10
    assert two["found"] == pytest.approx(one["found"], rel=within * 10)
    assert two["norm"] == pytest.approx(one["norm"], rel=within * 10)
    same(one["weights"], two["weights"], within)
    # Half of each layer's matrices and of the biases of their rows is somewhere else.
    assert (one["held"] - two["held"] > 6_000) is ("tensor" in label)


SIZES = st.lists(st.integers(1, 1000), max_size=40)


@given(SIZES, st.integers(1, 9))
def test_every_batch_is_dealt_to_one_rank_and_all_have_as_many_turns(sizes: list[int], ranks: int) -> None:
    hands = [deal(sizes, Ranks(rank, ranks)) for rank in range(ranks)]
    assert sorted(i for hand in hands for i in hand if i is not None) == list(range(len(sizes)))
    assert len({len(hand) for hand in hands}) == 1
    # No batch of a round is smaller than one of the next, so ranks work on like sizes at the same time.
    rounds = [[sizes[i] for i in turn if i is not None] for turn in zip(*hands, strict=True)]
    assert all(min(a) >= max(b) for a, b in itertools.pairwise(rounds)) or ranks == 1


def test_a_single_rank_keeps_the_order() -> None:
    assert deal([3, 9, 1], Ranks()) == [0, 1, 2]


def test_the_heaviest_batch_goes_to_the_rank_with_the_least() -> None:
    """9 and 7 first (0 takes 9, 1 takes 7); then 1 has the least and takes 5, 0 takes 4; then 1 has 12, 0 has 13."""
    sizes = [4, 9, 5, 7, 2]
    assert deal(sizes, Ranks(0, 2)) == [1, 0, None]
    assert deal(sizes, Ranks(1, 2)) == [3, 2, 4]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 120), st.integers(1, 6))
def test_micro_batches_for_ranks_hold_every_row_once_and_keep_to_the_limit(
    lengths: list[int], limit: int, ranks: int
) -> None:
    parts = split(range(len(lengths)), lengths, limit, ranks)
    assert sorted(i for part in parts for i in part) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in part) <= max(limit, *lengths) for part in parts)
    plain = split(range(len(lengths)), lengths, limit)
    # As many rounds as the fewest micro-batches need, no more.
    assert -(-len(parts) // ranks) == -(-len(plain) // ranks)


def test_micro_batches_for_ranks_are_of_like_size() -> None:
    """12 rows of 10 tokens, room for 100: one rank takes 100 and 20, of two each takes 60."""
    assert [len(part) for part in split(range(12), [10] * 12, 100)] == [10, 2]
    assert [len(part) for part in split(range(12), [10] * 12, 100, 2)] == [6, 6]


def test_known_values_win_over_unknown_ones() -> None:
    nan = torch.nan
    found = either(torch.tensor([1.0, nan, nan]), torch.tensor([2.0, 3.0, nan]))
    assert found[:2].tolist() == [1.0, 3.0]
    assert found[2].isnan()


def test_the_fault_that_the_others_follow_from() -> None:
    lost = Fault(0, 1, 10.0, text="Connection closed by peer")
    killed = Fault(1, -signal.SIGKILL, 10.1)
    ended = Fault(2, -signal.SIGTERM, 10.2)
    assert cause([lost, ended, killed]) == killed
    # A rank that torchrun had to kill after its grace is no cause.
    assert cause([lost, dataclasses.replace(killed, when=16.0)]) == lost
    said = Fault(3, 2, 10.3, "TrainingError", "the loss is nan")
    assert cause([lost, killed, said]) == said


def test_a_stage_that_cannot_share_runs_alone_with_every_core() -> None:
    machine = Machine(threads=8, processes=4, sharding="full")
    assert machine_of(SFT(START, DATA), machine) == dataclasses.replace(machine, threads=2)
    asked = TeacherLogprobs(START, DATA)
    assert machine_of(asked, machine) == alone(machine) == Machine(threads=8)
    assert machine_of(SFT(START, DATA), Machine(threads=8, sharding="full")) == Machine(threads=8)
    assert machine_of(SFT(START, DATA), Machine(threads=2, processes=4)).threads == 1


def test_nodes_find_themselves_in_the_environment() -> None:
    assert Node.here(Machine(), {}) == Node()
    there = {"NODE_RANK": "1", "MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "29500"}
    assert Node.here(Machine(nodes=2), there) == Node(1, "10.0.0.7", 29500)
    for wrong in ({}, there | {"NODE_RANK": "2"}, there | {"MASTER_PORT": "x"}):
        with pytest.raises(RecipeError, match="NODE_RANK 0 to 1"):
            Node.here(Machine(nodes=2), wrong)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"optimizer": Muon()}, "Muon needs whole ones"),
        ({"optimizer": Adafactor()}, "Adafactor needs whole ones"),
        ({"optimizer": AdamW8bit()}, "AdamW8bit needs whole ones"),
        ({"trains": LoRA()}, "frozen and trained weights"),
    ],
)
def test_what_shards_cannot_do_is_said_before_anything_runs(change: dict[str, Any], words: str) -> None:
    stage = dataclasses.replace(SFT(START, DATA), **change)
    for fine in (Machine(), Machine(processes=2), Machine(sharding="full")):
        stage.check_on(fine)
    with pytest.raises(RecipeError, match=words):
        stage.check_on(Machine(processes=2, sharding="full"))


def test_a_plan_for_that_machine_says_it(tmp_path: Path) -> None:
    stage = SFT(START, DATA, optimizer=Muon())
    plan(stage, runs=tmp_path, machine=Machine(processes=2))
    with pytest.raises(RecipeError, match=r"Machine\(sharding='full'\)(.|\n)*Set sharding='replicated'"):
        plan(stage, runs=tmp_path, machine=Machine(processes=2, sharding="full"))


def test_impossible_machines() -> None:
    with pytest.raises(RecipeError, match="one node has nothing to replicate over"):
        Machine(processes=4, sharding="hybrid")
    with pytest.raises(RecipeError, match="whole numbers from 1 up"):
        Machine(processes=0)
