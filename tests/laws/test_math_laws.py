"""The mathematics and number verifiers keep the laws over every row of MATH and GSM8K, and reject mutated answers."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from burnish.core.types import Check, Problem, user
from burnish.data.sources.gsm8k import GSM8KProblems
from burnish.data.sources.math import MATHProblems
from burnish.testing.laws import check_verifier
from burnish.verify.gsm8k import GSM8K
from burnish.verify.math import DeepMindMath, Math

# Rows whose reference solution boxes several different answers: the corrected rules take them for a list.
SEVERAL_BOXED = 34

SMALL = [
    Problem(user("?"), Check("math", target), solution)
    for target, solution in (
        ("72", "48 + 24 = 72. The answer is $\\boxed{72}$."),
        ("\\frac{3}{4}", "So $\\boxed{\\frac{3}{4}}$."),
        ("-5", "Thus $x = \\boxed{-5}$."),
        ("(3,-1)", "We get $\\boxed{(3, -1)}$."),
        ("(-\\infty,-1)\\cup(4,\\infty)", "$$\\boxed{(-\\infty,-1)\\cup(4,\\infty)}.$$"),
    )
]
PHRASED = [
    Problem(p.prompt, p.check, f"Final Answer: The final answer is ${p.check.target}$. I hope it is correct.")
    for p in SMALL[:3]
]


def mutated(problem: Problem) -> Iterator[str]:
    """Wrong answers near the right one, boxed: another digit, one more, the other sign, brackets, parts and additions."""
    gold, draw = problem.check.target, random.Random(problem.check.target)
    places = [match.start() for match in re.finditer(r"\d", gold)]
    wrong = ["1234567891, " + gold, gold + " \\text{ or } 1234567891"]
    if places:
        at = draw.choice(places)
        wrong.append(f"{gold[:at]}{(int(gold[at]) + draw.randint(1, 8)) % 10}{gold[at + 1 :]}")
        wrong.append(f"{gold[: at + 1]}7{gold[at + 1 :]}")
    if re.fullmatch(r"[\d.]+", gold) and float(gold) != 0:
        wrong.append("-" + gold)
    if re.match(r"\\left\[|\[", gold) and "," in gold:
        wrong.append(gold.replace("[", "(", 1))
    yield from (f"So the answer is $\\boxed{{{answer}}}$." for answer in wrong)


def phrased(problem: Problem) -> Iterator[str]:
    for answer in ("1234567891", "1234567891, 7"):
        yield f"Final Answer: The final answer is ${answer}$. I hope it is correct."


@pytest.mark.parametrize("rule", ["fixed", "strict"])
def test_the_corrected_rules_keep_the_laws(rule: Any) -> None:
    check_verifier(Math(rule), SMALL, mutate=mutated)


@pytest.mark.parametrize("rule", [pytest.param("flex", marks=pytest.mark.slow), "hendrycks"])
def test_the_published_rules_keep_the_laws_of_rules_that_read_the_last_box(rule: Any) -> None:
    # "72 \\text{ or } 9" is 72 to them: Hendrycks' normal form cuts what follows "\\text{ " as a unit. And sympy's LaTeX
    # parser reads "3/4, 7/4" as 3/4, so "flex" finds the right answer at the head of a bare list.
    check_verifier(
        Math(rule),
        SMALL,
        mutate=lambda p: [w for w in mutated(p) if "\\text{ or" not in w],
        many_candidates="anywhere" if rule == "flex" else "only last",
    )


def test_the_strict_published_rule_keeps_the_laws_on_answers_it_can_compare() -> None:
    class Phrase(Math):
        ACCEPTS = (
            ("72", "Final Answer: The final answer is $72$. I hope it is correct."),
            ("\\frac{3}{4}", "Final Answer: The final answer is $0.75$. I hope it is correct."),
            ("x+1", "Final Answer: The final answer is $1+x$. I hope it is correct."),
        )

    for problem in PHRASED:
        assert Math("minerva")(problem, problem.solution).score == 1.0
    for target, reply in Phrase.ACCEPTS:
        assert Math("minerva")(Problem(user("?"), Check("math", target)), reply).score == 1.0


def test_deepmind_answers_keep_the_laws() -> None:
    rows = [
        Problem(user("?"), Check("deepmind", target), f"Work.\n\nTherefore, the final answer is {target}. I hope it is correct.")
        for target in ("-3/4", "2*x**2 - 3", "-1, 5", "True", "d", "0.25", "7:23 PM", "hundredths", "-74")
    ]  # fmt: skip
    wrong = ["-4/3", "2*x**2 + 3", "-1", "False", "c", "0.52", "7:23 AM", "tenths", "74", "-74, 74"]
    check_verifier(
        DeepMindMath(), rows,
        mutate=lambda p: [f"Therefore, the final answer is {w}. I hope it is correct." for w in wrong if w != p.check.target],
    )  # fmt: skip


def accepted(verifier: Any, rows: list[Problem]) -> list[Problem]:
    """The rows whose solution is not accepted."""
    return [row for row in rows if verifier(row, row.solution).score != 1.0]


def rejected(verifier: Any, rows: list[Problem]) -> list[tuple[str, str]]:
    """The mutated answers that are accepted."""
    return [(row.check.target, reply) for row in rows for reply in mutated(row) if verifier(row, reply).score == 1.0]


@pytest.mark.parametrize("rule", ["fixed", "flex", "hendrycks"])
def test_math_on_a_sample_of_real_rows(data_dir: Path, rule: Any) -> None:
    rows = random.Random(3).sample(list(MATHProblems("train").rows(data_dir)), 300)
    assert len(accepted(Math(rule), rows)) <= 3
    if rule == "fixed":
        assert rejected(Math(rule), rows) == []


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["fixed", "strict", "flex", "hendrycks"])
def test_math_on_every_real_row(data_dir: Path, rule: Any) -> None:
    rows = [row for split in ("train", "test") for row in MATHProblems(split).rows(data_dir)]
    assert len(rows) == 12_500
    for row in rows:
        Math("hendrycks").check_target(row.check.target)
    bad = accepted(Math(rule), rows)
    if rule in ("flex", "hendrycks"):
        assert bad == []
        return
    whys = [Math(rule)(row, row.solution).why for row in bad]
    assert all("different answers" in why for why in whys)
    assert len(whys) == SEVERAL_BOXED
    assert rejected(Math(rule), rows[::5]) == []


@pytest.mark.slow
def test_numbers_on_every_real_row(data_dir: Path) -> None:
    rows = [row for split in ("train", "test") for row in GSM8KProblems(split).rows(data_dir)]
    assert len(rows) == 8_792
    for rule in ("flexible", "strict"):
        check_verifier(GSM8K(rule), rows)
    check_verifier(GSM8K("tulu3"), rows, many_candidates="only last", signed=False)
