"""The benchmark of a GRPO step: our side on a toy samples what it was asked for and says where its time went."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

import pytest

from burnish.core.types import Problem
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def grpo(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(importlib.import_module("learning"), "matrix_flops", lambda: 1e9)
    return importlib.import_module("grpo")


def given(**more: Any) -> argparse.Namespace:
    settings = {"rows": 16, "global_batch": 8, "group_size": 4, "new_tokens": 6, "kl": 0.1, "trl_batch": 4}
    return argparse.Namespace(**(settings | {"side": "burnish"} | more))


def test_no_two_prompts_are_equal_and_there_is_one_for_each_group(grpo: Any) -> None:
    """16 replies in groups of 4 are 4 problems, and 2 more of the warm-up."""
    found: list[Problem] = grpo.problems(given(), more=2)
    assert len({problem.prompt for problem in found}) == 6
    assert {problem.check.verifier for problem in found} == {"parity"}


def test_grades_differ_by_parity(grpo: Any) -> None:
    """ "a" is 97, "b" 98, "é" 195 + 169 = 364."""
    assert [grpo.grade(text) for text in ("a", "b", "ab", "é")] == [1, 0, 1, 0]


@pytest.mark.slow
def test_a_toys_steps(grpo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two timed steps of 8 replies; a run whose replies had other lengths would have stopped."""
    monkeypatch.setattr(grpo, "laptop", Machine)
    result = grpo.run(given(model=str(make_toy(tmp_path / "model"))))
    assert result["rows"] == 16
    assert result["tokens"] == 96
    assert result["seconds"] > 0
    assert sum(result["profile"].values()) == pytest.approx(1.0, abs=1e-3)
    assert min(result["profile"].values()) > 0
    assert result["mfu"] > 0


@pytest.mark.parametrize("more", [{"rows": 12}, {"global_batch": 6}, {"trl_batch": 6}])
def test_parts_of_groups_are_refused(grpo: Any, more: dict[str, int]) -> None:
    with pytest.raises(SystemExit, match="multiple"):
        grpo.run(given(model="", **more))
