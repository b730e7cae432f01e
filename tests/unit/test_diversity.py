from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.data.diversity import diversity, near_duplicate_rate


def test_distinct_by_hand() -> None:
    """Words "a b a" and "a b": 5 unigrams, 2 different; bigrams ab, ba, ab: 2 of 3; trigrams: 1 of 1."""
    measured = diversity(["a b a", "A b"])
    assert measured == {"distinct_1": 2 / 5, "distinct_2": 2 / 3, "distinct_3": 1.0, "near_duplicate_rate": 0.0}


def test_no_texts_give_zeros() -> None:
    assert diversity([]) == {"distinct_1": 0.0, "distinct_2": 0.0, "distinct_3": 0.0, "near_duplicate_rate": 0.0}


def test_near_duplicates_by_hand() -> None:
    """24 words hold 20 shingles; one more word at the end makes 20 / 21 shared; a changed middle word breaks 5 of 20: 15 / 25."""
    base = [f"w{i}" for i in range(24)]
    longer = [*base, "more"]
    changed = [*base[:12], "other", *base[13:]]
    assert near_duplicate_rate([base, longer]) == 1.0
    assert near_duplicate_rate([base, changed]) == 0.0
    assert near_duplicate_rate([base, longer, changed]) == pytest.approx(2 / 3)
    assert near_duplicate_rate([base, base, changed, ["x"], ["x"]]) == pytest.approx(4 / 5)


def shingled(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + 5]) for i in range(max(len(words) - 4, 1))}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), alphabet=st.integers(1, 4))
def test_near_duplicates_equal_the_comparison_of_all_pairs(seed: int, alphabet: int) -> None:
    rng = random.Random(seed)
    rows = [[rng.choice("abcd"[:alphabet]) for _ in range(rng.randint(1, 14))] for _ in range(10)]
    for row in rows[:4]:
        rows.append([*row, rng.choice("ab")])
    sets = [shingled(row) for row in rows]
    expected = [any(i != j and len(a & b) >= 0.8 * len(a | b) for j, b in enumerate(sets)) for i, a in enumerate(sets)]
    assert near_duplicate_rate(rows) == pytest.approx(sum(expected) / len(rows))
