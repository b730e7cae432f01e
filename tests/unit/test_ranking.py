"""Rankings by hand: best choice by sum, token and character, letters, the true choices' share; what cannot be graded."""

from __future__ import annotations

import json
import math
import pickle

import pytest

from burnish.core.fingerprint import fingerprint
from burnish.core.types import Check, Problem, user
from burnish.errors import VerifierError
from burnish.eval.choices import perfect
from burnish.eval.ranking import BestChoice, LetterChoice, Ranked, Ranking, TrueShare, probabilities

RANKINGS = (BestChoice(), BestChoice("token"), BestChoice("character"), LetterChoice(), TrueShare())


def problem(choices: list[str], right: list[int]) -> Problem:
    return Problem(user("Q:"), Check("ranking", json.dumps({"choices": choices, "right": right})))


def ranked(*values: float, tokens: tuple[int, ...] = ()) -> list[Ranked]:
    sizes = tokens or (1,) * len(values)
    return [Ranked(str(i), value, size, False) for i, (value, size) in enumerate(zip(values, sizes, strict=True))]


PARIS = problem(["Paris", "Rome", "a town in the north"], [0])


def test_the_three_lengths_decide_differently():
    """Sums -6, -4, -9.5: Rome. Over tokens (3, 1, 5): -2, -4, -1.9: the town. Over characters (5, 4, 19): -1.2, -1, -0.5: the town."""
    given = ranked(-6.0, -4.0, -9.5, tokens=(3, 1, 5))
    by_sum, by_token, by_character = (BestChoice(by).rank(PARIS, given) for by in ("sum", "token", "character"))
    assert [by_sum.score, by_token.score, by_character.score] == [0.0, 0.0, 0.0]
    assert by_sum.why == "'Rome' is most probable (-4.000), before 'Paris' (-6.000), and is not true"
    assert by_token.why.startswith("'a town in the north' is most probable (-1.900), before 'Paris' (-2.000)")
    assert by_character.why.startswith("'a town in the north' is most probable (-0.500), before 'Rome' (-1.000)")
    assert BestChoice().rank(problem(["Paris", "Rome"], [1]), given[:2]).score == 1.0


def test_characters_do_not_count_what_stands_before_a_choice():
    """-6/3 = -2 beats -9/4 = -2.25; with the space counted it would be -6/4 = -1.5 and -9/5 = -1.8: the same order; so -8.1/4."""
    two = problem(["abc", "abcd"], [0])
    rule = BestChoice("character", before=" ")
    assert rule.choices(two) == (" abc", " abcd")
    assert rule.rank(two, ranked(-6.0, -8.1)).score == 1.0  # -2 and -2.025; with the space -1.5 and -1.62
    assert rule.rank(two, ranked(-6.0, -7.9)).score == 0.0  # -2 and -1.975; with the space -1.5 and -1.58


def test_ties_share_the_point_or_go_to_the_first():
    """Three choices at the top, one of them true: a third; as argmax the first of them, which is not true."""
    four = problem(["a", "b", "c", "d"], [2])
    given = ranked(-1.0, -1.0, -1.0, -5.0)
    verdict = BestChoice().rank(four, given)
    assert (verdict.score, verdict.why) == (pytest.approx(1 / 3), "3 choices tie at -1.000, 1 of them true")
    assert BestChoice(ties="first").rank(four, given).score == 0.0
    assert BestChoice(ties="first").rank(problem(["a", "b", "c", "d"], [0]), given).score == 1.0


def test_the_true_choices_share_by_hand():
    """Probabilities 0.2, 0.1, 0.1 of three choices, the first two true: 0.3/0.4 = 0.75."""
    three = problem(["a", "b", "c"], [0, 1])
    verdict = TrueShare().rank(three, ranked(math.log(0.2), math.log(0.1), math.log(0.1)))
    assert verdict.score == pytest.approx(0.75)
    assert verdict.why == "the 2 true of 3 choices have 75.0% of the probability; 'a' alone has 50.0% and is true"


def test_the_true_choices_share_where_floats_end():
    """e^-2000 is 0 as a float, so the plain quotient would be 0/0; with e^-1 between the two it is 1/(1 + e^-1) = 0.731."""
    two = problem(["a", "b"], [0])
    assert math.exp(-2000) == 0.0
    assert TrueShare().rank(two, ranked(-2000.0, -2001.0)).score == pytest.approx(1 / (1 + math.exp(-1)))
    assert TrueShare().rank(two, ranked(-math.inf, -3.0)).score == 0.0


