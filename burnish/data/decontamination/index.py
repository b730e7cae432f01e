"""The index over the test items: every window of theirs, where it stands, and how to find it by a 64-bit hash.

Its size depends on the tests alone. A window is what its tokens are: windows are told apart by their tokens when the
index is built, and a hash only leads to candidates, whose tokens a kernel compares before it believes them.

Shapes: N token positions of all fields, F fields with windows, G distinct windows, I items, S whole short fields.
Every field stands behind one empty position, so that a position's neighbour never belongs to another field.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from burnish.data.decontamination.items import Item
from burnish.data.decontamination.rule import Overlap

FIELD, ITEM, WEIGHT, GRAM = range(4)  # columns of Arrays.place_N
APART_BYTES = 16  # separators that a kernel compares a block with
SEPARATOR = 0xFF  # a byte that no UTF-8 text holds stands for everything between tokens
ALONE = np.uint32(1 << 31)
APART = np.uint32(1 << 30)
BASE = np.uint64(0x9E3779B97F4A7C15)
MIX = np.uint64(0xD6E8FEB86659FD93)
LENGTH = np.uint64(0xA0761D6478BD642F)
UPPER = np.uint64(0xFFFFFFFF00000000)
MASKS = np.array([(1 << (8 * n)) - 1 for n in range(8)] + [(1 << 64) - 1], np.uint64)
_IDF_UNIT = 1 << 20
_EXACT = 1 << 53

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Ints32 = NDArray[np.int32]
Words = NDArray[np.uint64]


class Grams(NamedTuple):
    """The distinct windows, by rising hash.

    hash_G, length_G: hash, and tokens of the window. posts_G, posts: where it stands in the tests, positions falling.
    slots, bits:      hash table of windows (open addressing, 0 empty; the upper half of the hash, and the number of the first
                      window that has it, plus one, in the lower 32 bits) and the filter of their parts before it.
    lengths, steps:   the lengths in use, rising, and how far apart parts of windows are looked up in the filter. With n tokens in
                      a window and steps of s, parts of n - s + 1 tokens make it certain that every window holds one.
    """

    hash_G: Words
    length_G: Ints32
    posts_G: Ints
    posts: Ints32
    slots: Words
    bits: Words
    lengths: Ints32
    steps: Ints32


class Shorts(NamedTuple):
    """The prompt fields of items without windows, by rising hash.

    start_S, length_S: first position, tokens. item_S, number_S: the item, and the number of the field in it.
    most: tokens of the longest.
    """

    hash_S: Words
    start_S: Ints
    length_S: Ints32
    item_S: Ints32
    number_S: Ints32
    most: int


class Folding(NamedTuple):
    """What characters fold to.

    lower:  by byte: the folded ASCII byte, or SEPARATOR. apart: the ASCII bytes between tokens, filled up with SEPARATOR.
    points: by code point: what it folds to, with ALONE or APART.
    wide:   True when every text goes by code points: ASCII characters can be tokens of their own, or `apart` cannot hold them.
    """

    lower: Bytes
    apart: Bytes
    points: NDArray[np.uint32]
    wide: bool


class Arrays(NamedTuple):
    """The index as arrays, in the form that kernels take.

    text, token_N:    the folded tokens as UTF-8, one after the other, and where each begins (N + 1 offsets).
    place_N:          [N, 4], so that what belongs to one position is read together:
                      field  its number, -1 between fields and in short ones; item  the field's
                      weight inverse document frequency of the token in units of 2^-20: ln(1 + fields / fields with the token)
                      gram   the window that starts here, or -1
    start_F, item_F, number_F: first position, item, and number of the field in its item.
    share_F, whole_I: a covered token adds share_F to its item; whole_I is what the item has in all. Their ratio is the score.
    weighed_I, test_I, short_I: sum of the weights; number of the test; True for items without windows.
    grams, shorts:    the windows, and the fields of items without any.
    keep:             hash bits that count; all but in tests that want collisions.
    folding:          how a text is folded before it is cut.
    """

    text: Bytes
    token_N: Ints
    place_N: Ints32
    start_F: Ints
    item_F: Ints32
    number_F: Ints32
    share_F: Ints
    whole_I: Ints
    weighed_I: Ints
    test_I: Ints32
    short_I: NDArray[np.bool_]
    grams: Grams
    shorts: Shorts
    keep: np.uint64
    folding: Folding

    @property
    def field_N(self) -> Ints32:
        """The field of each position."""
        return self.place_N[:, FIELD]

    @property
    def weight_N(self) -> Ints32:
        """The weight of each position's token."""
        return self.place_N[:, WEIGHT]

    @property
    def gram_N(self) -> Ints32:
        """The window that starts at each position."""
        return self.place_N[:, GRAM]


