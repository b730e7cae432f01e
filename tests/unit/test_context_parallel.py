"""A packed row cut into shares: every token is in one, and attention in shares is attention in the whole row.

What ranks send each other is tested with real ones in test_parallel.py.
"""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from burnish.errors import RecipeError
from burnish.model.attention import Documents, attend
from burnish.model.context_parallel import Share, Team, cut
from burnish.model.gpu_attention import Ragged, Spans
from burnish.model.sharing import PackedRows
from burnish.pipeline.machine import Machine
from burnish.pipeline.ranks import alone


def packed(lengths: list[int], parents: list[int | None], wanted: list[int]) -> PackedRows:
    count = sum(lengths)
    return PackedRows(lengths, parents, torch.arange(count) + 100, torch.arange(count) % 7, torch.tensor(wanted))


def shares(rows: PackedRows, size: int, multiple: int = 1) -> list[Share]:
    return [cut(rows, Team(rank, size, None), multiple) for rank in range(size)]


@st.composite
def packed_rows(draw: Any) -> PackedRows:
    lengths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=6))
    parents = [draw(st.one_of(st.none(), st.integers(0, i - 1))) if i else None for i in range(len(lengths))]
    wanted = draw(st.lists(st.integers(0, sum(lengths) - 1), min_size=1, max_size=12))
    return packed(lengths, parents, wanted)


def order(rows: PackedRows, size: int, multiple: int = 1) -> Tensor:
    """The packed token at each place of all shares behind each other; -1 where there is padding."""
    tokens = torch.cat([share.tokens_S for share in shares(rows, size, multiple)])
    return torch.where(tokens == 0, -1, tokens - 100)


@given(packed_rows(), st.integers(1, 5), st.sampled_from([1, 4]))
def test_every_token_is_in_one_share_and_every_state_is_read_once(rows: PackedRows, size: int, multiple: int) -> None:
    made = shares(rows, size, multiple)
    assert len({len(share.tokens_S) for share in made}) == 1
    assert len(made[0].tokens_S) % (2 * multiple) == 0
    where = order(rows, size, multiple)
    assert sorted(where[where >= 0].tolist()) == list(range(len(rows.tokens_N)))
    found = []
    for share in made:
        # A share's pieces lie behind each other and fill it.
        spans = [seen[-1] for seen in share.pieces]
        assert spans[0].start == share.team.rank * len(share.tokens_S)
        assert all(a.stop == b.start for a, b in pairwise(spans))
        assert spans[-1].stop == (share.team.rank + 1) * len(share.tokens_S)
        assert (share.positions_S[share.places_R] == rows.positions_N[rows.places_K[share.index_R]]).all()
        padding = torch.full((share.most - len(share.index_R),), -1)
        found.append(torch.cat([share.tokens_S[share.places_R] - 100, padding]))
    assert torch.cat(found)[made[0].order_K].tolist() == rows.places_K.tolist()


def test_ten_tokens_on_two_ranks() -> None:
    """Four chunks of 3: rank 0 has tokens 0 1 2 and 9, rank 1 has 3 to 8. Behind each other, token 3 is at place 6, 9 at 3."""
    rows = packed([10], [None], [0, 4, 9])
    first, second = shares(rows, 2)
    assert first.tokens_S.tolist() == [100, 101, 102, 109, 0, 0]
    assert second.tokens_S.tolist() == [103, 104, 105, 106, 107, 108]
    one, two, three, four = range(3), range(6, 9), range(9, 12), range(3, 4)
    assert first.pieces == ((one,), (one, two, three, four), (range(4, 6),))
    assert second.pieces == ((one, two), (one, two, three))
    assert (first.index_R.tolist(), second.index_R.tolist()) == ([0, 2], [1])
    assert first.order_K.tolist() == second.order_K.tolist() == [0, 2, 1]


def test_a_rank_without_tokens_has_padding() -> None:
    """One token, as of a rank that keeps pace: it is in the first share; the others read nothing."""
    made = shares(packed([1], [None], [0]), 3)
    assert [len(share.index_R) for share in made] == [1, 0, 0]
    assert [share.tokens_S.tolist() for share in made] == [[100, 0], [0, 0], [0, 0]]


