r"""Mathematics: where a reply states its answer, which answers are equal, and the published rules with their quirks."""

from __future__ import annotations

import builtins
import importlib.util
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.core.types import Check, Problem, user
from burnish.errors import MissingExtra, VerifierError
from burnish.verify.math import DeepMindMath, Math, extract
from burnish.verify.math.answers import compare
from burnish.verify.math.normal_forms import hendrycks, hendrycks_equal, minerva
from burnish.verify.math.symbolic import proved_equal, sympy_equal


def problem(target: str) -> Problem:
    return Problem(user("?"), Check("math", target))


def score(target: str, reply: str, rule: Any = "fixed") -> float | None:
    return Math(rule)(problem(target), reply).score


# ------------------------------------------------------------------------------------------------------ extraction


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\boxed{5}", ["5"]), (r"\boxed{\frac{1}{2}} or \boxed{ 3 }", [r"\frac{1}{2}", " 3 "]), (r"\fbox{7}", ["7"]),
        (r"\boxed {5}", ["5"]), (r"\boxed{\{1,2\}}", [r"\{1,2\}"]), (r"\boxed{\text{a } b}", [r"\text{a } b"]), (r"\boxed{5", []),
        (r"\boxed{1} \boxed{2", ["1"]), (r"\boxed{\boxed{5}}", [r"\boxed{5}"]), ("no box", []), (r"$\boxed 5$.", ["5"]), (r"\boxed that", []),
    ],
)  # fmt: skip
def test_boxes(text: str, found: list[str]) -> None:
    assert list(extract.boxes(text)) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\boxed{5} and \boxed{6}", "6"), (r"$\boxed 5$ then", "5"), (r"\fbox{7}", "7"), (r"\boxed{5", None), ("5", None),
        (r"\fbox{7} \boxed{8}", "8"), (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    ],
)  # fmt: skip
def test_the_last_box_as_published(text: str, found: str | None) -> None:
    assert extract.last_box(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Final Answer: The final answer is $5$. I hope it is correct.", "$5$"),
        ("Final Answer: The final answer is $5$. ", "$5$"),
        ("Final Answer: The final answer is $5$.", None),  # the words are added without a space: as published
        ("Final Answer: The final answer is 1. I hope it is correct. Final Answer: The final answer is 2. I hope it is correct.", "1"),
        ("The final answer is 5. I hope it is correct.", None),
    ],
)  # fmt: skip
def test_the_minerva_phrase(text: str, found: str | None) -> None:
    assert extract.minerva_phrase(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The answer is $4$.", ["4"]), ("The answer is $4$ or $5$.", ["4, 5"]), ("Final Answer: The largest $n$ is 34.", [" 34"[1:]]),
        ("#### 5\n#### 6", ["5", "6"]), ("Answer: $x=5$", ["x=5"]), ("the answer is 4. No, the answer is 5.", ["5"]),
        ("The answer is 4.\nThe answer is 5.", ["4", "5"]), ("the answer is 4 here. The final answer is 5.", ["5"]), ("none", []),
        ("The answer is:\n\n$$5$$", ["5"]), ("The answers are $2$ and $-2$.", ["2, -2"]), ("The answer is 3.5.", ["3.5"]),
    ],
)  # fmt: skip
def test_stated_answers(text: str, found: list[str]) -> None:
    assert extract.stated(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("so $x = 5$ and hence $y = 6$.", "x = 5, y = 6"), ("$1$, $2$ or $3$", "1, 2, 3"), (r"thus \(7\).", "7"), (r"thus \[7\]", "7"),
        ("$$8$$", "8"), ("$1$ is a number, so the sum is $9$", "9"), ("5", None), ("it costs $5", None),
    ],
)  # fmt: skip
def test_the_last_formula(text: str, found: str | None) -> None:
    expected = "y = 6" if "hence" in text else found
    assert extract.last_formula(text) in (found, expected)


# -------------------------------------------------------------------------------------------------------- equality

