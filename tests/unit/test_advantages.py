"""Advantages over whole steps and over sets of replies, by hand and by enumeration."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from burnish.errors import RecipeError
from burnish.losses.advantage import group_relative, pass_at_k, whitened


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_whitened_by_hand() -> None:
    """[1, 0], [1, 1]: mean 3/4, squares 3/16 + 9/16 = 3/4, over n - 1 = 3: deviation 1/2. So 1/2, -3/2, 1/2, 1/2."""
    found = whitened(rows([1.0, 0.0], [1.0, 1.0]), eps=0.0)
    torch.testing.assert_close(found, rows([0.5, -1.5], [0.5, 0.5]))


def test_whitened_with_a_group_baseline_by_hand() -> None:
    """[1, 0], [1, 1] - their means: ±1/2, 0, 0. Mean 0, squares 1/2 over 3: deviation 0.408248; 1/2 / 0.408248 = 1.224745."""
    found = whitened(rows([1.0, 0.0], [1.0, 1.0]), baseline="group", eps=0.0)
    torch.testing.assert_close(found, rows([math.sqrt(1.5), -math.sqrt(1.5)], [0.0, 0.0]))
    assert found[1].tolist() == [0.0, 0.0]


def test_whitened_by_tokens_by_hand() -> None:
    """Lengths 1, 3, 2, 2: mean 5/8; squares 5 (3/8)^2 + 3 (5/8)^2 = 1.875 over 7: deviation 0.517549; 0.375 / 0.517549."""
    lengths = torch.tensor([[1, 3], [2, 2]])
    found = whitened(rows([1.0, 0.0], [1.0, 1.0]), lengths_PG=lengths, eps=0.0)
    high, low = 0.375 / math.sqrt(1.875 / 7), -0.625 / math.sqrt(1.875 / 7)
    torch.testing.assert_close(found, rows([high, low], [high, high]))
    as_tokens = torch.tensor([1.0] + [0.0] * 3 + [1.0] * 4, dtype=torch.float64)
    torch.testing.assert_close(found[0, 0], ((as_tokens - as_tokens.mean()) / as_tokens.std())[0])


@pytest.mark.parametrize("baseline", ["none", "group"])
def test_whitened_leaves_ungraded_replies_out(baseline: str) -> None:
    """What cannot be graded may hold NaN: the others get what they would get alone. Equal rewards, or nothing graded: 0."""
    graded = torch.tensor([[True, True, False], [True, True, False]])
    junk = rows([1.0, 0.0, math.nan], [1.0, 1.0, math.inf])
    found = whitened(junk, graded, baseline=baseline)  # type: ignore[arg-type]
    torch.testing.assert_close(found[:, :2], whitened(rows([1.0, 0.0], [1.0, 1.0]), baseline=baseline))  # type: ignore[arg-type]
    assert (found[:, 2] == 0).all()
    assert (whitened(torch.full((2, 3), 0.1), baseline=baseline) == 0).all()  # type: ignore[arg-type]
    assert (whitened(junk, torch.zeros(2, 3, dtype=torch.bool), baseline=baseline) == 0).all()  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5), st.integers(2, 6), st.integers(0, 10**6), st.booleans())
def test_whitened_has_mean_0_and_deviation_1(problems: int, group: int, seed: int, by_group: bool) -> None:
    g = torch.Generator().manual_seed(seed)
    rewards = torch.randn(problems, group, generator=g, dtype=torch.float64)
    found = whitened(rewards, baseline="group" if by_group else "none", eps=0.0)
    assert float(found.mean()) == pytest.approx(0, abs=1e-9)
    assert float(found.std()) == pytest.approx(1)
    if by_group:
        assert found.mean(1).tolist() == pytest.approx([0.0] * problems, abs=1e-9)


def test_pass_at_k_by_hand() -> None:
    """One of three passes, k = 2: of the sets 12, 13, 23 two hold it, p = 2/3, deviation sqrt(2)/3. The passing reply: 1/3 over
    it = 0.7071. A failing one is in one set that passes and one that does not: (1/2 - 2/3) over it = -0.3536.
    """
    found = pass_at_k(rows([1.0, 0.0, 0.0]), k=2)
    torch.testing.assert_close(found, rows([math.sqrt(0.5), -math.sqrt(0.125), -math.sqrt(0.125)]))


def test_pass_at_k_teaches_nothing_where_all_sets_are_alike() -> None:
    """k = 2: with one failure every set holds a pass; with none passing none does; one graded reply makes no set."""
    graded = torch.tensor([[True] * 3, [True] * 3, [True, False, False]])
    assert (pass_at_k(rows([1.0, 1.0, 0.0], [0.0] * 3, [1.0, math.nan, 0.0]), graded, k=2) == 0).all()
    with pytest.raises(RecipeError, match=r"pass_at_k\(k=0\)"):
        pass_at_k(rows([1.0, 0.0]), k=0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=7), st.integers(1, 4))
def test_pass_at_k_is_its_definition(rewards: list[float], k: int) -> None:
    """Every set of k replies, its pass (0 or 1) standardised over all sets; a reply's mean over the sets it is in."""
    n = len(rewards)
    sets = list(itertools.combinations(range(n), k))
    values = [float(any(rewards[i] == 1 for i in chosen)) for chosen in sets]
    share = sum(values) / len(values) if values else 0.0
    expected = [0.0] * n
    if 0 < share < 1:
        deviation = math.sqrt(share * (1 - share))
        for i in range(n):
            mine = [(v - share) / deviation for chosen, v in zip(sets, values, strict=True) if i in chosen]
            expected[i] = sum(mine) / len(mine)
    assert pass_at_k(rows(rewards), k=k)[0].tolist() == pytest.approx(expected, abs=1e-9)


def test_pass_at_1_is_group_relative_with_the_populations_deviation() -> None:
    """[1, 0, 0, 1]: deviation 1/2 instead of sqrt(1/3): advantages ±1."""
    rewards = rows([1.0, 0.0, 0.0, 1.0])
    found = pass_at_k(rewards, k=1)
    torch.testing.assert_close(found, rows([1.0, -1.0, -1.0, 1.0]))
    torch.testing.assert_close(found, group_relative(rewards, eps=0.0) * math.sqrt(4 / 3))
