"""What counts as a number, and as the answer of a reply."""

from __future__ import annotations

import gzip
import json
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.core.types import Check, Problem, user
from burnish.errors import VerifierError
from burnish.verify.gsm8k import GSM8K, check_target
from burnish.verify.numbers import numbers_in, parse_number, plain


def problem(target: str) -> Problem:
    return Problem(user("How many?"), Check("gsm8k", target))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", 18), ("18.00", 18), ("1,080", 1080), ("109,200,000", 109_200_000), ("-5", -5), ("−5", -5), ("+5", 5),
        ("$18", 18), ("-$3", -3), ("$-3", -3), ("€ 20", 20), ("25%", 25), (".5", Fraction(1, 2)), ("3/4", Fraction(3, 4)),
        ("1e3", 1000), ("２,５００", 2500), ("٣٫٥", Fraction(7, 2)), ("1\u202f000", 1000), ("1{,}800", 1800), ("18.", 18),
        (r"\frac{1}{2}", Fraction(1, 2)), ("0.1000", Fraction(1, 10)), ("007", 7), ("-0", 0),
        ("1 1/2", Fraction(3, 2)), ("-1 1/2", Fraction(-3, 2)), (r"1\frac{1}{2}", Fraction(3, 2)), (r"-2\frac13", Fraction(-7, 3)),
        ("1½", Fraction(3, 2)), ("½", Fraction(1, 2)), ("1 and 1/2", Fraction(3, 2)), ("$2 1/2", Fraction(5, 2)), ("12 3/2", None),
        (r"3 \times 10^4", 30_000), ("3×10⁴", 30_000), ("3.5 x 10^{-4}", Fraction(7, 20_000)), ("3*10^4", 30_000), ("10^4", 10_000),
        (r"2 \cdot 10^{-1}", Fraction(1, 5)), ("2^4", None), ("1'080", 1080), ("1’080’500", 1_080_500), ("negative 5", -5), ("₽ 5", 5),
        (r"50\%", 50), ("2 1/2%", Fraction(5, 2)), (r"\frac12", Fraction(1, 2)), ("10^444", None),
        ("", None), ("x", None), ("1 2", None), ("1/0", None), ("18 dollars", None), ("²", None), ("9" * 101, None),
    ],
)  # fmt: skip
def test_one_number(text: str, value: Fraction | None) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("20 - 2", [20, 2]), ("20-2", [20, 2]), ("-20 and -2", [-20, -2]), ("16,17,18", [16, 17, 18]),
        ("1,000, 2,000", [1000, 2000]), ("COVID19 and H2O", []), ("the 18th of 3", [3]), ("18kg", [18]),
        ("2 x 3", [2, 3]), ("10^2 and 1 1/2 or 5", [100, Fraction(3, 2), 5]), ("1/2 3/4", [Fraction(1, 2), Fraction(3, 4)]),
        ("v3.5.2", []), ("1/2/3", [1, Fraction(2, 3)]), ("3.18", [Fraction(318, 100)]), ("a 5. Then 6.", [5, 6]),
    ],
)  # fmt: skip
def test_numbers_in_prose(text: str, values: list[Fraction]) -> None:
    assert [found.value for found in numbers_in(plain(text))] == values


@given(
    st.integers(-(10**15), 10**15),
    st.sampled_from(["{}", "{:,}", "{}.00", "${:,}", "{} eggs", "about {:,}.", "#### {}"]),
)
def test_any_integer_survives_every_way_of_writing_it(value: int, form: str) -> None:
    text = form.format(value)
    assert GSM8K()(problem(str(value)), text).score == 1.0
    assert GSM8K()(problem(str(value + 1)), text).score == 0.0


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**9), max_value=10**9))
def test_decimals_are_compared_exactly(value: Any) -> None:
    assert parse_number(f"{value:f}") == Fraction(value)
    assert GSM8K()(problem(f"{value:f}"), f"The answer is {value:f}0.").score == 1.0


