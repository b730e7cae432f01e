"""The matching kernel, compiled by numba: training rows out of Arrow buffers, against the index, in one pass.

A user turn is folded, cut and probed (`kernel_tokens`) over scratch memory that is used again. Windows that pass the filter are
looked up in the table and their tokens compared byte by byte; only then are they hits. A hit's postings mark what they cover in the
items, with the number of the row as the mark, so that nothing is cleared between rows. At the end of a row its items are turned
into records. No Python object is touched, and the GIL is not held.

Importing this module needs numba, so it is imported inside functions alone.
"""

from __future__ import annotations

from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from burnish.data.decontamination.findings import ITEM_HITS, ROW_HITS
from burnish.data.decontamination.index import (
    BASE,
    FIELD,
    GRAM,
    ITEM,
    SEPARATOR,
    UPPER,
    WEIGHT,
    Arrays,
    Bytes,
    Ints,
    Ints32,
    Words,
    words_of,
)  # fmt: skip
from burnish.data.decontamination.kernel_tokens import (
    Int,
    compiled,
    cut,
    entry,
    finish,
    fold,
    hash_tokens,
    listed,
    prefetch,
    probe,
)

TOKENS = 1 << 14  # cut at a time; the last few are carried over to the next lot
HIT, LAST, RUN, COVER = range(4)  # columns of Scratch.marks_N
SEEN, COVERED, WEIGHED, LONGEST, END, TURN, FROM = range(7)  # columns of Scratch.state_I
_ONE = np.uint64(1)


class Scratch(NamedTuple):
    """Memory of one thread. `epoch`: [0] marks the row in hand, [1] counts its token positions.

    low, words: a folded turn, and its 64-bit words. starts, sizes, hashes: its tokens. samples: parts that passed the filter, then slots.
    place, found: windows to follow.
    marks_N: [N, 4] by position, read together: the row (its mark) that last hit the window here, where in the row that was,
    how many windows in a row led up to it, the row that last covered the token here.
    state_I: [I, 7] by item, of the row in hand: its mark, covered, weighed, longest stretch, its end, its turn, its first token.
    seen_T, record_T: two kinds a test, windows and short: the row in hand, and its record. held: records of items by source, `touched` which of them are in use.
    """

    low: Bytes
    words: Words
    starts: Ints32
    sizes: Ints32
    hashes: Words
    samples: Ints32
    place: Ints32
    found: Words
    epoch: Ints
    marks_N: Ints32
    state_I: Ints
    items: Ints32
    seen_T: Ints32
    record_T: Ints32
    held: NDArray[np.void]
    touched: Ints


def scratch(index: Arrays, longest_turn: int, sources: int, tests: int) -> Scratch:
    """Memory for turns of at most `longest_turn` bytes and rows of `sources` sources."""
    positions, items = len(index.field_N), len(index.test_I)
    low = np.zeros(3 * longest_turn + 256, np.uint8)
    room = TOKENS + 2 * int(index.grams.lengths.max(initial=1)) + 128
    return Scratch(
        low, words_of(low), np.zeros(room, np.int32), np.zeros(room, np.int32), np.zeros(room, np.uint64),
        np.zeros(room, np.int32), np.zeros(room, np.int32), np.zeros(room, np.uint64), np.zeros(2, np.int64),
        np.zeros((positions, 4), np.int32), np.zeros((items, 7), np.int64), np.zeros(items, np.int32),
        np.zeros(2 * tests, np.int32), np.zeros(2 * tests, np.int32),
        np.zeros(sources * items, ITEM_HITS), np.zeros(sources * items, np.int64),
    )  # fmt: skip


@compiled
def _same(index: Arrays, position: Int, low: Bytes, starts: Ints32, sizes: Ints32, first: Int, count: Int) -> bool:
    """True when `count` tokens of a turn are, byte for byte, those of the index from a position on."""
    for step in range(count):
        begin = index.token_N[position + step]
        size = np.int64(sizes[first + step])
        if index.token_N[position + step + 1] - begin != size:
            return False
        start = np.int64(starts[first + step])
        for i in range(size):
            if low[start + i] != index.text[begin + i]:
                return False
    return True


@compiled
def _fetch(index: Arrays, scratch: Scratch, known: Int) -> None:
    """Have the processor fetch what is known about some windows, all of them at the same time."""
    grams = index.grams
    for at in range(known):
        gram = np.int64(grams.slots[scratch.samples[at]] & ~UPPER) - 1
        prefetch(grams.hash_G, gram)
        prefetch(grams.length_G, gram)
        prefetch(grams.posts_G, gram)
    for at in range(known):
        gram = np.int64(grams.slots[scratch.samples[at]] & ~UPPER) - 1
        prefetch(grams.posts, grams.posts_G[gram])
    for at in range(known):
        gram = np.int64(grams.slots[scratch.samples[at]] & ~UPPER) - 1
        position = np.int64(grams.posts[grams.posts_G[gram]])
        prefetch(index.token_N, position)
        prefetch(index.place_N, position)
        prefetch(scratch.marks_N, position)


