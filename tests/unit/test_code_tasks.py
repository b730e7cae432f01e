"""HumanEval, MBPP and their plus forms as tasks: prompts, targets, gold replies, pass@k."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from burnish.data.sources.code_problems import HumanEvalPlusProblems, HumanEvalProblems, MBPPPlusProblems
from burnish.data.sources.mbpp import MBPPProblems
from burnish.eval.grade import grade
from burnish.eval.tasks.catalogue import find
from burnish.eval.tasks.humaneval import PREFILL
from burnish.verify.code.wire import decode


def test_the_published_prompt(data_dir: Path):
    task = find("humaneval")
    first = task.problems(data_dir)[0]
    plain = next(iter(HumanEvalProblems().rows(data_dir)))
    assert [m.role for m in first.prompt] == ["user"]
    assert first.prompt[0].content == plain.prompt[0].content + "Here is the completed function:\n\n```python\n"
    assert task.prefill == PREFILL
    assert (task.sampling.temperature, task.sampling.top_p, task.sampling.max_tokens) == (0.8, 0.95, 512)
    assert len(task.sampling.stop) == 7
    assert first.lineage == (plain.id,)


def test_counts(data_dir: Path):
    assert {name: len(find(name).problems(data_dir)) for name in ("humaneval", "humanevalplus", "mbpp", "mbppplus")} == {
        "humaneval": 164, "humanevalplus": 164, "mbpp": 500, "mbppplus": 378,
    }  # fmt: skip


def test_helpers_of_a_prompt_are_the_tests_own(data_dir: Path):
    """HumanEval/32's tests call poly, which its prompt defines: a program that redefines it gains nothing."""
    problem = next(p for p in HumanEvalProblems().rows(data_dir) if p.annotations["key"] == "HumanEval/32")
    assert "def poly(" in json.loads(problem.check.target)["setup"]
    cheat = f"```python\n{problem.prompt[-1].content}\n    return 0.0\n\ndef poly(xs, x):\n    return 0.0\n```"
    verifier = find("humaneval_flexible").verifier
    assert verifier(problem, problem.solution).score == 1.0
    assert verifier(problem, cheat).score == 0.0


def test_arguments_of_mbpp_plus_have_their_types(data_dir: Path):
    """JSON has lists only; task 2 wants tuples, 124 a float and a complex number, 580 tuples at every depth."""
    problems = {p.annotations["key"]: json.loads(p.check.target) for p in MBPPPlusProblems().rows(data_dir)}

    def first(key: str) -> list[object]:
        return decode(problems[key]["inputs"][0])  # type: ignore[no-any-return]

    assert first("Mbpp/2") == [(3, 4, 5, 6), (5, 7, 4, 10)]
    assert first("Mbpp/124") == [0.0, 1j]
    assert first("Mbpp/580") == [(4, 5, (7, 6, (2, 4)), 6, 8)]
    assert problems["Mbpp/581"]["oracle"] == "pyramid"
    assert len(problems["Mbpp/793"]["inputs"]) == 3


def test_names_and_imports_of_mbpp(data_dir: Path):
    """Task 126's function is called sum; the tests of 596 use a module that only the reference imports."""
    problems = {p.annotations["key"]: json.loads(p.check.target) for p in MBPPProblems("test").rows(data_dir)}
    assert problems[126]["names"] == ["sum"]
    found = {p.annotations["key"]: json.loads(p.check.target) for p in MBPPProblems("validation").rows(data_dir)}
    assert found[596]["setup"] == "import sys"


@pytest.mark.parametrize("name", ["humaneval", "humaneval_flexible", "mbpp", "mbppplus"])
def test_grade_counts_right_replies_and_pass_at_k(name: str, data_dir: Path, tmp_path: Path):
    """Of two replies to each of three problems, one is right, both or none: pass@1 = (1/2 + 1 + 0) / 3, pass@2 = 2/3."""
    problems = find(name).problems(data_dir)[5:8]
    right = [p.solution for p in problems]
    replies = [(0, right[0]), (0, "    return None"), (1, right[1]), (1, right[1]), (2, "I do not know."), (2, "")]
    file = tmp_path / "replies.jsonl"
    file.write_text("".join(json.dumps({"id": problems[i].id, "response": text}) + "\n" for i, text in replies))
    result = grade(find(name), file, data_dir)
    assert result["n"] == 3
    assert result["score"] == pytest.approx(0.5)
    assert [(one["k"], one["score"]) for one in result["pass_at_k"]] == [
        (1, pytest.approx(0.5)),
        (2, pytest.approx(2 / 3)),
    ]


def test_plus_targets_hold_both_kinds_of_inputs(data_dir: Path):
    target = json.loads(next(iter(HumanEvalPlusProblems().rows(data_dir))).check.target)
    assert len(target["inputs"]) > 500
    assert target["entry"] == "has_close_elements"
    assert "prompt" in target
