"""The verifier for multiple choice keeps the laws, on examples and on every published question."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from burnish.core.types import Check, Problem, user
from burnish.data.sources.agieval import AGIEvalQuestions
from burnish.data.sources.mmlu_pro import MMLUProValidation
from burnish.data.sources.multiple_choice import MMLUQuestions, TruthfulQAChoices
from burnish.errors import VerifierError
from burnish.testing.laws import check_verifier
from burnish.testing.verifier_replies import HOSTILE
from burnish.verify.choice import Choice
from burnish.verify.choice.ladders import LADDERS

PARIS = Problem(
    user("The capital of France?"),
    Check("choice", '{"letter": "B", "choices": ["London", "Paris", "Rome", "Madrid", "Bonn"]}'),
    "London is British. Therefore, the answer is (B)",
)
# Where each rule reads, and which tests it is for.
SOURCES = (
    (MMLUQuestions(), ("stated", "mmlu_cot", "mmlu_0shot_cot")),
    (MMLUProValidation(), ("stated", "mmlu_pro", "mmlu_pro_official", "lm_eval_mmlu_pro")),
    (AGIEvalQuestions("sample"), ("stated", "agieval")),
    (TruthfulQAChoices(), ("stated",)),
)


def candidates(problem: Problem) -> Sequence[str]:
    """The right letter, then four others."""
    target = json.loads(problem.check.target)
    return [target["letter"], *(x for x in "ABCDEFGHIJ"[: len(target["choices"])] if x != target["letter"])][:5]


def other_letters(problem: Problem) -> list[str]:
    """Every other letter: alone, as the solution's conclusion, and as the text of its choice."""
    target = json.loads(problem.check.target)
    right, choices = target["letter"], target["choices"]
    wrong = [letter for letter in "ABCDEFGHIJKLM"[: len(choices)] if letter != right]
    head = problem.solution.rpartition("Therefore")[0]
    said = [f"The answer is ({letter})." for letter in wrong]
    concluded = [f"{head}Therefore, the answer is ({letter})" for letter in wrong] if "answer is" not in head else []
    return [*wrong, *concluded, *said, "Therefore, the answer is "]


def test_the_corrected_rule_keeps_the_laws() -> None:
    check_verifier(Choice(), [PARIS], candidates=candidates, mutate=other_letters, examples=300)
    check_verifier(Choice(letters=4), [Problem(user("?"), Check("choice", x), f"Answer: {x}") for x in "ABCD"])


@pytest.mark.parametrize("rule", [rule for rule in LADDERS if rule != "agieval"])
def test_the_published_ladders_keep_the_laws_but_pass_lists(rule: Any) -> None:
    check_verifier(Choice(rule), [PARIS], mutate=other_letters, many_candidates="anywhere")
    with pytest.raises(VerifierError, match="many candidates"):
        check_verifier(Choice(rule), [PARIS], candidates=candidates, mutate=other_letters)


def test_agievals_ladder_takes_any_capital_for_an_answer() -> None:
    """It falls back to the last capital from A to E: "As a language model I cannot answer." is an A."""
    with pytest.raises(VerifierError, match=r"(?s)mutations.*last capital letter|no answer.*As a language model"):
        check_verifier(Choice("agieval"), [PARIS], mutate=other_letters, many_candidates="anywhere")


@pytest.mark.parametrize("rule", ["stated", *LADDERS])
def test_hostile_replies_take_milliseconds(rule: Any) -> None:
    verifier = Choice(rule)
    long = [
        reply * (50_000 // max(1, len(reply)) + 1)
        for reply in ("the answer is ", "Answer: ", "(A ", "A, ", "\\boxed{", "A is ")
    ]
    for reply in (*HOSTILE, *long):
        start = time.process_time()
        verifier(PARIS, reply)
        assert time.process_time() - start < 10, reply[:40]


@pytest.mark.parametrize(("source", "rules"), SOURCES, ids=lambda value: getattr(value, "name", ""))
def test_gold_letters_of_a_sample_are_accepted_and_others_are_not(source: Any, rules: Any, data_dir: Path) -> None:
    rows = list(source.rows(data_dir))
    sample = rows[:: max(1, len(rows) // 400)]
    for rule in rules:
        verifier = Choice(rule)
        assert all(verifier(row, row.solution).score == 1.0 for row in sample)
        assert not any(verifier(row, reply).score == 1.0 for row in sample for reply in other_letters(row))
    few = sample[:: max(1, len(sample) // 5)]
    check_verifier(Choice(), few, candidates=candidates, mutate=other_letters, examples=20)


@pytest.mark.slow
@pytest.mark.parametrize(("source", "rules"), SOURCES, ids=lambda value: getattr(value, "name", ""))
def test_gold_letters_of_every_row_are_accepted_and_others_are_not(source: Any, rules: Any, data_dir: Path) -> None:
    for rule in rules:
        verifier = Choice(rule)
        for row in source.rows(data_dir):
            verifier.check_target(row.check.target)
            assert verifier(row, row.solution).score == 1.0, (rule, row)
            wrong = [reply for reply in other_letters(row) if verifier(row, reply).score == 1.0]
            assert not wrong, (rule, row, wrong)
