"""Packing: every sequence once, never over capacity, close to the fewest rows, and the way back."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.errors import DataError
from burnish.text.pack import boundaries, flatten, pack, positions, unflatten

LENGTHS = st.lists(st.integers(0, 20), max_size=40)


def fewest(lengths: tuple[int, ...], capacity: int) -> int:
    """The fewest rows, by trying every choice: dynamic programming over subsets."""

    @cache
    def best(left: frozenset[int]) -> tuple[int, int]:
        """(full rows begun, most room in the last one), as (rows, -room)."""
        if not left:
            return (0, 0)
        options = []
        for i in left:
            rows, room = best(left - {i})
            options.append((rows, room - lengths[i]) if lengths[i] <= room else (rows + 1, capacity - lengths[i]))
        return min(options, key=lambda option: (option[0], -option[1]))

    return best(frozenset(range(len(lengths))))[0]


def test_by_hand() -> None:
    """Longest first into 10: 7 | 6 | then 4 fits best beside 6 (leaving 0), 3 beside 7, 2 | and 2 beside it."""
    assert pack([3, 7, 2, 4, 6, 2], 10) == [[0, 1], [2, 5], [3, 4]]


def test_best_fit_takes_the_fullest_row_that_has_room() -> None:
    """Into 10: 8, then 5; the 2 goes beside the 8, though the 5 came last and has more room."""
    assert pack([8, 5, 2], 10) == [[0, 2], [1]]


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(20, 50))
def test_every_sequence_once_and_never_over_capacity(lengths: list[int], capacity: int) -> None:
    groups = pack(lengths, capacity)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in group) <= capacity for group in groups)
    assert groups == sorted(sorted(group) for group in groups)
    assert groups == pack(list(lengths), capacity)
    sums = [sum(lengths[i] for i in group) for group in groups]
    assert sum(2 * s <= capacity for s in sums) <= 1, "two half-empty rows could have been one"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 20), max_size=8))
def test_close_to_the_fewest(lengths: list[int]) -> None:
    """Best-fit decreasing needs at most 11/9 of the fewest rows, and 6/9 of one (G. Dosa, 2007, for first-fit decreasing)."""
    assert 9 * len(pack(lengths, 20)) <= 11 * fewest(tuple(lengths), 20) + 6


def test_too_long_is_an_error() -> None:
    with pytest.raises(DataError, match="sequence 1 has 11 tokens and cannot be packed into rows of 10"):
        pack([3, 11], 10)


def test_many_sequences_are_quick() -> None:
    """100,000 sequences of 1,000 distinct lengths: close to full rows."""
    lengths = [1 + (i * 7919) % 1000 for i in range(100_000)]
    groups = pack(lengths, 2048)
    assert sum(lengths) / (len(groups) * 2048) > 0.999


def test_positions_and_boundaries_by_hand() -> None:
    assert positions([3, 0, 2]) == [0, 1, 2, 0, 1]
    assert boundaries([3, 0, 2]) == [0, 3, 3, 5]
    assert boundaries([]) == [0]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(), max_size=5), max_size=6), st.randoms())
def test_unflatten_is_the_inverse_of_flatten(rows: list[list[int]], random: object) -> None:
    group = list(range(len(rows)))
    random.shuffle(group)  # type: ignore[attr-defined]
    flat = flatten(rows, group)
    assert unflatten(flat, [len(rows[i]) for i in group]) == [rows[i] for i in group]


def test_unflatten_refuses_lengths_that_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="add up to 3, but there are 2"):
        unflatten([1, 2], [3])