@compiled
def _goes_on(index: Arrays, scratch: Scratch, position: Int, first: Int, length: Int) -> Int:
    """The number of the window at a position if a turn's token begins it and all but the last token are known to be equal, or -1."""
    gram = np.int64(index.place_N[position, GRAM])
    if gram < 0 or index.grams.length_G[gram] != length:
        return np.int64(-1)
    last = length - 1
    same = _same(index, position + last, scratch.low, scratch.starts, scratch.sizes, first + last, np.int64(1))
    return gram if same else np.int64(-1)


@compiled
def _find(index: Arrays, scratch: Scratch, hashed: np.uint64, slot: np.uint64, first: Int, length: Int) -> Int:
    """The number of the window that starts at a turn's token, or -1."""
    size = np.uint64(len(index.grams.slots) - 1)
    while index.grams.slots[slot]:
        gram = np.int64(index.grams.slots[slot] & ~UPPER) - 1
        if index.grams.hash_G[gram] == hashed:
            while gram < len(index.grams.hash_G) and index.grams.hash_G[gram] == hashed:
                if index.grams.length_G[gram] == length:
                    position = np.int64(index.grams.posts[index.grams.posts_G[gram]])
                    if _same(index, position, scratch.low, scratch.starts, scratch.sizes, first, length):
                        return gram
                gram += 1
            return np.int64(-1)
        slot = (slot + _ONE) & size
    return np.int64(-1)


@compiled
def _mark(index: Arrays, scratch: Scratch, gram: Int, place: Int, turn: Int, token: Int, count: Int) -> Int:
    """Count a hit for every posting of a window. place: position in the row. Returns how many items are open.

    Postings fall, so that a position's left neighbour still tells of the window before when it is its turn.
    """
    epoch = np.int32(scratch.epoch[0])
    length = np.int64(index.grams.length_G[gram])
    marks, state = scratch.marks_N, scratch.state_I
    for at in range(index.grams.posts_G[gram], index.grams.posts_G[gram + 1]):
        prefetch(index.place_N, np.int64(index.grams.posts[at]))
        prefetch(marks, np.int64(index.grams.posts[at]))
    for at in range(index.grams.posts_G[gram], index.grams.posts_G[gram + 1]):
        q = np.int64(index.grams.posts[at])
        item = np.int64(index.place_N[q, ITEM])
        if state[item, SEEN] != epoch:
            state[item, SEEN] = epoch
            state[item, COVERED] = state[item, WEIGHED] = state[item, LONGEST] = 0
            scratch.items[count] = item
            count += 1
        goes_on = marks[q - 1, HIT] == epoch
        run = np.int32(1)
        if goes_on and marks[q - 1, LAST] == place - 1:
            run += marks[q - 1, RUN]
        marks[q, LAST] = place
        marks[q, RUN] = run
        if run + length - 1 > state[item, LONGEST]:
            state[item, LONGEST] = run + length - 1
            state[item, END] = q + length
            state[item, TURN] = turn
            state[item, FROM] = token - run + 1
        if marks[q, HIT] != epoch:
            marks[q, HIT] = epoch
            fresh = 0
            # What the window one place before covered needs no second look.
            for t in range(q + length - 1 if goes_on else q, q + length):
                if marks[t, COVER] != epoch:
                    marks[t, COVER] = epoch
                    fresh += 1
                    state[item, WEIGHED] += index.place_N[t, WEIGHT]
            state[item, COVERED] += fresh * index.share_F[index.place_N[q, FIELD]]
    return count


@compiled
def _whole(index: Arrays, scratch: Scratch, tokens: Int, turn: Int, count: Int) -> Int:
    """Open the short items one of whose fields is the turn, token for token. Returns how many items are open."""
    total = np.uint64(0)
    for t in range(tokens):
        total = total * BASE + scratch.hashes[t]
    hashed = finish(total, tokens, index.keep)
    epoch = np.int32(scratch.epoch[0])
    at: Any = np.int64(0)
    above: Any = len(index.shorts.hash_S)
    while at < above:
        middle = (at + above) // 2
        if index.shorts.hash_S[middle] < hashed:
            at = middle + 1
        else:
            above = middle
    while at < len(index.shorts.hash_S) and index.shorts.hash_S[at] == hashed:
        item = np.int64(index.shorts.item_S[at])
        start = index.shorts.start_S[at]
        if (
            index.shorts.length_S[at] == tokens
            and scratch.state_I[item, SEEN] != epoch
            and _same(index, start, scratch.low, scratch.starts, scratch.sizes, np.int64(0), tokens)
        ):
            scratch.state_I[item, SEEN] = epoch
            scratch.state_I[item, LONGEST] = tokens
            scratch.state_I[item, END] = at
            scratch.state_I[item, TURN] = turn
            scratch.state_I[item, FROM] = 0
            scratch.items[count] = item
            count += 1
        at += 1
    return count


