"""The matching kernel in NumPy alone: the same records as the compiled one, by sorting instead of marking.

Shapes: T tokens of a part of the data, P windows that pass, H hits with their postings.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from burnish.data.decontamination.findings import ITEM_HITS, ROW_HITS
from burnish.data.decontamination.index import (
    ALONE,
    APART,
    BASE,
    MASKS,
    SEPARATOR,
    Arrays,
    Bytes,
    Ints,
    Ints32,
    Words,
    filter_mask,
    filter_word,
    finish,
    step_of,
    token_hashes,
    words_of,
)  # fmt: skip

_POSTINGS_AT_ONCE = 4_000_000
_POINT = np.uint32((1 << 21) - 1)


class Kernel:
    """Asks the index with array operations. Several threads may use one."""

    def __init__(self, index: Arrays, tests: int, coverage: float) -> None:
        self.index = index
        self.tests = tests
        self.coverage = coverage
        self.weights = np.concatenate(([0], np.cumsum(index.weight_N, dtype=np.int64)))

    def ask(
        self, data: Bytes, turns: Ints, rows: Ints, sources: Ints32, names: int
    ) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """Records of rows and of items, as ROW_HITS and ITEM_HITS, rows numbered from 0.

        data, turns: UTF-8 and the byte offsets of turns. rows: offsets of rows among the turns. sources: codes below `names`.
        item_from and item_to of the rows' records are positions of the index; of short ones, -1 and the short field.
        """
        inside = turns[rows[0] : rows[-1] + 1]
        text, bounds = fold(data[inside[0] : inside[-1]], inside - inside[0], self.index)
        start_T, size_T, turn_T = cut(text, bounds)
        turn_row = np.repeat(np.arange(len(rows) - 1), np.diff(rows))
        hash_T = token_hashes(words_of(text), start_T, size_T)
        tokens = Tokens(text, start_T, size_T, hash_T, turn_T, turn_row, rows - rows[0])
        pairs = [self._windows(tokens), *self._shorts(tokens)]
        return self._records([pair for pair in pairs if len(pair)], sources)

    def _windows(self, tokens: Tokens) -> NDArray[np.void]:
        """A record per row and item that share a window, kind ROW_HITS with the item's own numbers."""
        found = [hits(self.index, tokens, int(length)) for length in self.index.grams.lengths]
        if not found or not sum(len(at) for at, _ in found):
            return np.zeros(0, ROW_HITS)
        at = np.concatenate([part[0] for part in found])
        gram = np.concatenate([part[1] for part in found])
        order = np.argsort(at, kind="stable")
        at, gram = at[order], gram[order]
        row = tokens.row_T[at]
        count = np.diff(self.index.grams.posts_G)[gram]
        parts = []
        first = 0
        for stop in _cuts(row, count):
            part = slice(first, stop)
            parts.append(_pairs(self.index, self.weights, tokens, at[part], gram[part], row[part]))
            first = stop
        return np.concatenate(parts)

    def _shorts(self, tokens: Tokens) -> Iterator[NDArray[np.void]]:
        """A record per row and short item that a turn equals."""
        index = self.index
        if not len(index.shorts.hash_S) or not len(tokens.turn_T):
            return
        head = np.flatnonzero(np.concatenate(([True], np.diff(tokens.turn_T) > 0)))
        count = np.diff(np.concatenate((head, [len(tokens.turn_T)])))
        for length in np.unique(index.shorts.length_S):
            at = head[count == length]
            if not len(at):
                continue
            hashed = finish(_rolled_at(tokens.hash_T, at, int(length)), int(length), index.keep)
            low = np.searchsorted(index.shorts.hash_S, hashed)
            many = np.searchsorted(index.shorts.hash_S, hashed, side="right") - low
            at, place = np.repeat(at, many), np.repeat(low, many) + _inside(many)
            fits = index.shorts.length_S[place] == length
            at, place = at[fits], place[fits]
            same = same_tokens(index, index.shorts.start_S[place], tokens, at, int(length))
            at, place = at[same], place[same]
            made = np.zeros(len(at), ROW_HITS)
            made["row"], made["item"], made["short"] = tokens.row_T[at], index.shorts.item_S[place], True
            made["test"] = index.test_I[made["item"]]
            made["coverage"] = made["idf"] = 1.0
            made["longest"], made["item_from"], made["item_to"] = length, -1, place
            made["turn"] = tokens.turn_in_row(at)
            # One record for a row and item: the first turn, of its fields the first by hash.
            order = np.lexsort((place, made["turn"], made["item"], made["row"]))
            yield made[order][_heads(made["row"][order], made["item"][order])]

    def _records(self, pairs: list[NDArray[np.void]], sources: Ints32) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """Records by row and test, and by source and item, out of records by row and item."""
        if not pairs:
            return np.zeros(0, ROW_HITS), np.zeros(0, ITEM_HITS)
        pair = np.concatenate(pairs)
        pair["source"] = sources[pair["row"]]
        pair = pair[np.lexsort((pair["turn"], pair["item"], pair["row"]))]
        pair = pair[_heads(pair["row"], pair["item"])]
        best = pair[np.lexsort((pair["item"], -pair["coverage"], pair["short"], pair["test"], pair["row"]))]
        at = np.flatnonzero(_heads(best["row"], best["test"], best["short"]))
        rows = best[at].copy()
        for column in ("longest", "idf"):
            rows[column] = np.maximum.reduceat(best[column], at)
        return rows, self._items(pair)

    def _items(self, pair: NDArray[np.void]) -> NDArray[np.void]:
        pair = pair[np.lexsort((pair["row"], -pair["coverage"], pair["item"], pair["source"]))]
        at = np.flatnonzero(_heads(pair["source"], pair["item"]))
        found = np.zeros(len(at), ITEM_HITS)
        for column in ("source", "item", "test", "short", "coverage", "row"):
            found[column] = pair[column][at]
        for column in ("longest", "idf"):
            found[column] = np.maximum.reduceat(pair[column], at)
        found["rows"] = np.diff(np.concatenate((at, [len(pair)])))
        found["over"] = np.add.reduceat((pair["coverage"] > self.coverage).astype(np.int64), at)
        return found


