"""How varied a set of texts is: distinct n-grams and near-duplicates, for the data card."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

_WORD = re.compile(r"\w+|[^\w\s]")
SHINGLE = 5
NEAR = 0.8


def diversity(texts: Iterable[str]) -> dict[str, float]:
    """distinct_1, distinct_2, distinct_3 and near_duplicate_rate of texts; all 0.0 where there are no texts.

    distinct_n is the number of different word n-grams over the number of all of them (Li et al. 2016, arXiv:1510.03055),
    lower-cased, punctuation marks being words. near_duplicate_rate is the share of texts with another text whose set of
    5-word shingles has a Jaccard similarity of 0.8 or more; a text of fewer than 5 words is one shingle.
    """
    words = [_WORD.findall(text.lower()) for text in texts]
    measured = {f"distinct_{n}": _distinct(words, n) for n in (1, 2, 3)}
    return {**measured, "near_duplicate_rate": near_duplicate_rate(words)}


def _distinct(rows: Sequence[Sequence[str]], n: int) -> float:
    seen: set[tuple[str, ...]] = set()
    total = 0
    for words in rows:
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        total += len(grams)
        seen.update(grams)
    return len(seen) / total if total else 0.0


def near_duplicate_rate(rows: Sequence[Sequence[str]], near: float = NEAR) -> float:
    """The share of tokenised texts that have a neighbour with shingle Jaccard >= `near`; exact.

    Candidates come from prefix filtering (Bayardo, Ma and Srikant 2007): with each set ordered from the rarest shingle, two
    sets of Jaccard >= t share one of the first |x| - ceil(t * |x|) + 1 shingles of x. Sets of too different sizes are passed over.
    """
    sets = [_shingles(words) for words in rows]
    near_rows = _equal_rows(sets)
    unique = {frozenset(shingles): index for index, shingles in enumerate(sets)}
    frequency = Counter(shingle for shingles in unique for shingle in shingles)
    index: dict[Hashable, list[int]] = defaultdict(list)
    similar: set[int] = set()
    for position in sorted(unique.values(), key=lambda i: len(sets[i])):
        mine = sets[position]
        ordered = sorted(mine, key=lambda s: (frequency[s], s))
        prefix = ordered[: len(mine) - _ceil(near * len(mine)) + 1]
        for other in {row for shingle in prefix for row in index[shingle]}:
            shared = len(mine & sets[other])
            if shared >= near * (len(mine) + len(sets[other]) - shared):
                similar |= {position, other}
        for shingle in prefix:
            index[shingle].append(position)
    near_rows |= {i for i, shingles in enumerate(sets) if unique[frozenset(shingles)] in similar}
    return len(near_rows) / len(rows) if rows else 0.0


def _shingles(words: Sequence[str]) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + SHINGLE]) for i in range(max(len(words) - SHINGLE + 1, 1))}


def _equal_rows(sets: Sequence[set[tuple[str, ...]]]) -> set[int]:
    by_content: dict[frozenset[tuple[str, ...]], list[int]] = defaultdict(list)
    for index, shingles in enumerate(sets):
        by_content[frozenset(shingles)].append(index)
    return {index for indices in by_content.values() if len(indices) > 1 for index in indices}


def _ceil(value: float) -> int:
    """The smallest whole number not below the value, safe against 0.8 * 5 = 4.000000000000001."""
    return -int(-(value - 1e-9) // 1)
