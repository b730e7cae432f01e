"""Packing: several sequences end to end in one row, and the way back. Plain lists and indices; no tensors here."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import TypeVar

from burnish.errors import DataError

Item = TypeVar("Item")


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Groups of indices whose lengths sum to at most `capacity`, by best-fit decreasing; every index is in exactly one.

    Each length in turn, longest first, goes where it leaves the least room; at most 11/9 of the fewest possible groups plus a
    constant (D. S. Johnson, 1973). Indices rise in each group, groups come in the order of their first index. The same
    lengths give the same groups. Raises DataError for a length above the capacity.
    """
    for i, length in enumerate(lengths):
        if not 0 <= length <= capacity:
            raise DataError(
                f"sequence {i} has {length} tokens and cannot be packed into rows of {capacity}.\n"
                "  Raise the tokens of a row, or drop or cut sequences that are longer."
            )
    groups: list[list[int]] = []
    rooms: list[int] = []  # the distinct rooms left, rising
    groups_with: dict[int, list[int]] = {}  # room left -> its groups
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        at = bisect_left(rooms, lengths[i])
        if at == len(rooms):
            room, group = capacity, len(groups)
            groups.append([])
        else:
            room = rooms[at]
            group = groups_with[room].pop()
            if not groups_with[room]:
                del rooms[at], groups_with[room]
        groups[group].append(i)
        left = room - lengths[i]
        if left not in groups_with:
            insort(rooms, left)
            groups_with[left] = []
        groups_with[left].append(group)
    return sorted(sorted(group) for group in groups)


def positions(lengths: Iterable[int]) -> list[int]:
    """Position ids of sequences laid end to end: each counts from 0."""
    return [t for length in lengths for t in range(length)]


def boundaries(lengths: Iterable[int]) -> list[int]:
    """Where each sequence starts, and the end of the last: n + 1 offsets, the first 0 (cu_seqlens)."""
    return list(accumulate(lengths, initial=0))


def flatten(rows: Sequence[Sequence[Item]], group: Iterable[int]) -> list[Item]:
    """The rows of a group end to end."""
    return [item for i in group for item in rows[i]]


def unflatten(flat: Sequence[Item], lengths: Sequence[int]) -> list[list[Item]]:
    """The inverse of flatten: consecutive stretches of these lengths. Raises ValueError if they do not add up."""
    ends = boundaries(lengths)
    if ends[-1] != len(flat):
        raise ValueError(f"lengths add up to {ends[-1]}, but there are {len(flat)} items")
    return [list(flat[a:b]) for a, b in pairwise(ends)]
