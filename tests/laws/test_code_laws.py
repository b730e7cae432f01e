"""The code verifiers keep the laws, and accept every reference solution of HumanEval, HumanEval+, MBPP and MBPP+."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from code_mutants import some

from burnish.core.types import Problem
from burnish.data.sources.code_problems import HumanEvalPlusProblems, HumanEvalProblems, MBPPPlusProblems
from burnish.data.sources.mbpp import SPLITS, MBPPProblems
from burnish.testing.laws import check_verifier
from burnish.verify.base import graded_many
from burnish.verify.code import FunctionTests, StdioTests, UnitTests
from burnish.verify.code.extraction import blocks


def rows(name: str, data: Path) -> list[Problem]:
    if name == "mbpp":
        return [row for split in SPLITS for row in MBPPProblems(split).rows(data)]  # type: ignore[arg-type]
    sources = {
        "humaneval": HumanEvalProblems(),
        "humanevalplus": HumanEvalPlusProblems(),
        "mbppplus": MBPPPlusProblems(),
    }
    return list(sources[name].rows(data))


COUNTS = {"humaneval": 164, "humanevalplus": 164, "mbpp": 974, "mbppplus": 378}


def program(problem: Problem) -> str:
    """The whole reference program."""
    return (
        blocks(problem.solution)[0].text if "```" in problem.solution else problem.prompt[-1].content + problem.solution
    )


def wrong(problem: Problem) -> list[str]:
    """Programs that return nothing, and replies without one."""
    return [
        f"```python\n{program(problem)}\n\ndef {name}(*args, **kwargs): return None\n```" for name in entries(problem)
    ]


def entries(problem: Problem) -> list[str]:
    target = json.loads(problem.check.target)
    return [target["entry"]] if "entry" in target else target["names"]


@pytest.mark.parametrize(
    "verifier",
    [
        FunctionTests(),
        pytest.param(FunctionTests(partial=True), marks=pytest.mark.slow),
        pytest.param(StdioTests(), marks=pytest.mark.slow),
        pytest.param(UnitTests(), marks=pytest.mark.slow),
    ],
    ids=lambda v: type(v).__name__,
)
def test_code_verifiers_keep_the_laws(verifier: FunctionTests | StdioTests | UnitTests):
    check_verifier(verifier, examples=15, deadline_s=30.0)


@pytest.mark.slow
def test_the_laws_hold_on_some_real_problems(data_dir: Path):
    problems = [rows("humaneval", data_dir)[3], rows("mbppplus", data_dir)[3]]
    check_verifier(FunctionTests(), problems, mutate=wrong, examples=5, deadline_s=60.0)


@pytest.mark.parametrize("name", COUNTS)
def test_some_reference_solutions_are_accepted(name: str, data_dir: Path):
    check_gold(rows(name, data_dir)[:: 40 if name == "mbpp" else 20])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", COUNTS)
def test_every_reference_solution_is_accepted(name: str, data_dir: Path):
    problems = rows(name, data_dir)
    assert len(problems) == COUNTS[name]
    check_gold(problems)


def check_gold(problems: Sequence[Problem]) -> None:
    verdicts = graded_many(FunctionTests(), [(p, p.solution) for p in problems])
    bad = [(p.annotations["key"], v.why) for p, v in zip(problems, verdicts, strict=True) if v.score != 1.0]
    assert bad == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "share"), [("humaneval", 0.75), ("mbpp", 0.75), ("mbppplus", 0.8)])
def test_most_small_changes_make_a_program_fail(name: str, share: float, data_dir: Path):
    """Not all: some changes leave a program right (x + 1 for an x that is not used), and tests leave some wrong ones through."""
    problems = rows(name, data_dir)[:: 4 if name == "mbpp" else 2]
    cases = [(p, f"```python\n{mutant}\n```") for p in problems for _, mutant in some(program(p), 3)]
    verdicts = graded_many(FunctionTests(), cases)
    assert all(v.score is not None for v in verdicts)
    rejected = sum(v.score == 0.0 for v in verdicts)
    assert rejected >= share * len(cases), f"{rejected} of {len(cases)} rejected"


@pytest.mark.parametrize("name", COUNTS)
def test_programs_that_return_nothing_are_rejected(name: str, data_dir: Path):
    cases = [(p, reply) for p in rows(name, data_dir)[5 :: 60 if name == "mbpp" else 30] for reply in wrong(p)[:1]]
    assert len(cases) >= 5
    verdicts = graded_many(FunctionTests(), cases)
    assert [v for v in verdicts if v.score != 0.0] == []
