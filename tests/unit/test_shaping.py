"""Wrappers around verifiers, by hand: what each takes off, what it multiplies, and when the whole stays ungraded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from burnish.core.types import Check, Problem, Verdict, user
from burnish.errors import RecipeError, VerifierError
from burnish.verify.base import Verifier
from burnish.verify.gsm8k import GSM8K
from burnish.verify.shaping import Every, Form, Length, SoftOverlong, Thinking, Weighted


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same score; a score of -1 raises, None is ungraded."""

    score: float | None
    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (("7", "a"),)
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        if self.score == -1:
            raise KeyError("on purpose")
        return Verdict(self.score, f"fixed for {problem.check.target}")


def ask(verifier: Verifier, text: str, target: str = "7") -> Verdict:
    return verifier(Problem(user("How many?"), Check("shaping", target)), text)


BARE = Form(answer="")
INSIDE = Form(opened=True)


@pytest.mark.parametrize(
    ("form", "text", "answer", "why"),
    [
        (Form(), "<think>a</think><answer> 7 </answer>", "7", "kept"),
        (Form(), "\n<think></think>\n\n<answer>7\n8</answer>\n", "7\n8", "kept"),
        (Form(), "<answer>7</answer><think>a</think>", None, "another order"),
        (Form(), "<think>a</think>So <answer>7</answer>", None, "outside the tags: 'So'"),
        (Form(), "So <think>a</think><answer>7</answer>", None, "outside the tags: 'So'"),
        (Form(), "<think>a<think>b</think><answer>7</answer>", None, "<think> stands 2 times"),
        (Form(), "<think>a</think><answer>7", None, "</answer> stands 0 times"),
        (Form(), "<think>a</think><answer> </answer>", None, "answer is empty"),
        (Form(), "<Think>a</Think><answer>7</answer>", None, "<think> stands 0 times"),
        (BARE, "<think>a</think>\n7 it is", "7 it is", "kept"),
        (BARE, "<think>a</think>", None, "answer is empty"),
        (INSIDE, "so</think><answer>7</answer>", "7", "kept"),
        (INSIDE, "<think>so</think><answer>7</answer>", None, "<think> stands 1 times, wanted 0"),
        (Form("plan", "reply"), "<plan>a</plan><reply>7</reply>", "7", "kept"),
    ],
)
def test_the_form_is_kept_exactly(form: Form, text: str, answer: str | None, why: str) -> None:
    parts = form.read(text)
    assert parts.answer == answer
    assert why in parts.why
    assert ask(form, text).score == float(answer is not None)


@pytest.mark.parametrize("form", [Form(), BARE, INSIDE, Form("plan", "reply")])
def test_what_a_form_writes_it_reads(form: Form) -> None:
    assert form.read(form.write("7", "3 + 4")).answer == "7"
    assert form.strip(form.write("7", "3 + 4")) == "7"


@pytest.mark.parametrize(
    ("form", "text", "left"),
    [
        (Form(), "7", "7"),
        (Form(), "<think>8</think>7", "7"),
        (Form(), "So <think>8</think>it is 7 <think>9", "So it is 7"),
        (Form(), "<think>8 <answer>8</answer>", ""),
        (Form(), "8</think>7", "7"),
        (Form(), "x <answer>7</answer> y <answer>8</answer>", "7\n8"),
        (Form(), "x <answer>7", "7"),
        (INSIDE, "8</think>7", "7"),
        (INSIDE, "8 and no end", ""),
        (BARE, "<think>8</think><answer>7</answer>", "<answer>7</answer>"),
    ],
)
def test_reasoning_is_taken_off(form: Form, text: str, left: str) -> None:
    assert form.strip(text) == left


def test_an_answer_inside_the_reasoning_does_not_count() -> None:
    strict, lenient = Thinking(GSM8K()), Thinking(GSM8K(), required=False)
    inside = "<think>The answer is 7.</think><answer>I do not know.</answer>"
    assert (ask(strict, inside).score, ask(lenient, inside).score) == (0.0, 0.0)
    unfinished = "<think>The answer is 7."
    assert (ask(strict, unfinished).score, ask(lenient, unfinished).score) == (0.0, 0.0)
    assert (ask(strict, "The answer is 7.").score, ask(lenient, "The answer is 7.").score) == (0.0, 1.0)
    both = "<think>7 or 8?</think><answer>7</answer><answer>8</answer>"
    assert ask(lenient, both).score == 0.0
    assert ask(strict, "7", target="?").score is None  # a target that cannot be read is no zero


