"""The verifier's laws on every IFBench constraint, strict and loose, by both rules."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from burnish.core.types import Check, Problem, user
from burnish.data.sources.ifbench import IFBenchPrompts
from burnish.errors import MissingData
from burnish.testing.verifier_laws import check_verifier
from burnish.verify.ifbench import speech
from burnish.verify.ifeval import IFEval
from tests.ifbench_cases import CASES, DIFFERENCES


def gradable(name: str, rule: str) -> bool:
    """Whether this machine has the tables that the constraint needs."""
    if name == "words:odd_even_syllables":
        return importlib.util.find_spec("syllapy") is not None
    if name != "words:start_verb":
        return True
    if rule == "fixed":
        return importlib.util.find_spec("lemminflect") is not None
    try:
        speech.tables()
    except MissingData:
        return False
    return True


@pytest.mark.parametrize(
    ("mode", "rule"),
    [
        ("strict", "fixed"),
        pytest.param("loose", "published", marks=pytest.mark.slow),
        pytest.param("strict", "published", marks=pytest.mark.slow),
        pytest.param("loose", "fixed", marks=pytest.mark.slow),
    ],
)
def test_the_instruction_verifier_keeps_the_laws_on_every_ifbench_constraint(mode: Any, rule: Any) -> None:
    follows: dict[str, str] = {}
    breaks: dict[str, list[str]] = {}
    for name, kwargs, good, bad in CASES:
        if gradable(name, rule):
            target = json.dumps([{"id": name, "kwargs": kwargs}])
            unlisted = name == "custom:european_capitals_sort" and rule == "published"
            follows[target] = good.replace("Kyiv, ", "") if unlisted else good
            # Without its only line, or its asterisks, a reply may follow what it did not: the loose form asks less.
            breaks[target] = [bad, " \n"] if mode == "strict" else [" \n"]
    problems = [Problem(user("A question."), Check("ifeval", target)) for target in follows]
    for start in range(0, len(problems), 20):  # the laws try arbitrary text on so many problems at a time
        check_verifier(
            IFEval(mode, rule=rule),
            problems[start : start + 20],
            gold=lambda problem: [follows[problem.check.target]],
            mutate=lambda problem: breaks[problem.check.target],
            replies=[reply for _, _, reply, _, _ in DIFFERENCES][start : start + 20],
            examples=40,
        )


def followed(problem: Problem) -> list[str]:
    """A reply that follows a row of the sample: its keywords as often as asked, or as many conjunctions."""
    (entry,) = json.loads(problem.check.target)
    if entry["id"] == "count:keywords_multiple":
        words = [entry["kwargs"][f"keyword{i}"] for i in range(1, 6)]
        return [
            " ".join(f"{word}," * times for word, times in zip(words, (1, 2, 3, 5, 7), strict=True)).replace(",", ", ")
        ]
    assert entry["id"] == "count:conjunctions"
    return [" it is ".join(["And", "but", "for", "nor", "or", "so", "yet"][: int(entry["kwargs"]["small_n"])])]


def broken(problem: Problem) -> list[str]:
    """Mutations of it: a word too few, a keyword too many, nothing, the prompt itself, which names each keyword once."""
    (reply,) = followed(problem)
    words = json.loads(problem.check.target)[0]["kwargs"].values()
    more = [f"{reply} {word}" for word in words if isinstance(word, str)]
    return [" ".join(reply.split()[:-1]), reply.split()[0], *more, " ", problem.prompt[0].content[:40]]


@pytest.mark.parametrize("rule", ["fixed", "published"])
@pytest.mark.parametrize("mode", ["strict", "loose"])
def test_every_row_of_the_sample_has_a_reply_that_follows_and_mutations_that_do_not(
    mode: Any, rule: Any, data_dir: Path
) -> None:
    problems = list(IFBenchPrompts("sample").rows(data_dir))
    assert len(problems) == 10
    check_verifier(IFEval(mode, rule=rule), problems, gold=followed, mutate=broken, examples=20)
