"""FunctionTests against EvalPlus 0.3.1 (arXiv:2305.01210): verdicts on reference solutions and on wrong programs.

`evalplus_verdicts.jsonl` was recorded by its `untrusted_check`, with base and plus inputs together and fast_check, on the
reference solution (mutant -1) and two mutants (tests/code_mutants.py, by number) of every second problem of HumanEval+ and
every third of MBPP+, and of all problems with a special oracle. It holds no program: they are made from the data.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest
from code_mutants import mutants

from burnish.core.files import read_jsonl
from burnish.core.types import Problem
from burnish.data.sources.code_problems import HumanEvalPlusProblems, MBPPPlusProblems
from burnish.verify.code import FunctionTests

RECORDED = Path(__file__).parent / "evalplus_verdicts.jsonl"

# Where the verdicts differ. HumanEval/32's special oracle leaves the loop before it counts the input as tested, so EvalPlus
# 0.3.1 rejects every program for that problem, its own reference too. See docs/reference/verifiers/code.md.
DIFFERENT = {("HumanEval/32", -1)}


def compared(problems: list[Problem], every: int) -> tuple[int, list[tuple[str, int, str, str]]]:
    """How many verdicts were compared, and those that differ: task, mutant, EvalPlus's verdict, ours."""
    recorded: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for _, row in read_jsonl(RECORDED):
        recorded[row["task"]].append((row["mutant"], row["status"]))
    verifier, count, different = FunctionTests("whole"), 0, []
    for problem in [p for p in problems if p.annotations["key"] in recorded][::every]:
        source = json.loads(problem.check.target)["solution"]
        made = mutants(source)
        for number, status in recorded[problem.annotations["key"]]:
            count += 1
            verdict = verifier(problem, source if number < 0 else made[number])
            assert verdict.score is not None, (problem.annotations["key"], number, verdict.why)
            if (verdict.score == 1.0) != (status == "pass"):
                different.append((problem.annotations["key"], number, status, verdict.why))
    return count, different


@pytest.mark.slow
def test_verdicts_are_those_of_evalplus(data_dir: Path):
    problems = [*HumanEvalPlusProblems().rows(data_dir), *MBPPPlusProblems().rows(data_dir)]
    count, different = compared(problems, 1)
    assert count > 500
    assert {(task, number) for task, number, _, _ in different} == DIFFERENT, different


def test_a_sample_of_verdicts_is_that_of_evalplus(data_dir: Path):
    problems = [*HumanEvalPlusProblems().rows(data_dir), *MBPPPlusProblems().rows(data_dir)]
    count, different = compared(problems, 12)
    assert count >= 30
    assert [one for one in different if one[:2] not in DIFFERENT] == []
