"""Shared beginnings of prompts: by hand, and against every pair of prompts."""

from __future__ import annotations

from itertools import combinations, takewhile

from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.rollout.prefix import LEAST, STEP, beginnings, chain


def test_by_hand() -> None:
    """Two blocks of 80 behind a header of 64: the header serves five prompts, each block two of them; one prompt is the
    header itself, one has nothing in common. 64 and 64 + 80 are multiples of 16, so nothing is lost to the steps.
    """
    header, a, b = tuple(range(64)), tuple(range(100, 180)), tuple(range(200, 280))
    prompts = [header + a + (1, 2), header + b + (3,), header + a + (4,), (9,) * 200, header + b + (5,), (*header, 6)]
    found = beginnings(prompts)
    assert [p and (p.length, p.users) for p in found.prefix] == [(144, 2), (144, 2), (144, 2), None, (144, 2), (64, 5)]
    assert [p.parent.length for p in found.prefix[:3] if p and p.parent] == [64, 64, 64]
    assert found.prefix[0] is found.prefix[2]
    assert [p.length for p in chain(found.prefix[0])] == [144, 64]
    assert found.order == (3, 5, 0, 2, 1, 4)


def test_a_prompt_keeps_a_token_of_its_own() -> None:
    """The second prompt is the first and 32 tokens more: 64 tokens are alike, and the first computes its last itself."""
    prompts = [tuple(range(64)), tuple(range(96))]
    assert [p and p.length for p in beginnings(prompts).prefix] == [48, 48]
    assert beginnings([]).order == ()
    assert beginnings([(1,)] * 3).prefix == (None, None, None)


blocks = st.lists(st.integers(0, 2), max_size=14)


@given(st.lists(st.tuples(blocks, st.integers(1, STEP + 3)), max_size=9))
@settings(max_examples=80, deadline=None)
def test_laws(drawn: list[tuple[list[int], int]]) -> None:
    """Prompts of blocks of STEP tokens and an end of their own."""
    prompts = [
        tuple(x for block in part for x in [block] * STEP) + (50 + i,) * end for i, (part, end) in enumerate(drawn)
    ]
    found = beginnings(prompts)
    assert sorted(found.order) == list(range(len(prompts)))
    assert beginnings(prompts).order == found.order
    for prompt, longest in zip(prompts, found.prefix, strict=True):
        for prefix in chain(longest):
            assert prompt[: prefix.length] == prefix.tokens
            assert prefix.length < len(prompt)
            assert prefix.length - (prefix.parent.length if prefix.parent else 0) >= LEAST
            members = [
                i for i, p in enumerate(prompts) if len(p) > prefix.length and p[: prefix.length] == prefix.tokens
            ]
            assert prefix.users == len(members) >= 2
            places = [found.order.index(i) for i in members]
            assert max(places) - min(places) == len(places) - 1
    for i, j in combinations(range(len(prompts)), 2):
        pairs = zip(prompts[i][:-1], prompts[j][:-1], strict=False)
        alike = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
        common = [p.length for p in chain(found.prefix[i]) if p in set(chain(found.prefix[j]))]
        assert max(common, default=0) > alike - STEP - LEAST
