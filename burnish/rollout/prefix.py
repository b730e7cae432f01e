"""What prompts begin with alike: a tree of shared beginnings, so that each is computed once.

Few-shot blocks, instructions and template headers are the same tokens at the start of many prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Prompts are compared in steps of this many tokens, so a shared beginning is found up to one step less.
STEP = 16
# A beginning is worth its own computation from this many tokens beyond the next shorter one.
LEAST = 48


@dataclass(slots=True, eq=False)
class Prefix:
    """Tokens that at least two prompts begin with.

    tokens: all of them, from the start of the prompt.
    parent: the longest shorter beginning that still more prompts share, or None.
    users:  how many prompts begin with it.
    """

    tokens: tuple[int, ...]
    parent: Prefix | None
    users: int

    @property
    def length(self) -> int:
        """How many tokens."""
        return len(self.tokens)


def chain(prefix: Prefix | None) -> Iterator[Prefix]:
    """A beginning and the shorter ones inside it."""
    while prefix is not None:
        yield prefix
        prefix = prefix.parent


@dataclass(frozen=True, slots=True)
class Beginnings:
    """The shared beginnings of a list of prompts.

    prefix: for each prompt the longest, or None; always shorter than the prompt, whose end has to be computed anyway.
    order:  the prompts' indices, those that share a beginning side by side, otherwise as given.
    """

    prefix: tuple[Prefix | None, ...]
    order: tuple[int, ...]


def beginnings(prompts: Sequence[tuple[int, ...]]) -> Beginnings:
    """Find them: each prompt is read once, and only as far as another begins alike."""
    found: list[Prefix | None] = [None] * len(prompts)
    order: list[int] = []
    # Groups of prompts whose first `depth` tokens are the same, and the longest beginning known for them.
    groups: list[tuple[list[int], int, Prefix | None]] = [(list(range(len(prompts))), 0, None)]
    while groups:
        group, depth, parent = groups.pop()
        alike = _alike(prompts, group, depth)
        while len(alike) == 1 and len(alike[0]) == len(group):
            depth += STEP
            alike = _alike(prompts, group, depth)
        prefix = parent
        if len(group) > 1 and depth - (parent.length if parent else 0) >= LEAST:
            prefix = Prefix(prompts[group[0]][:depth], parent, len(group))
        deeper = {i for part in alike for i in part}
        for i in group:
            found[i] = prefix
            if i not in deeper:
                order.append(i)
        groups += [(part, depth + STEP, prefix) for part in reversed(alike)]
    return Beginnings(tuple(found), tuple(order))


def _alike(prompts: Sequence[tuple[int, ...]], group: Sequence[int], depth: int) -> list[list[int]]:
    """Parts of a group, of two prompts or more, that go on with the same STEP tokens and do not end with them."""
    parts: dict[tuple[int, ...], list[int]] = {}
    for i in group:
        if len(prompts[i]) > depth + STEP:
            parts.setdefault(prompts[i][depth : depth + STEP], []).append(i)
    return [part for part in parts.values() if len(part) > 1]