@compiled
def _follow(
    index: Arrays, scratch: Scratch, level: Int, fresh: Int, tokens: Int, turn: Int, before: Int, count: Int
) -> Int:
    """Hits of one window length among the tokens in hand, the first `fresh` of which were looked at.

    before: tokens of the turn before these. Returns how many items of the row are open.
    """
    length = np.int64(index.grams.lengths[level])
    passed = probe(
        index.grams, index.keep, level, scratch.hashes, fresh, tokens, scratch.samples, scratch.place, scratch.found
    )
    known = listed(index.grams.slots, scratch.place, scratch.found, passed, scratch.samples)
    _fetch(index, scratch, known)
    last, hint = np.int64(-2), np.int64(-1)
    for at in range(known):
        first = np.int64(scratch.place[at])
        hint = hint + 1 if hint >= 0 and first == last + 1 else np.int64(-1)
        gram = _goes_on(index, scratch, hint, first, length) if hint >= 0 else np.int64(-1)
        if gram < 0:
            gram = _find(index, scratch, scratch.found[at], np.uint64(scratch.samples[at]), first, length)
        if gram < 0:
            hint = np.int64(-1)
            continue
        if hint < 0 or index.place_N[hint, GRAM] != gram:
            hint = np.int64(index.grams.posts[index.grams.posts_G[gram]])
        last = first
        count = _mark(index, scratch, gram, scratch.epoch[1] + before + first, turn, before + first, count)
    return count


@compiled
def _turn(index: Arrays, scratch: Scratch, data: Bytes, start: Int, stop: Int, turn: Int, count: Int) -> Int:
    """One user turn. Returns how many items of the row are open."""
    size = fold(data, start, stop, index.folding, scratch.low)
    scratch.low[size] = SEPARATOR
    # Typed zeros: a literal would make numba compile everything below a second time.
    zero = np.int64(0)
    at, begun, have, before, hashed = zero, zero, zero, zero, zero
    carry = np.int64(index.grams.lengths[-1]) - 1 if len(index.grams.lengths) else 0
    while at <= size:
        at, begun, have = cut(scratch.low, at, begun, size, scratch.starts, scratch.sizes, have)
        hash_tokens(scratch.words, scratch.starts, scratch.sizes, hashed, have, scratch.hashes)
        for level in range(len(index.grams.lengths)):
            count = _follow(index, scratch, level, hashed, have, turn, before, count)
        if at <= size:
            kept = min(carry, have)
            for t in range(kept):
                scratch.starts[t] = scratch.starts[have - kept + t]
                scratch.sizes[t] = scratch.sizes[have - kept + t]
                scratch.hashes[t] = scratch.hashes[have - kept + t]
            before += have - kept
            have = hashed = kept
    if before == 0 and 0 < have <= index.shorts.most:
        count = _whole(index, scratch, have, turn, count)
    scratch.epoch[1] += before + have + 1
    return count


@compiled
def _close(
    index: Arrays,
    scratch: Scratch,
    row: Int,
    source: Int,
    count: Int,
    coverage: float,
    records: NDArray[np.void],
    have: Int,
    held: Int,
) -> tuple[Int, Int]:
    """Turn the open items of a row into records. Returns (records of rows, records of items in use)."""
    epoch = np.int32(scratch.epoch[0])
    items = len(index.test_I)
    for at in range(count):
        item = np.int64(scratch.items[at])
        short = index.short_I[item]
        score = 1.0 if short else scratch.state_I[item, COVERED] / index.whole_I[item]
        weighed = 1.0 if short else scratch.state_I[item, WEIGHED] / index.weighed_I[item]
        longest = scratch.state_I[item, LONGEST]
        record = scratch.held[source * items + item]
        if record.rows == 0:
            scratch.touched[held] = source * items + item
            held += 1
            record.source = source
            record.item = item
            record.test = index.test_I[item]
            record.short = short
            record.coverage = -1.0
            record.longest = 0
            record.idf = 0.0
            record.over = 0
        record.rows += 1
        record.over += np.int64(score > coverage)
        if score > record.coverage:
            record.coverage = score
            record.row = row
        record.longest = max(record.longest, longest)
        record.idf = max(record.idf, weighed)
        have = _best(index, scratch, row, source, item, score, weighed, epoch, records, have)
    return have, held