EQUAL = [
    (r"\frac{1}{2}", "0.5"), (r"\frac{1}{2}", r"\dfrac12"), (r"\frac{1}{2}", "1/2"), ("10,000", "10000"), ("10000", "10{,}000"),
    (r"1\frac{1}{2}", r"\frac{3}{2}"), (r"50\%", "50"), (r"50\%", "0.5"), (r"3 \times 10^4", "30000"), ("(1,2)", r"\left( 1, 2\right)"),
    ("[-2,7]", r"x \in [-2,7]"), (r"(-\infty,-1)\cup(4,\infty)", r"(4,\infty) \cup (-\infty, -1)"), ("1,-2", "-2, 1"),
    ("1,-2", r"x = 1 \text{ or } x = -2"), (r"\{1,2\}", r"\{2,1\}"), ("5", "x=5"), ("x=5", "5"), (r"5\text{ cm}", "5"),
    ("5", r"5 \text{ cm}^2"), ("40", r"\$40"), (r"90^\circ", "90"), (r"\text{Evelyn}", "Evelyn"), (r"\text{(A)}", "A"), ("81, 256", "81,256"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{bmatrix} 1 \\ 2 \end{bmatrix}"), ("101_2", "101"), ("144\\pi", "144π"),
    (r"1 \pm \sqrt{2}", r"1+\sqrt{2}, 1-\sqrt{2}"), (r"-\frac{1}{3}", "-1/3"), ("18", "**18**."), ("2,3,4", "2, 3, and 4"),
    (r"0.\overline{3}", r"\frac13"), (r"\emptyset", r"\varnothing"), ("AB=5", "5"), ("1000", "1 000"), (r"\text{A, C}", "C, A"),
    (r"\frac{2469}{20{,}000}", r"\frac{2469}{20,000}"), ("12:30", r"12:30\text{ p.m.}"), ("28800 \\text{ feet}", "28800 ft"),
]  # fmt: skip
UNEQUAL = [
    ("1,2", "1"), ("1", "1,2"), ("(1,2)", "(2,1)"), ("(1,2)", "[1,2]"), ("(1,2)", r"\{1,2\}"), ("5", "2x+3=5"),
    (r"5\text{ cm}", r"5\text{ m}"), (r"\frac13", "0.333"), ("50", "0.5"), ("-5", "5"), (r"\text{even}", "odd"), ("A", "B"),
    ("101_2", "101_3"), ("123", "1 2 3"), ("12", "1,2"), (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}"),
    (r"1 \pm \sqrt{2}", r"1+\sqrt{2}"), ("2", "two or three"), ("5", "5 or 6"), ("e", "E"), ("7", "72"), ("10", "1 0"),
    (r"8\text{ a.m.}", r"8\text{ p.m.}"), (r"\begin{pmatrix} 1 & 2 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 & 3 \end{pmatrix}"),
]  # fmt: skip
PROVED = [
    (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"), (r"2\sqrt{3}", r"\sqrt{12}"), ("x^2+2x+1", "(x+1)^2"), ("y=2x+1", "2x - y + 1 = 0"),
    (r"x \le 5", r"(-\infty, 5]"), ("(1,2)", "1 < x < 2"), ("2^{10}", "1024"), ("3+4i", "4i+3"), (r"\binom{5}{2}", "10"), ("5!", "120"),
    (r"\sqrt[3]{2}", "2^{1/3}"), (r"\left(3, \frac{\pi}{2}\right)", r"(3,\pi/2)"), (r"\log_2 3", r"\frac{\ln 3}{\ln 2}"),
    (r"\frac{3\sqrt{2}}{2}, 1", r"1, \frac{3}{\sqrt 2}"), ("11\\sqrt2", "√2 + 10√2"), ("x \\geq 5", "x >= 5"),
]  # fmt: skip
DISPROVED = [
    (r"\sqrt2", "1.414"), (r"\sqrt2", "1.41421356"), ("x^2+2x+1", "x^2+2x"), ("x=5", "y=5"), (r"x \le 5", "x < 5"), (r"3\pi", "3"),
    (r"\pi", "3.14"), (r"\infty", r"-\infty"), ("x+y", "xy"), ("5", "5x"), ("1", "x"), (r"\sqrt{2}, 1", r"\sqrt{3}, 1"),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "answer"), EQUAL)
def test_equal_without_any_library(gold: str, answer: str) -> None:
    assert compare(gold, answer) is True


@pytest.mark.parametrize(("gold", "answer"), UNEQUAL)
def test_unequal_without_any_library(gold: str, answer: str) -> None:
    assert compare(gold, answer) is False


@pytest.mark.parametrize(("gold", "answer"), PROVED)
def test_equal_by_math_verify(gold: str, answer: str) -> None:
    assert compare(gold, answer) is not False
    assert proved_equal(gold, answer)


@pytest.mark.parametrize(("gold", "answer"), DISPROVED)
def test_unequal_by_math_verify(gold: str, answer: str) -> None:
    assert compare(gold, answer) is not True
    assert not proved_equal(gold, answer)


@given(st.fractions(min_value=-10_000, max_value=10_000, max_denominator=400))
def test_any_fraction_equals_its_other_spellings_and_not_its_neighbours(value: Any) -> None:
    over, under = value.numerator, value.denominator
    gold = str(over) if under == 1 else rf"\frac{{{over}}}{{{under}}}"
    for spelled in (f"{over}/{under}", rf"\dfrac{{{3 * over}}}{{{3 * under}}}", rf"x = \frac{{{over}}}{{{under}}}"):
        assert compare(gold, spelled) is True
    assert compare(gold, f"{over + 1}/{under}") is False


@settings(max_examples=300)
@given(st.text("0123456789,.()[]{}\\frac sqrt=+-^_$&<x∪±\n", max_size=60), st.text("012,()[]{}\\=x", max_size=30))
def test_comparison_is_total_and_reflexive(one: str, other: str) -> None:
    assert compare(one, other) in (True, False, None)
    assert compare(one, one) is not False


# ---------------------------------------------------------------------------------------------------- normal forms


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("x = 5", "5"), ("10,000", "10000"), (r"\frac12", r"\frac{1}{2}"), (r"5 \text{ cm}", "5"), ("a square", ""), (r"\$5", "5"),
        (r"\sqrt2", r"\sqrt{2}"), (r"2\text{ and }3", "23"), (r"[1,\infty)", r"[1,\iny)"), ("$5$", "5"), (r"\text{Friday}", "Friday"),
        (r"\sqrt[3]{2}", r"\sqrt{[}3]{2}"), ("3,4", "34"), (r"90^\circ", "90"), ("x" * 2000, ""), ("words = " * 500 + "5", "5"),
    ],
)  # fmt: skip
def test_the_minerva_normal_form(text: str, form: str) -> None:
    assert minerva(text) == form


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("x = 5", "5"), ("xyz=5", "xyz=5"), (".5", r"\frac{1}{2}"), ("1/2", r"\frac{1}{2}"), (r"\frac12", r"\frac{1}{2}"), (r"\sqrt2", r"\sqrt{2}"),
        (r"5 \text{ cm}", "5"), (r"\left(1,2\right)", "(1,2)"), (r"50\%", "50"), (r"\$5", "5"), ("1 + .5", "1+0.5"), (r"\frac1{x}", r"\frac{1}{x}"),
    ],
)  # fmt: skip
def test_the_hendrycks_normal_form(text: str, form: str) -> None:
    assert hendrycks(text) == form