ACCEPTED = [
    ("18", "#### 18"), ("18", "####18"), ("18", "#### $18.00 per day"), ("18", "#### **18**"), ("18", "#### 18.\n"),
    ("18", "The answer is $18.00."), ("18", "**Answer: 18**"), ("18", "The answer is **18**."), ("18", "Final answer:\n\n18"),
    ("18", "The answer is 9 * 2 = 18 dollars, for 9 eggs."), ("18", "The answer: 18, since 9*2 = 18"),
    ("18", r"So it is \boxed{18}."), ("1800", r"\boxed{1\,800}"), ("18", r"\boxed{18} again \boxed{18.0}"),
    ("18", "16 - 3 - 4 = 9\n18"), ("18", "so she makes 18 dollars"), ("18", "x=18"), ("18", "(18)"), ("18", "١٨"),
    ("18", "She has 3 apples and 18 oranges"), ("18", "#### 1. Compute\n2*9\n#### 2. Add\nThe answer is 18"),
    ("-5", "The answer is −5 degrees"), ("0.5", "The answer is 1/2"), ("25", "25%"), ("18", "The answer is 4. No: the answer is 18."),
    ("18", "The answer is hard to see. 9 * 2 = 18"), ("1.5", "It takes 1 1/2 hours"), ("1.5", r"\boxed{1\frac{1}{2}}"),
    ("30000", r"so it is $3 \times 10^4$"), ("0.5", "50%"), ("50", "50%"), ("50%", "50"), ("50%", "0.5"), ("0.5%", "0.005"),
    ("5", "The answer is 4. Wait, that is wrong. The answer is 5."), ("5", "The answer is 2 for May. The final answer is 5."),
    ("-5", "#### -5"), ("-5", "####-5"), ("-5", r"\boxed{-5}"), ("-5", "The answer is negative 5."), ("-5", "x = -5"),
]  # fmt: skip
REJECTED = [
    ("18", ""), ("18", "no number"), ("18", "17"), ("7", "72"), ("72", "7"), ("18", "3.18"), ("4", "3/4"), ("5", "-5"), ("-5", "5"),
    ("5", "The answer is −5"), ("2", "COVID2"), ("18", "on the 18th"), ("18", "#### 17\nI mean 18"), ("18", "#### 17\n#### 18"),
    ("18", r"\boxed{17} \boxed{18}"), ("18", "16, 17, 18"), ("18", "16 or 17 or 18"), ("18", "17 dollars or 18 dollars"),
    ("18", "16\n17\n18"), ("18", "- 16\n- 17\n- 18"), ("18", "1) 16\n2) 17\n3) 18"), ("18", "a) 16 b) 17 c) 18"),
    ("18", "The answer is 18 or maybe 17"), ("18", "The answer is between 16 and 18"), ("18", "#### 18 19 20"), ("20", "20 - 2"),
    ("50", "0.5"), ("0.5", "50"), ("100", "1%"), ("5", "x = -5"), ("-5", "#### 5"), ("18", "The answer is 17.\nThe answer is 18."),
    ("1", "1 1/2"), ("0.5", "1 1/2"), ("4", "3 x 10^4"), ("3", "3 x 10^4"), ("1.5", "1 3/2"),
    ("18", "The answer is 18. The answer is 17."), ("18", "18" * 3000), ("16", "the answer is 16,17,18"), ("100", "100,200,300"),
]  # fmt: skip


@pytest.mark.parametrize(("target", "reply"), ACCEPTED)
def test_replies_that_give_the_answer(target: str, reply: str) -> None:
    verdict = GSM8K()(problem(target), reply)
    assert verdict.score == 1.0, verdict.why


@pytest.mark.parametrize(("target", "reply"), REJECTED)
def test_replies_that_do_not(target: str, reply: str) -> None:
    verdict = GSM8K()(problem(target), reply)
    assert verdict.score == 0.0, verdict.why