class Tokens:
    """The tokens of a part of the data: where each stands in the folded text, its hash, its turn; rows of turns."""

    def __init__(
        self, text: Bytes, start_T: Ints, size_T: Ints, hash_T: Words, turn_T: Ints, turn_row: Ints, rows: Ints
    ) -> None:
        self.text, self.start_T, self.size_T, self.hash_T, self.turn_T = text, start_T, size_T, hash_T, turn_T
        self.row_T = turn_row[turn_T]
        self.turn_row, self.rows = turn_row, rows

    def turn_in_row(self, at: Ints) -> Ints:
        """The number of a token's turn in its row."""
        return self.turn_T[at] - self.rows[self.row_T[at]]


def fold(data: Bytes, bounds: Ints, index: Arrays) -> tuple[Bytes, Ints]:
    """(folded bytes with 0xFF for everything between tokens and 8 bytes more, bounds of the turns in them).

    Turns of ASCII alone are folded byte by byte, the others by code points, all of them at once.
    """
    tail = np.full(8, SEPARATOR, np.uint8)
    sizes = np.diff(bounds)
    other = np.flatnonzero(np.diff(np.concatenate(([0], np.cumsum(data >= 128)))[bounds]))
    if index.folding.wide:
        other = np.flatnonzero(sizes)
    plain = index.folding.lower[data]
    if not len(other):
        return np.concatenate((plain, tail)), bounds
    raw = np.concatenate([data[start:stop] for start, stop in zip(bounds[other], bounds[other + 1], strict=True)])
    text, cuts = _fold_points(raw, np.concatenate(([0], np.cumsum(sizes[other]))), index)
    pieces: list[Bytes] = []
    done = 0
    for number, turn in enumerate(other.tolist()):
        pieces += [plain[done : bounds[turn]], text[cuts[number] : cuts[number + 1]]]
        done = int(bounds[turn + 1])
    sizes[other] = np.diff(cuts)
    return np.concatenate((*pieces, plain[done:], tail)), np.concatenate(([0], np.cumsum(sizes)))