@pytest.mark.parametrize("text", [r"\sqrt", r"\frac", r"\sqrt3/2", r"1\text{ a}2\text{ b}"])
def test_what_the_published_code_cannot_take_is_compared_as_text(text: str) -> None:
    with pytest.raises(ValueError):
        hendrycks(text)
    assert hendrycks_equal(text, text)
    assert not hendrycks_equal(text, text + " ")


# ------------------------------------------------------------------------------------------------------- the rules


@pytest.mark.parametrize(
    ("target", "reply"),
    [
        ("5", r"First \boxed{5}. Indeed \boxed{5.0}."), ("2, -2", r"$\boxed{2}$ and $\boxed{-2}$"), ("2-b", r"\boxed{-b+2}, i.e. \boxed{2-b}"),
        ("5", "The answer is $x = 5$."), ("12", "Therefore there are 12 such sequences in the whole of the list."), ("5", "5"),
        (r"\frac{3}{4}", "so the final result is $\\frac{3}{4}$"), ("34", "Final Answer: The largest $n$ is 34."), ("5", "#### 5"),
        ("5", "Final Answer: The final answer is $5$. I hope it is correct."), (r"\text{even}", r"\boxed{\textbf{Even}}"),
    ],
)  # fmt: skip
def test_replies_that_give_the_answer(target: str, reply: str) -> None:
    verdict = Math()(problem(target), reply)
    assert verdict.score == 1.0, verdict.why


@pytest.mark.parametrize(
    ("target", "reply"),
    [
        ("5", ""), ("5", "no idea"), ("5", r"\boxed{4} \boxed{5}"), ("5", r"\boxed{4, 5}"), ("5", r"\boxed{4 \text{ or } 5}"), ("5", "$4$, $5$"),
        ("5", "The answer is 4 or 5."), ("5", "The answer is 4.\nThe answer is 5."), ("5", "4\n5"), ("5", "#### 4\n#### 5"), ("5", r"\boxed{}"),
        ("5", r"\boxed{" + "5" * 2000 + "}"), ("13", r"$${2, 3, 5, 7, 13}$$"), ("2", r"$\boxed{1,2}$"), ("5", "4, 5 or 6"), ("5", "-5"),
    ],
)  # fmt: skip
def test_replies_that_do_not(target: str, reply: str) -> None:
    verdict = Math()(problem(target), reply)
    assert verdict.score == 0.0, verdict.why