class _Fields:
    """Fields as they are read, before they are arrays."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.vocabulary: defaultdict[str, int] = defaultdict(count().__next__)
        self.vocabulary[""]
        self.start: list[int] = []
        self.length: list[int] = []
        self.item: list[int] = []
        self.number: list[int] = []
        self.window: list[int] = []

    def add(self, tokens: Sequence[str], item: int, number: int, window: int) -> None:
        self.ids.append(0)
        self.start.append(len(self.ids))
        self.length.append(len(tokens))
        self.item.append(item)
        self.number.append(number)
        self.window.append(window)
        self.ids.extend(map(self.vocabulary.__getitem__, tokens))


def build(items: Sequence[Item], rule: Overlap, *, hash_bits: int = 64) -> Arrays:
    """The index over the items. hash_bits below 64 make different windows share hashes; results stay the same."""
    tests = {test: i for i, test in enumerate(dict.fromkeys(item.test for item in items))}
    long, short = _Fields(), _Fields()
    short.vocabulary = long.vocabulary
    for place, item in enumerate(items):
        fields = rule.tokens_of(item.fields(rule))
        windows = [rule.window(tokens) for tokens in fields]
        kept = [number for number, tokens in enumerate(fields) if len(tokens) >= windows[number]]
        for number in kept:
            long.add(fields[number], place, number, windows[number])
        for number in range(0 if kept else len(item.prompt)):
            if fields[number]:
                short.add(fields[number], place, number, 0)
    ids = np.array([*long.ids, *short.ids, 0], np.int64)
    text, token_N, hash_N = _texts(list(long.vocabulary), ids)
    field_N = np.full(len(ids), -1, np.int32)
    for number, (start, length) in enumerate(zip(long.start, long.length, strict=True)):
        field_N[start : start + length] = number
    keep = np.uint64((1 << hash_bits) - 1)
    weight_N = _weights(ids, field_N, len(long.start))
    gram_N, grams = _windows(ids, hash_N, field_N, np.array(long.window, np.int64), keep)
    item_N = np.append(np.array(long.item, np.int32), np.int32(-1))[field_N]
    return Arrays(
        text=text, token_N=token_N, place_N=np.stack((field_N, item_N, weight_N, gram_N), axis=1).astype(np.int32),
        test_I=np.array([tests[item.test] for item in items], np.int32), keep=keep, folding=alphabet(rule),
        grams=grams, shorts=_shorts(short, hash_N, len(long.ids), keep), **_shares(long, weight_N, field_N, len(items)),
    )  # fmt: skip


def _texts(vocabulary: Sequence[str], ids: Ints) -> tuple[Bytes, Ints, Words]:
    """(UTF-8 of the tokens at each position, offsets, hash of each token)."""
    coded = [token.encode("utf-8", "surrogatepass") for token in vocabulary]
    length_V = np.array([len(code) for code in coded], np.int64)
    start_V = np.cumsum(length_V) - length_V
    bytes_V = np.frombuffer(b"".join(coded) + bytes(8), np.uint8)
    hash_V = token_hashes(words_of(bytes_V), start_V, length_V)
    token_N = np.concatenate(([0], np.cumsum(length_V[ids])))
    from_N = np.repeat(start_V[ids] - token_N[:-1], length_V[ids]) + np.arange(int(token_N[-1]))
    return np.concatenate((bytes_V[from_N], np.zeros(8, np.uint8))), token_N, hash_V[ids]


def words_of(data: Bytes) -> Words:
    """A view of bytes as the 64-bit word that begins at each of them; 7 bytes fewer than the data."""
    return np.ndarray((max(len(data) - 7, 0),), np.dtype("<u8"), buffer=data, strides=(1,))


def token_hashes(words: Words, start: Ints, length: Ints) -> Words:
    """The hash of every token: one multiplication per 8 bytes. The kernels compute the same."""
    hashes = length.astype(np.uint64) * LENGTH
    left = np.arange(len(start))
    at = 0
    while len(left):
        size = np.minimum(length[left] - at, 8)
        word = words[start[left] + at] & MASKS[np.maximum(size, 0)]
        mixed = (hashes[left] ^ word) * MIX
        hashes[left] = mixed ^ (mixed >> np.uint64(32))
        at += 8
        left = left[length[left] > at]
    return hashes


def finish(total: Any, length: Any, keep: np.uint64) -> Any:
    """The hash of a window from its polynomial and its number of tokens."""
    return (total + np.uint64(length * int(LENGTH) & (1 << 64) - 1)) & keep


def rolled(hashes: Words, length: int) -> Words:
    """The polynomial of every `length` neighbouring token hashes."""
    count = len(hashes) - length + 1
    total = np.zeros(max(count, 0), np.uint64)
    for step in range(length if count > 0 else 0):
        total = total * BASE + hashes[step : step + count]
    return total


def _window_ids(ids: Ints, field_N: Ints32, length: int) -> tuple[Ints, int]:
    """(which distinct window starts at each position or -1, how many there are): by tokens, never by hash.

    Two windows of k tokens, r apart and overlapping or touching, fix the window of k + r tokens; so lengths double.
    """
    known, distinct = np.where(field_N >= 0, ids, -1), int(ids.max(initial=0)) + 1
    have = 1
    while have < length:
        reach = min(have, length - have)
        after = np.full_like(known, -1)
        after[:-reach] = np.where(field_N[:-reach] == field_N[reach:], known[reach:], -1)
        valid = np.flatnonzero((known >= 0) & (after >= 0))
        pairs, number = np.unique((known[valid] << 32) | after[valid], return_inverse=True)
        known = np.full_like(known, -1)
        known[valid] = number
        distinct = len(pairs)
        have += reach
    return known, distinct


def _windows(ids: Ints, hash_N: Words, field_N: Ints32, window_F: Ints, keep: np.uint64) -> tuple[Ints32, Grams]:
    """(the window that starts at each position or -1, windows with postings, table and filter), for every length in use."""
    length_N = np.zeros(len(ids), np.int64)
    length_N[field_N >= 0] = window_F[field_N[field_N >= 0]]
    lengths = sorted(set(window_F.tolist()))
    starts, hashes = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    for length in lengths:
        whole = (length_N[: 1 - length or None] == length) & (field_N[: 1 - length or None] == field_N[length - 1 :])
        starts.append(np.flatnonzero(whole))
        hashes.append(finish(rolled(hash_N, length), length, keep)[starts[-1]])
    posts, hashed = np.concatenate(starts)[::-1], np.concatenate(hashes)[::-1]
    order = np.lexsort((-posts, hashed)) if len(lengths) > 1 else np.argsort(hashed, kind="stable")
    posts, hashed = posts[order], hashed[order]
    head = np.concatenate(([True], hashed[1:] != hashed[:-1])) if len(posts) else np.zeros(0, np.bool_)
    if not _alike(
        ids, length_N, posts, head
    ):  # windows that share a hash, which is so rare that the way there may be slow
        number = _numbers(ids, field_N, length_N, lengths)[posts]
        order = np.lexsort((-posts, number, hashed))
        posts, hashed, number = posts[order], hashed[order], number[order]
        head = np.concatenate(([True], number[1:] != number[:-1]))
    heads = np.flatnonzero(head)
    gram_N = np.full(len(ids), -1, np.int32)
    gram_N[posts] = np.cumsum(head) - 1
    parts = [_parts(hash_N, start, length, keep) for start, length in zip(starts[1:], lengths, strict=True)]
    return gram_N, Grams(
        hash_G=hashed[heads], length_G=length_N[posts[heads]].astype(np.int32), posts_G=np.append(heads, len(posts)),
        posts=posts.astype(np.int32), slots=_slots(hashed[heads]), bits=_filter(parts, len(heads)), lengths=np.array(lengths, np.int32),
        steps=np.array([step_of(length) for length in lengths], np.int32),
    )  # fmt: skip


def _alike(ids: Ints, length_N: Ints, posts: Ints, head: NDArray[np.bool_]) -> bool:
    """True if the windows at `posts` are each, token for token, the one at the last head before them."""
    others = np.flatnonzero(~head)
    first = posts[np.flatnonzero(head)[np.cumsum(head)[others] - 1]] if len(others) else posts[:0]
    here = posts[others]
    lengths = length_N[here]
    if (lengths != length_N[first]).any():
        return False
    small = ids.astype(np.int32)
    for step in range(int(lengths.max(initial=0))):
        longer = lengths > step
        if not longer.all():
            here, first, lengths = here[longer], first[longer], lengths[longer]
        if (small[here + step] != small[first + step]).any():
            return False
    return True


def _numbers(ids: Ints, field_N: Ints32, length_N: Ints, lengths: Sequence[int]) -> Ints:
    """Which distinct window starts at each position, or -1, for every length in use."""
    number_N = np.full(len(ids), -1, np.int64)
    total = 0
    for length in lengths:
        known, distinct = _window_ids(ids, np.where(length_N == length, field_N, -1).astype(np.int32), length)
        number_N[known >= 0] = known[known >= 0] + total
        total += distinct
    return number_N


def _slots(hash_G: Words) -> Words:
    """The table of windows, by the low bits of the hash."""
    heads = (
        np.flatnonzero(np.concatenate(([True], hash_G[1:] != hash_G[:-1]))) if len(hash_G) else np.zeros(0, np.int64)
    )
    size = 1 << max(4, int(2 * len(heads)).bit_length())
    slots = np.zeros(size, np.uint64)
    entries = (hash_G & UPPER) | np.arange(1, len(hash_G) + 1).astype(np.uint64)
    left, place = heads, (hash_G[heads] & np.uint64(size - 1)).astype(np.int64)
    while len(left):
        free = slots[place] == 0
        slots[place[free]] = entries[left[free]]
        lost = slots[place] != entries[left]
        left, place = left[lost], (place[lost] + 1) & (size - 1)
    return slots


def step_of(length: int) -> int:
    """How far apart the parts of windows of a length are looked up: far enough to ask seldom, with parts that are still telling."""
    return max(1, (length + 1) // 3)


def _parts(hash_N: Words, starts: Ints, length: int, keep: np.uint64) -> Words:
    """The hashes of the parts of the windows at some positions."""
    step = step_of(length)
    inside = np.zeros(len(hash_N), np.bool_)
    for shift in range(step):
        inside[starts + shift] = True
    part = length - step + 1
    hashes: Words = finish(rolled(hash_N, part), part, keep)
    return hashes[np.flatnonzero(inside)]


def _filter(parts: Sequence[Words], windows: int) -> Words:
    """A filter with two bits in one word for each part of a window, by the high bits of the hash."""
    # Two words of 64 bits for 8 windows: 1.5 % of the parts of other texts pass.
    words = 1 << max(4, (windows // 4).bit_length())
    bits = np.zeros(words, np.uint64)
    for hashes in parts:
        np.bitwise_or.at(bits, filter_word(hashes, words), filter_mask(hashes))
    return bits


def filter_word(hashes: Any, words: int) -> Any:
    """Which word of the filter a hash falls into: its highest bits."""
    return (hashes >> np.uint64(65 - words.bit_length())).astype(np.int64)


def filter_mask(hashes: Any) -> Any:
    """The two bits of a hash in its word."""
    one = np.uint64(1)
    return (one << ((hashes >> np.uint64(24)) & np.uint64(63))) | (one << ((hashes >> np.uint64(30)) & np.uint64(63)))


def _weights(ids: Ints, field_N: Ints32, fields: int) -> Ints:
    """Inverse document frequency of each position's token over the fields."""
    inside = field_N >= 0
    seen = np.sort((ids[inside] << 32) | field_N[inside])
    seen = seen[np.concatenate(([True], np.diff(seen) > 0))] if len(seen) else seen
    frequency = np.bincount(seen >> 32, minlength=int(ids.max(initial=0)) + 1)
    weight = np.round(np.log1p(fields / np.maximum(frequency, 1)) * _IDF_UNIT).astype(np.int64)
    return np.where(inside, weight[ids], 0)


