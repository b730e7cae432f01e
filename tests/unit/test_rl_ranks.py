"""Reinforcement learning in two processes by torchrun: the first samples, both learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from parallel_rl import OTHERS, ROOT, make
from safetensors.torch import load_file

from burnish.errors import RecipeError
from burnish.pipeline.machine import Machine


def steps(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def replies(folder: Path) -> list[list[int]]:
    return [
        json.loads(line)["completion"]["token_ids"] for line in (folder / "rollouts.jsonl").read_text().splitlines()
    ]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["inside", "process(threads=1)"])
def test_two_processes_learn_what_one_learns(place: str, tmp_path: Path) -> None:
    """The same replies, the same model to rounding; every reply is sampled once, by the first process's engine."""
    one, two = make(tmp_path / "one"), make(tmp_path / "two", processes=2, engine_place=place)
    first, second = (load_file(folder / "model" / "model.safetensors") for folder in (one, two))
    for name, weight in first.items():
        assert (weight - second[name]).abs().max() <= 1e-5, name
    for a, b in zip(steps(one), steps(two), strict=True):
        assert a["tokens"] == b["tokens"]
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)
    assert replies(one) == replies(two)


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHERS)
def test_other_algorithms_learn_the_same_in_two_processes(kind: str, tmp_path: Path) -> None:
    """PPO's value model too."""
    one, two = make(tmp_path / "one", OTHERS[kind]), make(tmp_path / "two", OTHERS[kind], processes=2)
    files = sorted(path.relative_to(one) for path in one.rglob("*.safetensors"))
    assert len(files) == (2 if kind == "ppo" else 1)
    for file in files:
        first, second = load_file(one / file), load_file(two / file)
        assert all((weight - second[name]).abs().max() <= 1e-5 for name, weight in first.items()), file
    assert replies(one) == replies(two)


def test_parts_of_a_model_are_refused_before_anything_runs() -> None:
    for machine in (Machine(processes=2, sharding="full"), Machine(processes=2, tensor=2)):
        with pytest.raises(RecipeError, match="Set sharding='replicated', context=1 and tensor=1"):
            ROOT.check_on(machine)
    ROOT.check_on(Machine(processes=2))
    ROOT.check_on(Machine(sharding="full"))