def test_soft_overlong_is_the_papers() -> None:
    """DAPO eq. 13 with L_max = 20480, L_cache = 4096: nothing to 16384, -1/4 at 17408, -1 at 20480 and beyond."""
    penalty = SoftOverlong().penalty
    assert [penalty(n) for n in (0, 16_384, 17_408, 18_432, 20_480, 20_481)] == [0.0, 0.0, -0.25, -0.5, -1.0, -1.0]
    hard = SoftOverlong(10, 0).penalty
    assert (hard(10), hard(11)) == (0.0, -1.0)


def test_length_multiplies_the_grade() -> None:
    """Of at most 10 words the last 4 are soft: 6 words count whole, 8 half, 10 nothing; at least 2."""
    rule = Length(Fixed(1.0), most=10, least=2, soft=4)
    assert [ask(rule, "w " * n).score for n in (1, 2, 6, 7, 8, 10, 11)] == [0.0, 1.0, 1.0, 0.75, 0.5, 0.0, 0.0]
    assert ask(Length(Fixed(0.5), most=10, soft=4), "w " * 8).score == 0.25
    assert "8 words, wanted at most 6, so the grade counts 0.50 times" in ask(rule, "w " * 8).why
    assert "1 words, wanted at least 2" in ask(rule, "w").why
    letters = Length(Fixed(1.0), most=3, unit="characters")
    assert [ask(letters, "a" * n).score for n in (3, 4)] == [1.0, 0.0]
    assert ask(Length(Fixed(None), most=1), "w w").score is None


def test_weighted_by_hand() -> None:
    """0.9 * 1 + 0.1 * 0 = 0.9; weights need not add up to 1: (3 * 0.5 + 1 * 1) / 4 = 0.625."""
    assert ask(Weighted(((Fixed(1.0), 0.9), (Fixed(0.0), 0.1))), "").score == pytest.approx(0.9)
    assert ask(Weighted(((Fixed(0.5), 3), (Fixed(1.0), 1))), "").score == pytest.approx(0.625)
    assert ask(Weighted(((Fixed(1.0), 0.1), (Fixed(1.0), 0.2), (Fixed(1.0), 0.3))), "").score == 1.0
    said = ask(Weighted(((Fixed(1.0), 1), (Fixed(0.0), 1))), "").why
    assert said == "Fixed 0: fixed for 7; Fixed 1: fixed for 7"


@pytest.mark.parametrize("part", [Fixed(None), Fixed(-1)])
def test_an_ungraded_part_leaves_the_whole_ungraded(part: Fixed) -> None:
    verdict = ask(Weighted(((Fixed(1.0), 1), (part, 1))), "")
    assert verdict.score is None
    assert verdict.why.startswith("Fixed: ")
    assert ask(Every((Fixed(1.0), part)), "").score is None
    assert ask(Every((Fixed(0.0), part)), "").score == 0.0


def test_every_is_the_lowest() -> None:
    assert ask(Every((Fixed(1.0), Fixed(0.25), Fixed(0.5))), "").score == 0.25
    assert ask(Every((Fixed(1.0), Fixed(1.0))), "").score == 1.0


def test_a_target_each() -> None:
    rule = Every((GSM8K("strict"), GSM8K("flexible")), targets="each")
    rule.check_target(json.dumps(["7", "7"]))
    assert ask(rule, "#### 7", json.dumps(["7", "7"])).score == 1.0
    assert ask(rule, "#### 7", json.dumps(["7", "8"])).score == 0.0
    for bad in ("7", json.dumps(["7"]), json.dumps([7, 8]), "[" * 100_000):
        assert ask(rule, "#### 7", bad).score is None
        with pytest.raises(VerifierError, match="JSON list of 2 strings"):
            rule.check_target(bad)
    with pytest.raises(VerifierError, match="not one number"):
        rule.check_target(json.dumps(["7", "x"]))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Form("a", "a"), "two different names"),
        (lambda: Form("a b"), "letters and digits"),
        (lambda: SoftOverlong(5, 6), "0 <= soft <= most"),
        (lambda: Length(Fixed(1.0), most=5, least=4, soft=3), "no reply would get the full grade"),
        (lambda: Weighted(()), "at least one part"),
        (lambda: Weighted(((Fixed(1.0), 0.0),)), "every weight above 0"),
        (lambda: Every(()), "without parts"),
    ],
)
def test_settings_that_cannot_work_are_refused(make: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        make()