def test_verdicts_say_what_was_read() -> None:
    assert GSM8K()(problem("72"), "#### 73").why == "the answer after '####' is 73, wanted 72"
    assert GSM8K()(problem("1,080"), "it is 1,080.50").why == "the last number is 1080.5, wanted 1,080"
    assert GSM8K()(problem("1"), "it is 1/3").why == "the last number is 1/3, wanted 1"
    assert GSM8K()(problem("72"), r"\boxed{-1/8}").why == "the boxed answer is -0.125, wanted 72"
    assert GSM8K()(problem("72"), "1 or 72").why == "several candidate answers (1, 72), wanted 72"
    assert GSM8K()(problem("72"), "#### 1\n#### 72").why == "different final answers (1, 72), wanted 72"
    assert GSM8K()(problem("72"), "none").why == "no number in the reply"


def test_strict_reads_one_form_only() -> None:
    strict = GSM8K("strict")
    assert strict(problem("72"), "48 + 24 = 72\n#### 72").score == 1.0
    for reply in ("72", "The answer is 72.", r"\boxed{72}", "### 72", "#### seventy-two"):
        assert strict(problem("72"), reply).score == 0.0, reply
    assert strict(problem("72"), "72").why == "no answer of the form '#### N'"


@pytest.mark.parametrize(
    ("target", "reply", "score"),
    [
        ("72", "16 or 72", 1.0), ("1,080", "1080", 1.0), ("1080", "it is 1,080.", 1.0), ("3", "3.00", 0.0), ("5", "-5", 1.0),
        ("-5", "-5", 1.0), ("-2.5", "-2.5", 1.0), ("2.5", "-2.5", 0.0), ("72", "#### 72 of 100", 0.0), ("72", "none", 0.0), ("72", "", 0.0),
    ],
)  # fmt: skip
def test_the_published_rule_with_its_quirks(target: str, reply: str, score: float) -> None:
    assert GSM8K("tulu3")(problem(target), reply).score == score


@pytest.mark.parametrize("target", ["", "x", "72 or 73", "seventy-two"])
def test_a_target_that_is_not_a_number_is_ungraded_and_found_at_plan_time(target: str) -> None:
    verdict = GSM8K()(problem(target), "72")
    assert verdict.score is None
    assert "is not one number" in verdict.why
    with pytest.raises(VerifierError, match="is not one number"):
        check_target(target)
    check_target("72")


@pytest.mark.parametrize(
    "reply",
    ["1," * 300_000, "1/" * 300_000, "#### 1 " * 60_000, r"\boxed{" * 60_000, "the answer is " * 40_000, "1,000" * 100_000, "\\frac{1" * 60_000, "####" + "1 " * 300_000, "1 or " * 100_000],
    ids=lambda reply: repr(reply[:12]),
)  # fmt: skip
def test_time_is_linear_in_hostile_replies(reply: str) -> None:
    start = time.perf_counter()
    assert GSM8K()(problem("72"), reply).score == 0.0
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("split", [pytest.param("train", marks=pytest.mark.slow), "test"])
def test_real_rows_accept_their_gold_and_reject_wrong_numbers(data_dir: Path, split: str) -> None:
    with gzip.open(data_dir / "gsm8k" / f"{split}.jsonl.gz", "rt") as lines:
        answers = [json.loads(line)["answer"] for line in lines]
    assert len(answers) == {"train": 7473, "test": 1319}[split]
    for answer in answers:
        worked, _, gold = answer.rpartition("#### ")
        row = problem(gold)
        check_target(gold)
        for rule in ("flexible", "strict", "tulu3"):
            assert GSM8K(rule)(row, answer).score == 1.0, answer
        assert GSM8K()(row, gold).score == 1.0
        assert GSM8K("tulu3")(row, gold).score == 1.0
        value = int(gold.replace(",", ""))
        for wrong in (value + 1, value - 1, value * 10 + 3, -value - 1):
            for reply in (str(wrong), f"{worked}#### {wrong}", f"The answer is {wrong:,}."):
                assert GSM8K()(row, reply).score == 0.0, (gold, reply)