def test_strict_reads_boxes_and_the_closing_phrase_only() -> None:
    assert score("5", r"\boxed{5}", "strict") == 1.0
    assert score("5", "Final Answer: The final answer is $5$. I hope it is correct.", "strict") == 1.0
    for reply in ("5", "The answer is 5.", "$5$", "#### 5"):
        assert score("5", reply, "strict") == 0.0


@pytest.mark.parametrize(
    ("target", "reply", "right"),
    [
        ("5", r"\boxed{4} \boxed{5}", 1.0), ("5", "it is $4$ and $5$", 1.0), ("5", "so x = 5", 1.0), ("x^2+2x+1", r"\boxed{(x+1)^2}", 1.0),
        (r"\frac{1}{2}", "$0.5$", 1.0), ("(1,2)", r"\boxed{(1, 2)}", 1.0), ("(1,2)", r"\boxed{(2,1)}", 0.0), ("72", r"\boxed{72 \text{ or } 9}", 0.0),
        ("5", r"\boxed{4}, that is Final Answer: The final answer is $5$. I hope it is correct.", 1.0), ("34", r"\boxed{3,4}", 1.0), ("5", "", 0.0),
        (r"\sqrt{2}", r"$\sqrt2$", 1.0), ("5", r"\boxed{5} and $6$", 1.0), ("6", r"\boxed{5} and $6$", 0.0), ("[1,2)", r"\boxed{[1, 2)}", 1.0),
    ],
)  # fmt: skip
def test_flex_with_its_quirks(target: str, reply: str, right: float) -> None:
    """Any extraction right; commas between digits are dropped; formulas count only where there is neither phrase nor box."""
    assert score(target, reply, "flex") == right


def test_minerva_rejects_what_sympy_cannot_subtract_as_published() -> None:
    closing = "Final Answer: The final answer is ${}$. I hope it is correct."
    assert score("5", closing.format("5"), "minerva") == 1.0
    assert score(r"\frac{1}{2}", closing.format("0.5"), "minerva") == 1.0
    assert score(r"[1,\infty)", closing.format(r"[1,\infty)"), "minerva") == 0.0
    assert score("5", r"\boxed{5}", "minerva") == 0.0


def test_hendrycks_compares_the_last_box_as_text() -> None:
    assert score(r"\frac{1}{2}", r"\boxed{1/2}", "hendrycks") == 1.0
    assert score("12", r"\boxed{12 \text{ cm}}", "hendrycks") == 1.0
    assert score("x+1", r"\boxed{1+x}", "hendrycks") == 0.0
    assert score("5", "The answer is 5", "hendrycks") == 0.0


def test_verdicts_say_what_was_read() -> None:
    assert Math()(problem("5"), r"\boxed{4}").why == "the boxed answer is '4', wanted '5'"
    assert (
        Math()(problem("5"), r"\boxed{4} \boxed{5}").why
        == "2 different answers (the boxed answer) is '4, 5', wanted '5'"
    )
    assert Math()(problem("5"), "").why == "no answer in the reply, wanted '5'"
    assert Math("hendrycks")(problem("5"), "5").why == r"no closed \boxed{} in the reply, wanted '5'"
    assert Math("flex")(problem("5"), r"\boxed{4}").why == "the last box is '4', wanted '5'"


@pytest.mark.slow
def test_what_takes_too_long_is_ungraded_and_wrong_by_the_published_rule() -> None:
    """A tower of powers that sympy would evaluate."""
    reply = r"\boxed{10^{10^{10^{10}}} + x}"
    fixed = Math()(problem("5"), reply)
    assert fixed.score is None or fixed.score == 0.0
    if fixed.score is None:
        assert "not compared with '5'" in fixed.why
    assert score("5", reply, "flex") == 0.0


@pytest.mark.parametrize("target", ["", "  ", "x" * 1001])
def test_a_bad_target_is_ungraded_and_found_at_plan_time(target: str) -> None:
    assert score(target, "5") is None
    with pytest.raises(VerifierError, match="no reply can be compared"):
        Math("hendrycks").check_target(target)
    Math("hendrycks").check_target("5")


def test_a_missing_library_is_named_with_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "math_verify" else find(name, *rest)
    )
    with pytest.raises(MissingExtra, match=r"math-verify.*\n  pip install 'burnish\[math\]'"):
        Math().check_target("5")
    with pytest.raises(MissingExtra):
        DeepMindMath().check_target("5")
    Math("hendrycks").check_target("5")
    assert score("5", r"\boxed{5}") == 1.0, "what needs no library is graded without"
    verdict = Math()(problem("x^3 + 7"), r"\boxed{7 + x^3}")
    assert verdict.score is None
    assert "math-verify" in verdict.why