def plain(query_NHE: Tensor, key_MKE: Tensor, value_MKE: Tensor, spans: Spans, scaling: float, window: Any) -> Tensor:
    """A kernel for documents of any length, one at a time."""
    bounds = zip(pairwise(spans.query_starts.tolist()), pairwise(spans.key_starts.tolist()), strict=True)
    found = []
    for (a, b), (c, d) in bounds:
        distance = torch.arange(c, d)[-(b - a) :, None] - torch.arange(c, d)
        hidden = (distance < 0) if window is None else (distance < 0) | (distance >= window)
        each = query_NHE.shape[1] // key_MKE.shape[1]
        key, value = (x[c:d].repeat_interleave(each, 1) for x in (key_MKE, value_MKE))
        scores = torch.einsum("qhe,khe->hqk", query_NHE[a:b], key) * scaling
        found.append(torch.einsum("hqk,khe->qhe", scores.masked_fill(hidden, -torch.inf).softmax(-1), value))
    return torch.cat(found)


@settings(max_examples=40, deadline=None)
@given(packed_rows(), st.integers(1, 4), st.sampled_from([None, 9]), st.booleans(), st.integers(0, 9))
def test_attention_in_shares_is_attention_in_the_whole_row(
    rows: PackedRows, size: int, window: int | None, ragged: bool, seed: int
) -> None:
    """Outputs, and gradients of queries, keys and values, which are sums over shares; grouped heads, float64."""
    generator = torch.Generator().manual_seed(seed)
    count, heads, width = len(rows.tokens_N), (4, 2), 3

    def drawn(columns: int) -> Tensor:
        return torch.randn(count, columns, dtype=torch.float64, generator=generator).requires_grad_()

    query, key, value = (drawn(columns) for columns in (heads[0] * width, heads[1] * width, heads[1] * width))
    toward = torch.randn(count, heads[0] * width, dtype=torch.float64, generator=generator)
    whole = attend(query, key, value, heads, Documents.of(rows.lengths, "cpu", rows.parents), 0.5, window)
    wanted = torch.autograd.grad((whole * toward).sum(), (query, key, value))

    where = order(rows, size)
    at = where.clamp(min=0)
    # What other ranks' padding holds must not matter.
    all_keys, all_values = (
        torch.where(where[:, None] < 0, torch.tensor(1e3, dtype=torch.float64), x[at]) for x in (key, value)
    )
    total = torch.zeros((), dtype=torch.float64)
    for share in shares(rows, size):
        layout = dataclasses.replace(share.layout(plain if ragged else None), gather=None)
        tokens = len(share.tokens_S)
        own = slice(share.team.rank * tokens, (share.team.rank + 1) * tokens)
        real = where[own] >= 0
        if isinstance(layout, Ragged):
            q, k, v = (x.view(len(x), -1, width) for x in (query[at[own]], all_keys, all_values))
            found = layout.attend(q, k, v, 0.5, window).flatten(1)
        else:
            found = attend(query[at[own]], all_keys, all_values, heads, layout, 0.5, window)
        assert torch.allclose(found[real], whole[at[own]][real], atol=1e-12)
        total = total + (found[real] * toward[at[own]][real]).sum()
    for ours, theirs in zip(torch.autograd.grad(total, (query, key, value)), wanted, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-11)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"context": 2}, "context × tensor = 2 neighbouring processes"),
        ({"processes": 4, "context": 3}, "4 are no multiple"),
        ({"processes": 2, "context": 0}, "from 1 up"),
        ({"processes": 2, "context": 2, "device": "cuda", "attention": "flex"}, "flex attention knows no keys"),
    ],
)
def test_impossible_teams(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        Machine(**fields)


def test_a_machine_alone_has_no_teams() -> None:
    assert alone(Machine(processes=4, context=2, tensor=2)) == Machine()
