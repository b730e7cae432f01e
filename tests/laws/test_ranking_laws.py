"""What holds of rankings whatever the log-probabilities are."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from burnish.core.types import Check, Problem, user
from burnish.eval.ranking import BestChoice, LetterChoice, Ranked, Ranking, TrueShare, probabilities

RULES = (
    BestChoice(),
    BestChoice("token"),
    BestChoice("character"),
    BestChoice(ties="first"),
    LetterChoice(),
    TrueShare(),
)
# Steps of 1/64 nat: sums and differences of them are exact, so that ties stay ties when all are moved.
NATS = st.integers(-40_000, 0).map(lambda steps: steps / 64)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[str], list[int], list[Ranked]]:
    """Choices, indices of the true ones, and what a model makes of them."""
    choices = draw(st.lists(st.text("ab ", min_size=1, max_size=6), min_size=2, max_size=8, unique=True))
    right = draw(st.lists(st.sampled_from(range(len(choices))), min_size=1, unique=True))
    values = draw(st.lists(NATS, min_size=len(choices), max_size=len(choices)))
    sizes = draw(st.lists(st.sampled_from((1, 2, 4)), min_size=len(choices), max_size=len(choices)))
    return choices, right, [Ranked(c, v, n, False) for c, v, n in zip(choices, values, sizes, strict=True)]


def problem(choices: list[str], right: list[int]) -> Problem:
    return Problem(user("Q:"), Check("ranking", json.dumps({"choices": choices, "right": right})))


def score(rule: Ranking, choices: list[str], right: list[int], ranked: list[Ranked]) -> float:
    verdict = rule.rank(problem(choices, right), ranked)
    assert verdict.score is not None
    assert verdict.why
    return verdict.score


def moved(ranked: list[Ranked], by: float) -> list[Ranked]:
    return [Ranked(each.text, each.logprob + by, each.tokens, each.greedy) for each in ranked]


@pytest.mark.parametrize("rule", [rule for rule in RULES if getattr(rule, "ties", "share") == "share"])
@given(case=cases(), data=st.data())
def test_the_order_of_the_choices_does_not_matter(rule: Ranking, case: Any, data: st.DataObject):
    choices, right, ranked = case
    order = data.draw(st.permutations(range(len(choices))))
    shuffled = [choices[i] for i in order], sorted(order.index(i) for i in right), [ranked[i] for i in order]
    assert score(rule, *shuffled) == pytest.approx(score(rule, *case), abs=1e-12)


@pytest.mark.parametrize("rule", [BestChoice(), BestChoice(ties="first"), LetterChoice(), TrueShare()])
@given(case=cases(), by=st.integers(-1000, 1000))
def test_a_constant_added_to_all_changes_nothing(rule: Ranking, case: Any, by: int):
    choices, right, ranked = case
    assert score(rule, choices, right, moved(ranked, by)) == pytest.approx(score(rule, *case), abs=1e-12)


@pytest.mark.parametrize("rule", RULES)
@given(case=cases())
def test_scores_are_shares_and_all_true_is_one(rule: Ranking, case: Any):
    choices, _, ranked = case
    assert 0.0 <= score(rule, *case) <= 1.0
    assert score(rule, choices, list(range(len(choices))), ranked) == pytest.approx(1.0)


@given(case=cases())
def test_true_and_false_choices_have_all_probability(case: Any):
    choices, right, ranked = case
    rest = [i for i in range(len(choices)) if i not in right]
    assume(rest)
    assert score(TrueShare(), *case) + score(TrueShare(), choices, rest, ranked) == pytest.approx(1.0)
    assert math.fsum(probabilities([each.logprob for each in ranked])) == pytest.approx(1.0)


@pytest.mark.parametrize("rule", [rule for rule in RULES if getattr(rule, "ties", "share") == "share"])
@given(case=cases(), value=NATS)
def test_a_model_without_a_preference_scores_as_a_guess(rule: Ranking, case: Any, value: float):
    """Floor: equal log-probabilities, which are equal per token and character where choices are equally long."""
    choices, right, _ = case
    even = [f"{i:04d}" for i in range(len(choices))]
    flat = [Ranked(each, value, 2, False) for each in even]
    assert score(rule, even, right, flat) == pytest.approx(len(right) / len(choices))


@pytest.mark.parametrize("rule", [BestChoice(), BestChoice(ties="first"), LetterChoice(), TrueShare()])
@given(case=cases())
def test_certainty_of_a_true_choice_is_one_and_of_a_false_one_zero(rule: Ranking, case: Any):
    """Ceiling: a choice 2,000 nats before all others decides."""
    choices, right, ranked = case
    for sure in range(len(choices)):
        given_ = [
            Ranked(r.text, 2000.0 + r.logprob if i == sure else r.logprob - 700, r.tokens, False)
            for i, r in enumerate(ranked)
        ]
        assert score(rule, choices, right, given_) == pytest.approx(float(sure in right), abs=1e-12)


@given(case=cases())
def test_equal_lengths_make_the_three_comparisons_one(case: Any):
    choices, right, ranked = case
    even = [f"{i:04d}" for i in range(len(choices))]
    same = [Ranked(each, r.logprob, 2, False) for each, r in zip(even, ranked, strict=True)]
    scores = {score(BestChoice(by), even, right, same) for by in ("sum", "token", "character")}  # type: ignore[arg-type]
    assert len(scores) == 1


@given(case=cases())
def test_the_share_of_a_lone_best_choice_is_its_softmax(case: Any):
    """MC2 and MC1 agree where one choice has more than half of the probability."""
    choices, _, ranked = case
    shares = probabilities([each.logprob for each in ranked])
    assume(max(shares) > 0.5)
    assert (score(TrueShare(), choices, [shares.index(max(shares))], ranked) > 0.5) == (
        score(BestChoice(), choices, [shares.index(max(shares))], ranked) == 1.0
    )