@pytest.mark.parametrize("rule", ["fixed", "strict", "hendrycks", "flex"])
@pytest.mark.parametrize(
    "reply",
    [
        "\\boxed{" * 8000, "{" * 50_000, "$" * 50_000, "$x" * 25_000, "the answer is " * 3500, "\\frac" * 10_000, "(" * 50_000, "=" * 50_000,
        "1," * 25_000, "\\(" * 25_000, "a " * 25_000, "#### " * 10_000, "\\boxed{1} " * 5000, "$1$, " * 10_000, "Final Answer: The final answer is " * 1500,
        "\\text{" * 8000, "∪" * 20_000, "\n" * 50_000, "\\begin{pmatrix}" * 3000, "answer: " * 6000, "-" * 50_000, "\\boxed{" + "(" * 900 + "}",
        "\\boxed{" + "1,(" * 300 + "}", "\\boxed{" + "{" * 400 + "}" * 400 + "}", "\\boxed{" + "±" * 900 + "}", "\\boxed{" + "x=" * 450 + "}",
    ],
)  # fmt: skip
def test_hostile_replies_are_read_quickly(rule: Any, reply: str) -> None:
    """Processor time of this process; what sympy is asked runs elsewhere, against its own clock."""
    start = time.process_time()
    assert Math(rule)(problem("5"), reply).score in (0.0, None)
    assert time.process_time() - start < 10


# -------------------------------------------------------------------------------------------------------- DeepMind


def closing(answer: str) -> str:
    return f"Some work.\n\nTherefore, the final answer is {answer}. I hope it is correct."


@pytest.mark.parametrize("rule", ["fixed", "olmes"])
@pytest.mark.parametrize(
    ("target", "reply", "right"),
    [
        ("-3/4", closing("-3/4"), 1.0), ("-3/4", closing("-0.75"), 1.0), ("6", closing("$6$"), 1.0), ("6", closing("**6**"), 1.0),
        ("2*x**2 - 3", closing("-3 + 2*x**2"), 1.0), ("2*x**2 - 3", closing("2*x**2 + 3"), 0.0), ("True", closing("yes"), 1.0),
        ("False", closing("No"), 1.0), ("False", closing("true"), 0.0), ("-1, 5", closing("-1, 5"), 1.0), ("-1, 5", closing("-1, 6"), 0.0),
        ("d", closing("D"), 1.0), ("d", closing("c"), 0.0), ("7:23 PM", closing("7:23 PM"), 1.0), ("7:23 PM", closing("7:23 AM"), 0.0),
        ("5", "The final answer is 5", 1.0), ("5", "my answer is 5.", 1.0), ("5", "5", 0.0), ("5", "", 0.0), ("(x - 1)*(x + 1)", closing("x**2 - 1"), 1.0),
        ("2*x", closing("2*y"), 0.0), ("hundredths", closing("hundredths"), 1.0), ("5", closing("__import__('os').getpid()"), 0.0),
    ],
)  # fmt: skip
def test_deepmind_answers(rule: Any, target: str, reply: str, right: float) -> None:
    pytest.importorskip("sympy")
    verdict = DeepMindMath(rule)(problem(target), reply)
    assert verdict.score == right, verdict.why


def test_deepmind_several_statements() -> None:
    reply = closing("4") + " " + closing("5")
    assert DeepMindMath("olmes")(problem("5"), reply).score == 1.0
    assert DeepMindMath()(problem("5"), reply).score == 0.0
    assert DeepMindMath()(problem("5"), closing("5") + closing("5.0")).score == 1.0
    assert DeepMindMath()(problem(""), reply).score is None


def test_foreign_text_is_never_evaluated_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither verifier hands a reply to this process's interpreter."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("evaluated")

    monkeypatch.setattr(builtins, "eval", refuse)
    for answer in ("__import__('os')", "().__class__", "lambda: 1", "x.__doc__", "open('f')", "exec('1')"):
        assert DeepMindMath()(problem("5"), closing(answer)).score == 0.0
        assert Math()(problem("5"), f"\\boxed{{{answer}}}").score in (0.0, None)


def test_simple_numbers_are_compared_without_sympy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("burnish.verify.math.symbolic.within", None)
    assert sympy_equal(r"\frac{123457}{2}", "61728.5")
    assert not sympy_equal("123457", "-123457")
