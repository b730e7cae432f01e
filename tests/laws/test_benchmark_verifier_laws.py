"""The verifiers of MGSM, GSM-Hard, BigCodeBench and HREF keep the laws, and read as by hand what their published rules say."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.core.types import Check, Problem, user
from burnish.errors import RecipeError, VerifierError
from burnish.testing.laws import check_verifier
from burnish.verify.close_number import CloseNumber
from burnish.verify.code.library_tests import LibraryTests
from burnish.verify.judge.href import CloserThanBaseline
from burnish.verify.mgsm import MGSM, PREFIXES

LANGUAGES = st.sampled_from(sorted(PREFIXES))


def mgsm(language: str, answer: int) -> Problem:
    target = json.dumps({"language": language, "answer": str(answer)})
    return Problem(user("?"), Check("mgsm", target), f"{PREFIXES[language]}: {answer}")


def number(target: str) -> Problem:
    return Problem(user("?"), Check("close_number", target), f"#### {target}")


def test_mgsm_keeps_the_laws() -> None:
    problems = [mgsm(language, 18 + i) for i, language in enumerate(PREFIXES)]
    check_verifier(MGSM(), problems, many_candidates="only last", signed=False, examples=40)


def test_close_number_keeps_the_laws() -> None:
    """Targets of few decimals: a number that differs in the fifth is right by definition."""
    problems = [number(target) for target in ("72", "14053029.7", "-7055", "3.5")]
    check_verifier(CloseNumber(), problems, examples=40)


def test_closer_than_the_baseline_keeps_the_laws() -> None:
    check_verifier(CloserThanBaseline(), (), many_candidates="anywhere", examples=40)


@pytest.mark.slow
def test_library_tests_keep_the_laws() -> None:
    check_verifier(LibraryTests(), (), many_candidates="anywhere", examples=10, deadline_s=60.0)


@given(LANGUAGES, st.integers(0, 10**9), st.text(alphabet="abc 12,.\n", max_size=30))
def test_the_number_after_the_last_answer_word_counts(language: str, answer: int, before: str) -> None:
    reply = f"{before}\n{PREFIXES[language]}: {answer:,}"
    assert MGSM()(mgsm(language, answer), reply).score == 1.0
    assert MGSM()(mgsm(language, answer + 1), reply).score == 0.0


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("Antwort: 18", 1.0), ("Antwort: 18.", 1.0), ("Antwort: 18.00", 1.0), ("Antwort 5\nAntwort: 18 Euro", 1.0),
        ("antwort: 18", 0.0), ("Antwort: 18, nein 19", 0.0), ("Antwort:", 0.0), ("Antwort: -18", 1.0), ("Antwort: 180", 0.0),
    ],
)  # fmt: skip
def test_mgsm_by_hand(reply: str, score: float) -> None:
    assert MGSM()(mgsm("de", 18), reply).score == score


@pytest.mark.parametrize(
    "target",
    ["", "18", "[]", "{}", '{"language": "xx", "answer": "1"}', '{"language": "de", "answer": 1}', '{"language": "de", "answer": "-1"}',
     '{"language": ["de"], "answer": "1"}', '{"language": "de", "answer": "1", "more": 1}'],
)  # fmt: skip
def test_mgsm_targets_that_cannot_be_compared_with(target: str) -> None:
    with pytest.raises(VerifierError, match="Write"):
        MGSM().check_target(target)
    assert MGSM()(Problem(user("?"), Check("mgsm", target)), "Antwort: 1").score is None


@given(st.integers(-(10**12), 10**12), st.integers(-999, 999))
def test_close_is_less_than_a_thousandth(whole: int, offset: int) -> None:
    """The reply is off by `offset` millionths of ten: within 0.001 up to 99 of them, |offset| * 1e-5 < 0.001."""
    target = f"{whole}.5" if whole >= 0 else str(whole)
    base = whole * 10**5 + (50_000 if whole >= 0 else 0) + offset
    sign, digits = ("-" if base < 0 else ""), str(abs(base)).rjust(6, "0")
    reply = f"#### {sign}{digits[:-5]}.{digits[-5:]}"
    assert CloseNumber()(number(target), reply).score == float(abs(offset) < 100)


def test_close_number_says_what_is_wrong_with_it() -> None:
    with pytest.raises(RecipeError, match="above 0"):
        CloseNumber(within=0.0)
    with pytest.raises(VerifierError, match="not one number"):
        CloseNumber().check_target("about five")
    assert CloseNumber()(number("about five"), "5").score is None
    assert CloseNumber(within=2.0)(number("5"), "#### 6").score == 1.0


@given(st.text(max_size=200))
def test_href_targets_are_checked(target: str) -> None:
    """Whatever stands there, a verdict comes back and no exception."""
    problem = Problem(user("?"), Check("href", target))
    assert CloserThanBaseline()(problem, "x").score is None
