"""The studies of reinforcement learning: every algorithm takes a step on the toy model, and every study names its models."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from training_runs import DATA, START, context, prepare

from burnish.data.sources.reverse_text import ReverseText
from burnish.pipeline.machine import Machine
from burnish.pipeline.recipe import load_module
from burnish.rollout.engine import Sampling

RECIPE = Path(__file__).parents[2] / "recipes" / "rl_study.py"


@pytest.fixture(scope="module")
def study() -> ModuleType:
    return load_module(RECIPE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "choices"), [("grpo", {}), ("rloo", {}), ("ppo", {"value": None}), ("online-dpo", {})]
)
def test_every_algorithm_takes_a_step(
    algorithm: str, choices: dict[str, Any], study: ModuleType, tmp_path: Path
) -> None:
    prepare(tmp_path, list(ReverseText("train", 8).rows(None)))
    stage = study.train(algorithm, START, DATA, None, 1, Sampling(max_tokens=12), 0, **choices)
    stage.check(None)
    ctx = context(tmp_path, "out", Machine(micro_tokens=500, slots=16))
    stage.run(ctx)
    (record,) = [json.loads(line) for line in (ctx.out / "metrics.jsonl").read_text().splitlines()]
    assert record["groups"] == 8
    assert record["informative"] > 0
    assert record["grad_norm"] > 0
    assert (ctx.out / "model").exists()


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("gain", ["before", "grpo"]),
        ("kl", ["before", "kl 0", "kl 0.01", "kl 0.03", "kl 0.05", "kl 0.1"]),
        ("value", ["before", "value of judge", "value of policy"]),
        ("reward", ["before", "verifier", "verifier + judge"]),
        ("start", ["SFT", "DPO", "RL of SFT", "RL of DPO"]),
        ("algorithm", ["before", "ppo", "grpo", "rloo", "online-dpo", "rejection"]),
    ],
)
def test_a_study_sets_its_models_side_by_side(name: str, labels: list[str], study: ModuleType) -> None:
    """No two of its models are the same stage, or the table would compare one with itself."""
    report = study.recipe(study=name)
    assert [scores.label for scores in report.scores] == labels
    assert len({repr(scores.model) for scores in report.scores}) == len(labels)
