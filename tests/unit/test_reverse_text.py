"""Texts to be written backwards: the splits share no text, the verifier keeps the laws, and likeness by hand."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.core.types import Check, Problem, user
from burnish.data.sources.reverse_text import ReverseText
from burnish.errors import RecipeError, VerifierError
from burnish.eval.tasks.reverse_text import task
from burnish.testing.laws import check_task, check_verifier
from burnish.verify.reversed_text import Reversed


def asked(target: str) -> Problem:
    return Problem(user("?"), Check("reversed", target), target)


def test_the_splits_share_no_text() -> None:
    train, test = ReverseText("train", 600, seed=1), ReverseText("test", 200, seed=2)
    texts = [{problem.check.target for problem in source.rows(None)} for source in (train, test)]
    assert [len(found) for found in texts] == [600, 200]
    assert not texts[0] & texts[1]
    assert [p.id for p in ReverseText("train", 5, seed=1).rows(None)] == [p.id for p in train.rows(None)][:5]
    assert all(p.check.target[::-1] in p.prompt[0].content for p in train.rows(None))


def test_the_verifier_keeps_the_laws() -> None:
    check_verifier(Reversed(), list(ReverseText("test", 12).rows(None)), many_candidates="anywhere", examples=40)


@pytest.mark.parametrize(
    ("target", "reply", "score"),
    [
        # "abcd" and "abxd" share the blocks "ab" and "d": 2 * 3 / 8.
        ("abcd", "abxd", 0.75),
        # The longest block is "bc"; what is left and right of it has nothing in common: 2 * 2 / 8.
        ("abcd", "bcda"[:2] + "xx", 0.5),
        ("abcd", "dcba", 0.25),
        ("abcd", "  abcd\n", 1.0),
        ("abcd", "<reversed_text>abcd</reversed_text> and more", 1.0),
        ("abcd", "wxyz", 0.0),
        # 16 characters are looked at, 4 match, of 20 and 4: 2 * 4 / 24.
        ("abcd", "abcd" + "." * 16, 1 / 3),
    ],
)
def test_likeness_by_hand(target: str, reply: str, score: float) -> None:
    assert Reversed()(asked(target), reply).score == pytest.approx(score)
    assert Reversed(exact=True)(asked(target), reply).score == float(score == 1.0)


@given(st.text(alphabet="abc ", min_size=1, max_size=12).filter(str.strip), st.randoms(use_true_random=False))
def test_one_more_right_character_is_never_worse(target: str, rng: random.Random) -> None:
    """Replies that begin as the target does: a longer beginning scores higher."""
    target = target.strip()
    count = rng.randrange(len(target))
    shorter, longer = (Reversed()(asked(target), target[:n]).score or 0.0 for n in (count, count + 1))
    assert longer > shorter or longer == 1.0 or not target[count : count + 1].strip()


def test_what_cannot_be_is_refused() -> None:
    for bad, said in (
        ({"split": "dev", "n": 3}, "no such split"),
        ({"split": "train", "n": 0}, "at least one row"),
        ({"split": "train", "n": 3, "least": 3, "most": 2}, "least <= most"),
        ({"split": "test", "n": 300, "most": 1}, "distinct rows of the test split"),
    ):
        with pytest.raises(RecipeError, match=said):
            ReverseText(**bad)  # type: ignore[arg-type]
    with pytest.raises(VerifierError, match="as it reads backwards"):
        Reversed().check_target("  ")
    assert Reversed()(asked(""), "x").score is None


def test_the_task_asks_the_test_split() -> None:
    check_task(task(n=20), None)
    assert task(n=3).source == ReverseText("test", 3)
    assert task(n=3).verifier == Reversed()
