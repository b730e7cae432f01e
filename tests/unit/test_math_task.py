"""The MATH benchmarks: Minerva's prompt as published, the plain question, and a ceiling on real rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from burnish.core.files import read_jsonl
from burnish.core.types import Problem
from burnish.data.sources.math import MATHProblems
from burnish.eval.score import check_gold
from burnish.eval.tasks import math
from burnish.eval.tasks.catalogue import find
from burnish.verify.math import Math


def test_shots_are_the_published_ones(data_dir: Path) -> None:
    """Down to the lone backslash where LaTeX ends a line with two: the prompt that was run has it so."""
    rows = list(read_jsonl(data_dir / "math" / "minerva_4shot.jsonl"))
    turns = math.shot_turns()
    assert len(rows) == 4
    for at, (_, row) in enumerate(rows):
        asked, answered = turns[2 * at : 2 * at + 2]
        assert (asked.role, answered.role) == ("user", "assistant")
        assert asked.content == f"Problem:\n{row['problem']}\n\nSolution:"
        assert answered.content == row["solution"]


@pytest.mark.parametrize(("name", "size", "turns", "rule"), [("math", 5000, 9, "flex"), ("math_plain", 5000, 1, "fixed"), ("math_500", 500, 1, "fixed")])  # fmt: skip
def test_prompts_and_gold(name: str, size: int, turns: int, rule: str, data_dir: Path) -> None:
    task = find(name)
    problems = task.problems(data_dir)
    assert len(problems) == size
    assert len(problems[0].prompt) == turns
    last = problems[0].prompt[-1].content
    assert last.startswith("Problem:\n") == (turns == 9)
    assert last.endswith("\n\nSolution:" if turns == 9 else "within \\boxed{}.")
    assert task.verifier == Math(rule)  # type: ignore[arg-type]
    assert len({problem.category for problem in problems}) == 7
    check_gold(task, problems[:40])


def test_the_target_is_what_the_last_box_holds(data_dir: Path) -> None:
    """Also in the two rows of train whose box is empty: their answer is 0."""
    rows = [row for row in MATHProblems("train").rows(data_dir) if isinstance(row, Problem)]
    assert len(rows) == 7500
    assert all(row.check.target.strip() for row in rows)
    assert (
        sum("\\boxed{0}" in row.solution and "primes" in row.solution and row.check.target == "0" for row in rows) >= 1
    )
    assert not any("\\boxed{}" in row.solution for row in rows)