def _fold_points(data: Bytes, bounds: Ints, index: Arrays) -> tuple[Bytes, Ints]:
    """(folded bytes, bounds of the turns in them); around a character that is a token alone stand separators."""
    points = index.folding.points[np.frombuffer(data.tobytes().decode("utf-8").encode("utf-32-le"), np.uint32)]
    heads = np.concatenate(([0], np.cumsum((data & 0xC0) != 0x80)))
    alone = (points & ALONE) != 0
    copies = np.where(alone, 3, 1)
    spread = np.repeat(points & _POINT, copies)
    apart = np.repeat((points & APART) != 0, copies)
    middle = (np.cumsum(copies) - copies)[alone]
    apart[middle] = apart[middle + 2] = True
    spread[apart] = 0
    length = 1 + (spread >= 0x80).astype(np.int64) + (spread >= 0x800) + (spread >= 0x10000)
    end = np.cumsum(length)
    coded = spread.astype("<u4").tobytes().decode("utf-32-le").encode("utf-8")
    text = np.frombuffer(coded, np.uint8).copy()
    text[(end - length)[apart]] = SEPARATOR
    begin = np.concatenate(([0], np.cumsum(copies)))[heads[bounds]]
    return text, np.concatenate(([0], end))[begin]


def cut(text: Bytes, bounds: Ints) -> tuple[Ints, Ints, Ints]:
    """(start, length, turn) of every token."""
    inside = text[: bounds[-1]] != SEPARATOR
    edge = np.zeros(len(inside) + 1, np.bool_)
    edge[bounds] = True
    before = np.concatenate(([False], inside[:-1])) if len(inside) else inside
    start = np.flatnonzero(inside & (~before | edge[:-1]))
    after = np.concatenate((inside[1:], [False])) if len(inside) else inside
    stop = np.flatnonzero(inside & (~after | edge[1:])) + 1
    return start, stop - start, np.searchsorted(bounds, start, side="right") - 1


def hits(index: Arrays, tokens: Tokens, length: int) -> tuple[Ints, Ints]:
    """(first token, window) of every window of the data that stands in the tests, exactly."""
    step = step_of(length)
    part = length - step + 1
    count = len(tokens.hash_T) - length + 1
    if count < 1:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    # Every window holds one of the parts that begin `step` apart.
    first = np.arange(0, len(tokens.hash_T) - part + 1, step)
    hashed = finish(_rolled_at(tokens.hash_T, first, part), part, index.keep)
    mask = filter_mask(hashed)
    passed = first[(index.grams.bits[filter_word(hashed, len(index.grams.bits))] & mask) == mask]
    at = (passed[:, None] + np.arange(1 - step, 1)).ravel()
    at = at[(at >= 0) & (at < count)]
    at = at[tokens.turn_T[at] == tokens.turn_T[at + length - 1]]
    hashed = finish(_rolled_at(tokens.hash_T, at, length), length, index.keep)
    low = np.searchsorted(index.grams.hash_G, hashed)
    many = np.searchsorted(index.grams.hash_G, hashed, side="right") - low
    at, gram = np.repeat(at, many), np.repeat(low, many) + _inside(many)
    fits = index.grams.length_G[gram] == length
    at, gram = at[fits], gram[fits]
    same = same_tokens(index, index.grams.posts[index.grams.posts_G[gram]].astype(np.int64), tokens, at, length)
    return at[same], gram[same]


def same_tokens(index: Arrays, position: Ints, tokens: Tokens, at: Ints, length: int) -> NDArray[np.bool_]:
    """Whether `length` tokens are, byte for byte, those of the index from a position on."""
    same = np.ones(len(at), np.bool_)
    ours, theirs = words_of(index.text), words_of(tokens.text)
    for step in range(length):
        left = np.flatnonzero(same)
        begin = index.token_N[position[left] + step]
        size = index.token_N[position[left] + step + 1] - begin
        start = tokens.start_T[at[left] + step]
        same[left] = tokens.size_T[at[left] + step] == size
        done = 0
        while len(left := left[keep := same[left] & (size > done)]):
            begin, size, start = begin[keep], size[keep], start[keep]
            mask = MASKS[np.minimum(size - done, 8)]
            same[left] = (ours[begin + done] & mask) == (theirs[start + done] & mask)
            done += 8
    return same