@compiled
def _best(
    index: Arrays, scratch: Scratch, row: Int, source: Int, item: Int, score: float, weighed: float, epoch: np.int32,
    records: NDArray[np.void], have: Int,
) -> Int:  # fmt: skip
    """Keep the best item of a row's record for its test. Returns how many records there are."""
    kind = 2 * np.int64(index.test_I[item]) + np.int64(index.short_I[item])
    fresh = scratch.seen_T[kind] != epoch
    if fresh:
        scratch.seen_T[kind] = epoch
        scratch.record_T[kind] = have
        have += 1
    record = records[scratch.record_T[kind]]
    longest = scratch.state_I[item, LONGEST]
    if fresh:
        record.row = row
        record.source = source
        record.test = index.test_I[item]
        record.short = index.short_I[item]
        record.longest = longest
        record.idf = weighed
    if fresh or score > record.coverage or (score == record.coverage and item < record.item):
        record.item = item
        record.coverage = score
        record.turn = scratch.state_I[item, TURN]
        record.row_from = scratch.state_I[item, FROM]
        record.item_from = -1 if index.short_I[item] else scratch.state_I[item, END] - longest
        record.item_to = scratch.state_I[item, END]
    record.longest = max(record.longest, longest)
    record.idf = max(record.idf, weighed)
    return have


@entry
def _rows(
    index: Arrays, scratch: Scratch, data: Bytes, turns: Ints, rows: Ints, sources: Ints32, coverage: float,
    begin: Int, records: NDArray[np.void], held: Int,
) -> tuple[Int, Int, Int]:  # fmt: skip
    """Rows from `begin` on, until they or the room for records end. Returns (next row, records, items' records in use)."""
    have = np.int64(0)
    row = begin
    while row < len(rows) - 1 and have + len(scratch.seen_T) <= len(records):
        scratch.epoch[0] += 1
        scratch.epoch[1] = 0
        count = np.int64(0)
        for turn in range(rows[row], rows[row + 1]):
            start, stop = np.int64(turns[turn]), np.int64(turns[turn + 1])
            if stop > start:
                count = _turn(index, scratch, data, start, stop, turn - rows[row], count)
        if count:
            have, held = _close(index, scratch, row, np.int64(sources[row]), count, coverage, records, have, held)
        row += 1
    return row, have, held


class Kernel:
    """Asks the index with compiled loops. Several threads may use one; each takes scratch memory from a common store."""

    def __init__(self, index: Arrays, tests: int, coverage: float) -> None:
        self.index = index
        self.tests = tests
        self.coverage = coverage
        self.free: list[Scratch] = []
        self.lock = Lock()

    def ask(
        self, data: Bytes, turns: Ints, rows: Ints, sources: Ints32, names: int
    ) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """Records of rows and of items, as ROW_HITS and ITEM_HITS, rows numbered from 0.

        data, turns: UTF-8 and the byte offsets of turns. rows: offsets of rows among the turns. sources: codes below `names`.
        item_from and item_to of the rows' records are positions of the index; of short ones, -1 and the short field.
        """
        inside = turns[rows[0] : rows[-1] + 1]
        memory = self._memory(int(np.diff(inside).max(initial=0)), names)
        parts = []
        row, held = 0, 0
        while row < len(rows) - 1:
            records = np.zeros(4096 + 2 * self.tests, ROW_HITS)
            row, have, held = _rows(
                self.index, memory, data, turns, rows, sources, self.coverage, row, records, held
            )  # fmt: skip
            parts.append(records[:have])
        touched = memory.touched[:held]
        item_records = memory.held[touched]
        memory.held["rows"][touched] = 0
        with self.lock:
            self.free.append(memory)
        return np.concatenate(parts) if parts else np.zeros(0, ROW_HITS), item_records

    def _memory(self, longest: int, names: int) -> Scratch:
        with self.lock:
            memory = self.free.pop() if self.free else None
        room = 1 << max(16, longest.bit_length())
        size = names * len(self.index.test_I)
        if memory is None or memory.epoch[0] > 1 << 30:
            return scratch(self.index, room, names, self.tests)
        if len(memory.low) < 3 * longest + 256:
            low = np.zeros(3 * room + 256, np.uint8)
            memory = memory._replace(low=low, words=words_of(low))
        if len(memory.touched) < size:
            memory = memory._replace(held=np.zeros(size, ITEM_HITS), touched=np.zeros(size, np.int64))
        return memory
