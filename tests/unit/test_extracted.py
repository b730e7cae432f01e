"""Extracted: what an expression finds, by hand; and lm-evaluation-harness's settings for GSM8K and BIG-Bench Hard."""

from __future__ import annotations

import time

import pytest

from burnish.core.types import Check, Problem, user
from burnish.errors import VerifierError
from burnish.eval.tasks.lm_eval import ANSWER_IS, FLEXIBLE, STRICT, STRICT_COT
from burnish.testing.laws import check_verifier
from burnish.verify.extracted import Extracted


def score(rule: Extracted, target: str, text: str) -> float | None:
    return rule(Problem(user("Q"), Check("extracted", target)), text).score


def test_first_and_last_groups_and_whole_matches():
    text = "Answer: Rome\nNo: answer: Paris "
    assert score(Extracted(), "Paris", text) == 1.0
    assert score(Extracted(take="first"), "Rome", text) == 1.0
    assert score(Extracted(r"[A-Z]\w+"), "No", "Rome, Paris. No") == 1.0
    assert score(Extracted(r"(\d+) km|(\d+) m"), "30", "5 km and 30 m") == 1.0
    assert score(Extracted(r"(?:x(\d)?|y(\d)?)"), "1", "x1 y") == 0.0  # the last match, y, has no text in any group
    assert score(Extracted(r"is (.*)\."), "4", "It is .") == 0.0
    assert (
        Extracted()(Problem(user("Q"), Check("extracted", "Paris")), "Answer: Rome").why
        == "found 'Rome', wanted 'Paris'"
    )


def test_what_is_ignored_is_deleted_on_both_sides():
    rule = Extracted(r"#### (\S+)", ignore=(",", r"\$", r"\.$"), ignore_case=True)
    assert score(rule, "1,080", "#### $1080.") == 1.0
    assert score(rule, "x,Y", "#### Xy") == 1.0
    assert score(Extracted(r"#### (\S+)"), "1,080", "#### 1080") == 0.0
    assert score(rule, "$,", "#### $") is None  # nothing is left of the target


@pytest.mark.parametrize(
    ("rule", "target", "text", "wanted"),
    [
        (FLEXIBLE, "18", "She has 16 - 3 - 4 = 9 eggs. 9 * 2 = $18.", 1.0),
        (FLEXIBLE, "1,080", "#### 1080", 1.0),
        (FLEXIBLE, "18", "It is 18. Or 19", 0.0),
        (
            FLEXIBLE,
            "18",
            "It is 18 or more...",
            0.0,
        ),  # the last match is "...", its last point is ignored, ".." is left
        (FLEXIBLE, "5", "-5", 0.0),
        (STRICT, "18", "#### 18\n\nQuestion", 1.0),
        (STRICT, "18", "#### 18 #### 19", 1.0),
        (STRICT, "18", "The answer is 18", 0.0),
        (STRICT_COT, "18", "So 9 * 2. The answer is 18.", 1.0),
        (STRICT_COT, "18", "The answer is 18", 0.0),  # one more character is wanted: it takes "1" for the answer
        (STRICT_COT, "18", "The answer is $18.", 0.0),
        (ANSWER_IS, "(B)", "So the answer is (B).", 1.0),
        (ANSWER_IS, "(B)", "So the answer is (B)", 0.0),  # the last character is dropped, whatever it is
        (ANSWER_IS, "True", "the answer is False. the answer is True.", 0.0),  # the rest of the line is the answer
        (ANSWER_IS, "True", "the answer is True.\nthe answer is False.", 1.0),
    ],
)
def test_the_settings_of_lm_eval(rule: Extracted, target: str, text: str, wanted: float):
    assert score(rule, target, text) == wanted


def test_a_pattern_that_is_none_is_refused_when_the_rule_is_made():
    with pytest.raises(VerifierError, match="is no regular expression"):
        Extracted("(")
    with pytest.raises(VerifierError, match="is no regular expression"):
        Extracted(ignore=("[",))
    with pytest.raises(VerifierError, match="no text left to compare with"):
        Extracted(ignore=(r"\d",)).check_target("12")


def test_a_pattern_without_end_leaves_a_reply_ungraded():
    start = time.monotonic()
    assert score(Extracted(r"((?:a|aa|aab?)+)+c"), "x", "a" * 60) is None
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("rule", [Extracted(), FLEXIBLE, STRICT, ANSWER_IS])
def test_it_keeps_the_laws(rule: Extracted):
    written = {FLEXIBLE: "so {}", STRICT: "so\n#### {}", ANSWER_IS: "So the answer is {}."}.get(rule, "Answer: {}")
    problems = [Problem(user("Q"), Check("extracted", target), written.format(target)) for target in ("18", "1080")]
    examples = {FLEXIBLE, STRICT, ANSWER_IS}
    shown = _Shown(rule, written) if rule in examples else rule
    check_verifier(shown, problems, many_candidates="anywhere", signed=rule is not FLEXIBLE, examples=25)


class _Shown:
    """The rule with examples in its own form: those of the class are for its default pattern."""

    VERSION = 1

    def __init__(self, rule: Extracted, written: str) -> None:
        self.rule, self.written = rule, written

    @property
    def ACCEPTS(self) -> tuple[tuple[str, str], ...]:
        return tuple((n, self.written.format(n)) for n in ("18", "1080", "7"))

    @property
    def REJECTS(self) -> tuple[tuple[str, str], ...]:
        return tuple((n, self.written.format(n + "1")) for n in ("18", "1080", "7"))

    def check_target(self, target: str) -> None:
        self.rule.check_target(target)

    def __call__(self, problem: Problem, text: str):
        return self.rule(problem, text)