def _pairs(index: Arrays, weights: Ints, tokens: Tokens, at: Ints, gram: Ints, row: Ints) -> NDArray[np.void]:
    """A record per row and item from the hits of some rows."""
    many = np.diff(index.grams.posts_G)[gram]
    token, row = np.repeat(at, many), np.repeat(row, many)
    q = index.grams.posts[np.repeat(index.grams.posts_G[gram], many) + _inside(many)].astype(np.int64)
    item = index.item_F[index.field_N[q]].astype(np.int64)
    made = _covered(index, weights, row, item, q)
    # Stretches: hits one after the other in both texts. Their number counts up in the data and in the item alike.
    # A token's number counts up across turns: windows of two turns are at least a window apart, or of length 1 and cut here.
    order = np.lexsort((token, token - q, row))
    row, item, q, token = row[order], item[order], q[order], token[order]
    turn = tokens.turn_T[token]
    goes_on = (np.diff(token) == 1) & (np.diff(q) == 1) & (turn[1:] == turn[:-1])
    goes_on &= index.field_N[q[1:]] == index.field_N[q[:-1]]
    head = np.flatnonzero(np.concatenate(([True], ~goes_on)))
    run = np.diff(np.concatenate((head, [len(row)])))
    last = head + run - 1
    length = index.grams.length_G[index.gram_N[q[last]]]
    # Of equally long stretches the one that ends first in the row, then the one that stands last in the tests.
    best = np.lexsort((-q[last], token[last], -run - length, item[last], row[last]))
    best = best[_heads(row[last][best], item[last][best])]
    end, run, length = last[best], run[best], length[best]
    made["longest"] = run + length - 1
    made["item_to"] = q[end] + length
    made["item_from"] = made["item_to"] - made["longest"]
    made["turn"] = tokens.turn_in_row(token[end])
    made["row_from"] = token[end] - run + 1 - np.searchsorted(tokens.turn_T, tokens.turn_T[token[end]])
    return made


def _covered(index: Arrays, weights: Ints, row: Ints, item: Ints, q: Ints) -> NDArray[np.void]:
    """A record per row and item, in their order, with what the union of the windows covers."""
    order = np.lexsort((q, item, row))
    row, item, q = row[order], item[order], q[order]
    fresh = _heads(row, q)
    row, item, q = row[fresh], item[fresh], q[fresh]
    field = index.field_N[q]
    same = (row[1:] == row[:-1]) & (field[1:] == field[:-1])
    adds = index.grams.length_G[index.gram_N[q]].astype(np.int64)
    adds[:-1][same] = np.minimum(adds[:-1][same], np.diff(q)[same])
    at = np.flatnonzero(_heads(row, item))
    covered = np.add.reduceat(adds * index.share_F[field], at)
    weighed = np.add.reduceat(weights[q + adds] - weights[q], at)
    made = np.zeros(len(at), ROW_HITS)
    made["row"], made["item"], made["test"] = row[at], item[at], index.test_I[item[at]]
    made["coverage"] = covered / index.whole_I[item[at]]
    made["idf"] = weighed / index.weighed_I[item[at]]
    return made


def _rolled_at(hash_T: Words, at: Ints, length: int) -> Words:
    """The polynomial of the `length` token hashes from each place on."""
    total = np.zeros(len(at), np.uint64)
    for step in range(length):
        total = total * BASE + hash_T[at + step]
    return total


def _inside(many: Ints) -> Ints:
    """0, 1, … below each count, one after the other."""
    return np.arange(int(many.sum())) - np.repeat(np.cumsum(many) - many, many)


def _heads(*keys: NDArray[np.generic]) -> NDArray[np.bool_]:
    """True where any of the sorted keys differs from the one before."""
    head = np.zeros(len(keys[0]), np.bool_)
    head[:1] = True
    for key in keys:
        head[1:] |= key[1:] != key[:-1]
    return head


def _cuts(row: Ints, many: Ints) -> Iterator[int]:
    """Ends of parts with a bounded number of postings, each at the end of a row."""
    ends = np.concatenate((np.flatnonzero(np.diff(row)) + 1, [len(row)]))
    sums = np.cumsum(many)
    done = 0
    for i, end in enumerate(ends):
        following = int(sums[ends[i + 1] - 1]) if i + 1 < len(ends) else None
        if following is None or following - done > _POSTINGS_AT_ONCE:
            done = int(sums[end - 1])
            yield int(end)
