"""The learner's benchmarks: what their profile and their counts say about a step of a toy."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

import pytest

from burnish.losses.dpo import DPO
from burnish.model.policy import Policy
from burnish.model.sharing import computed_tokens
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine
from burnish.train.dpo import pair_batch
from burnish.train.learner import Learner

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("learning"), importlib.import_module("pairs")


def test_a_steps_parts_are_all_of_it(modules: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learning, pairs = modules
    monkeypatch.setattr(learning, "matrix_flops", lambda: 1e9)
    policy = Policy.load(make_toy(tmp_path / "model"), Machine(), trainable=True)
    rows, kept = pairs.rendered(policy, pairs.pairs(argparse.Namespace(data=None, rows=5)))
    assert len(rows) == len(kept) == 5
    steps = pairs.steps_of(rows, 2, 400, pair_batch)
    assert [sum(batch.units for batch in step) for step in steps] == [2, 2, 1]
    result = learning.ours(Learner(policy, Machine()), DPO(beta=0.1), steps, len(rows))
    assert sum(result["profile"].values()) == pytest.approx(1.0, abs=1e-3)
    assert all(share > 0 for share in result["profile"].values())
    tokens = pairs.token_rows(rows)
    assert result["tokens"] == sum(map(len, tokens))
    # Prompts are shared inside pairs at the least.
    at_most = sum(computed_tokens(tokens[i : i + 2]) for i in range(0, len(tokens), 2))
    assert result["computed_tokens"] <= at_most < result["tokens"]
    assert result["mfu"] > 0