def test_letters_are_compared_whatever_the_choices_say():
    """Two of MMLU's choices may be equal; their letters are not."""
    lettered = Problem(
        user("Q:"), Check("choice", json.dumps({"letter": "C", "choices": ["687", "687", "1,493", "1,695"]}))
    )
    rule = LetterChoice(before=" ")
    assert rule.choices(lettered) == (" A", " B", " C", " D")
    assert rule.right(lettered) == (2,)
    verdict = rule.rank(lettered, ranked(-1.0, -2.0, -0.5, -9.0))
    assert verdict.score == 1.0
    assert verdict.why == "'C' is most probable (-0.500), before 'A' (-1.000), and is true"
    assert BestChoice().choices(lettered) == ("687", "687", "1,493", "1,695")


@pytest.mark.parametrize("rule", RANKINGS)
def test_a_rule_is_a_ranking_with_an_identity(rule: Ranking):
    assert isinstance(rule, Ranking)
    assert pickle.loads(pickle.dumps(rule)) == rule
    assert fingerprint(rule) == fingerprint(type(rule)(**({"by": rule.by} if isinstance(rule, BestChoice) else {})))


def test_every_setting_is_part_of_the_identity():
    rules = (*RANKINGS, BestChoice(before=" "), BestChoice(ties="first"), LetterChoice(before=" "), TrueShare(" "))
    assert len({fingerprint(rule) for rule in rules}) == len(rules)


@pytest.mark.parametrize("rule", RANKINGS)
def test_a_model_that_is_sure_of_the_true_choices_scores_one(rule: Ranking):
    for target in (PARIS, problem(["x", "y" * 300, "z"], [1, 2])):
        assert rule.rank(target, perfect(rule, target)).score == pytest.approx(1.0)


@pytest.mark.parametrize("rule", RANKINGS)
@pytest.mark.parametrize(
    "target",
    [
        "", "Paris", "[1]", "null", '{"choices": ["a", "b"]}', '{"choices": ["a", "b"], "right": []}', '{"choices": ["a", "b"], "right": [2]}',
        '{"choices": ["a", "b"], "right": [-1]}', '{"choices": ["a", "b"], "right": [true]}', '{"choices": ["a", "b"], "right": "0"}',
        '{"choices": ["a"], "right": [0]}', '{"choices": ["a", ""], "right": [0]}', '{"choices": "ab", "right": [0]}',
        '{"choices": ["a", "b"], "letter": "C"}', '{"choices": ["a", "b"], "letter": ""}', '{"choices": ["a", "b"], "letter": "A", "right": [0]}',
        "[" * 5000,
    ],
)  # fmt: skip
def test_a_target_that_cannot_be_read_is_named_and_never_a_zero(rule: Ranking, target: str):
    bad = Problem(user("Q:"), Check("ranking", target))
    for ask in (rule.choices, rule.right, lambda each: rule.check_target(each.check.target)):  # type: ignore[attr-defined]
        with pytest.raises(VerifierError, match=r'Write \{"choices": \["Paris", "Rome"\], "right": \[0\]\}'):
            ask(bad)
    verdict = rule.rank(bad, ranked(-1.0, -2.0))
    assert verdict.score is None
    assert verdict.why


@pytest.mark.parametrize("rule", RANKINGS)
@pytest.mark.parametrize(
    ("given", "why"),
    [
        (ranked(-1.0, -2.0), "2 log-probabilities for 3 choices"),
        (ranked(-1.0, math.nan, -2.0), "log-probability nan over 1 tokens"),
        (ranked(-1.0, math.inf, -2.0), "log-probability inf over 1 tokens"),
        (ranked(-1.0, -1.0, -2.0, tokens=(1, 0, 1)), "over 0 tokens"),
        (ranked(-math.inf, -math.inf, -math.inf), "no choice has any probability"),
    ],
)
def test_numbers_that_say_nothing_are_ungraded(rule: Ranking, given: list[Ranked], why: str):
    verdict = rule.rank(PARIS, given)
    assert verdict.score is None
    assert why in verdict.why


def test_more_choices_than_letters():
    many = problem([str(i) for i in range(27)], [0])
    with pytest.raises(VerifierError, match="has 27 choices, and there are 26 letters"):
        LetterChoice().choices(many)
    verdict = LetterChoice().rank(many, ranked(*[-1.0] * 27))
    assert verdict.score is None
    assert "26 letters" in verdict.why


def test_shares_of_nothing():
    for logprobs in ([], [math.nan, 0.0], [-math.inf], [math.inf, 0.0]):
        with pytest.raises(ValueError, match="no shares"):
            probabilities(logprobs)
    assert probabilities([0.0]) == [1.0]