def _shares(long: _Fields, weight_N: Ints, field_N: Ints32, items: int) -> dict[str, Any]:
    """Whole numbers whose ratio is the mean coverage of an item's fields.

    With lengths L_f, k fields and M a common multiple, each token of field f counts M / L_f of k M. Where k M is beyond
    what a double holds, shares are rounded down and the score is right to 12 digits.
    """
    of: dict[int, list[int]] = {}
    for number, item in enumerate(long.item):
        of.setdefault(item, []).append(number)
    share_F = np.zeros(len(long.item), np.int64)
    whole_I = np.ones(items, np.int64)
    for item, numbers in of.items():
        lengths = [long.length[number] for number in numbers]
        multiple = math.lcm(*lengths)
        if multiple * len(lengths) > _EXACT:
            multiple = _EXACT // len(lengths)
        share_F[numbers] = [multiple // length for length in lengths]
        whole_I[item] = sum(multiple // length * length for length in lengths)
    item_F = np.array(long.item, np.int32)
    inside = field_N >= 0
    weighed_I = np.bincount(item_F[field_N[inside]], weight_N[inside].astype(float), items).astype(np.int64)
    short_I = np.ones(items, np.bool_)
    short_I[item_F] = False
    return {
        "start_F": np.array(long.start, np.int64), "item_F": item_F, "number_F": np.array(long.number, np.int32),
        "share_F": share_F, "whole_I": whole_I, "weighed_I": np.maximum(weighed_I, 1), "short_I": short_I,
    }  # fmt: skip


def _shorts(short: _Fields, hash_N: Words, offset: int, keep: np.uint64) -> Shorts:
    """The short fields by hash."""
    start, lengths = np.array(short.start, np.int64) + offset, np.array(short.length, np.int64)
    short_hash = np.zeros(len(start), np.uint64)
    for length in np.unique(lengths).tolist():
        of = np.flatnonzero(lengths == length)
        for step in range(length):
            short_hash[of] = short_hash[of] * BASE + hash_N[start[of] + step]
        short_hash[of] = finish(short_hash[of], length, keep)
    order = np.argsort(short_hash, kind="stable")
    return Shorts(
        short_hash[order],
        start[order],
        lengths[order].astype(np.int32),
        np.array(short.item, np.int32)[order],
        np.array(short.number, np.int32)[order],
        max(short.length, default=0),
    )


@lru_cache(maxsize=8)
def alphabet(rule: Overlap) -> Folding:
    """What the characters of a rule's texts fold to.

    Case mappings end before U+1F000, so a table of code points is their own value from there on.
    """
    points = np.arange(0x110000, dtype=np.uint32)
    for point in range(0x1F000):
        points[point] = ord(chr(point).lower()[0])
    if not rule.separators:
        points |= ALONE
    elif rule.char_ngram or rule.code:
        for point in _special(rule):
            points[point] |= ALONE if rule.alone(chr(point)) else np.uint32(0)
    for point in map(ord, rule.separators + "\t\r\v\f"):
        if rule.apart(chr(point)):
            points[point] = APART
    ascii_ = points[:128]
    lower = np.zeros(256, np.uint8)
    lower[:128] = np.where(ascii_ & APART, SEPARATOR, ascii_ & np.uint32(0x7F))
    between = np.flatnonzero(ascii_ & APART)
    apart = np.full(APART_BYTES, SEPARATOR, np.uint8)
    apart[: len(between)] = between[:APART_BYTES]
    return Folding(lower, apart, points, bool((ascii_ & ALONE).any()) or len(between) > APART_BYTES)


def _special(rule: Overlap) -> Sequence[int]:
    from burnish.data.decontamination.rule import UNSPACED

    ranges = UNSPACED if rule.char_ngram else ()
    return [*range(128), *(point for first, last in ranges for point in range(first, last + 1))]
