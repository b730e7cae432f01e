"""Every record of every kernel equals the definition, worked out by brute force where everything repeats and hashes collide."""

from __future__ import annotations

import random
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.core.types import Demo, Message, Row, user
from burnish.data.decontamination import fallback
from burnish.data.decontamination import index as indexes
from burnish.data.decontamination.findings import Findings, merged
from burnish.data.decontamination.items import Item
from burnish.data.decontamination.rows import scan, shared
from burnish.data.decontamination.rule import Overlap, fold
from burnish.data.decontamination.scan import Scanner
from tests.decontamination_oracle import by_definition

WORDS = st.sampled_from(
    ["a", "b", "c", "A", "é", "É", "ς", "Σ", "İ", "i", "K", "x" * 9, "x" * 8, "\0", "中", "文", "𝒳"]
)
GLUE = st.sampled_from([" ", ", ", "\n", "-", "? ", "\t", ""])
TEXT = st.lists(st.tuples(WORDS, GLUE), max_size=25).map(lambda parts: "".join(w + g for w, g in parts))
PLAIN = st.text("abA ,", max_size=40)
ITEMS = st.lists(st.lists(TEXT | PLAIN, min_size=1, max_size=3), max_size=5)
ROWS = st.lists(st.lists(TEXT | PLAIN, max_size=3), max_size=6)


NAMES = ["numpy", *(["numba"] if find_spec("numba") else [])]
KERNELS = pytest.mark.parametrize("kernel", NAMES)


def items_of(fields: Sequence[Sequence[str]]) -> list[Item]:
    """Items of two tests; the last of several fields is an answer."""
    return [Item("tu"[i % 2], str(i), tuple(texts[:2]), answers=tuple(texts[2:])) for i, texts in enumerate(fields)]


def arrow(rows: Sequence[Sequence[str]]) -> pa.ListArray:
    return pa.array(rows, pa.list_(pa.string()))


def check(scanner: Scanner, rows: Sequence[Sequence[str]]) -> Findings:
    """Compare every record of a scan with the definition."""
    rule, items = scanner.rule, scanner.items
    truth = by_definition(items, rows, rule)
    codes = np.arange(len(rows), dtype=np.int32) % 3
    found = scanner.scan(arrow(rows), codes, names=("s0", "s2", "s1"))
    source = ["s0", "s2", "s1"]
    expected_rows = {}
    for (r, e), pair in sorted(truth.items()):
        expected_rows.setdefault((r, items[e].test, pair.short), {})[e] = pair
    records = found.rows
    keys = [(int(h["row"]), found.tests[h["test"]], bool(h["short"])) for h in records]
    assert sorted(keys) == sorted(expected_rows)
    assert len(keys) == len(set(keys))
    for key, hit in zip(keys, records, strict=True):
        pairs = expected_rows[key]
        best = min(pairs, key=lambda e: (-pairs[e].coverage, e))
        assert hit["item"] == best
        assert hit["coverage"] == pairs[best].coverage
        assert hit["longest"] == max(pair.longest for pair in pairs.values())
        assert hit["idf"] == max(pair.idf for pair in pairs.values())
        assert hit["any13"] == (hit["longest"] >= 13 and not hit["short"])
        assert found.sources[hit["source"]] == source[key[0] % 3]
        length = hit["item_to"] - hit["item_from"]
        place = (int(hit["field"]), int(hit["item_from"]), int(hit["turn"]), int(hit["row_from"]))
        assert place in pairs[best].stretches
        assert length == pairs[best].longest or key[2]
    expected_items = {}
    for (r, e), pair in sorted(truth.items()):
        expected_items.setdefault((source[r % 3], e), {})[r] = pair
    assert {(found.sources[h["source"]], int(h["item"])) for h in found.item_hits} == set(expected_items)
    for hit in found.item_hits:
        pairs = expected_items[found.sources[hit["source"]], int(hit["item"])]
        best = min(pairs, key=lambda r: (-pairs[r].coverage, r))
        assert (hit["row"], hit["coverage"]) == (best, pairs[best].coverage)
        assert hit["longest"] == max(pair.longest for pair in pairs.values())
        assert hit["idf"] == max(pair.idf for pair in pairs.values())
        assert hit["rows"] == len(pairs)
        assert hit["over"] == sum(pair.coverage > rule.coverage for pair in pairs.values())
    return found


RULES = st.builds(
    Overlap,
    ngram=st.integers(1, 9),
    fields=st.sampled_from(["prompt", "all"]),
    separators=st.sampled_from([' ,.?!:;()"-\n\\', " ", "", "A ", "é "]),
    char_ngram=st.sampled_from([0, 0, 2, 3]),
    code=st.booleans(),
    unicode=st.booleans(),
)


@KERNELS
@settings(max_examples=150, deadline=None)
@given(fields=ITEMS, rows=ROWS, rule=RULES, bits=st.sampled_from([64, 64, 6, 0]))
def test_every_record_is_the_definition(
    kernel: str, fields: list[list[str]], rows: list[list[str]], rule: Overlap, bits: int
) -> None:
    scanner = Scanner(items_of(fields), rule, kernel=kernel)
    narrow(scanner, bits)
    check(scanner, rows)


def narrow(scanner: Scanner, bits: int) -> None:
    """Build the index again with hashes of few bits, so that most windows collide."""
    scanner.index = indexes.build(scanner.items, scanner.rule, hash_bits=bits)
    scanner.kernel = type(scanner.kernel)(scanner.index, len(scanner.tests), scanner.rule.coverage)


def random_texts(draw: random.Random, count: int, words: str, most: int) -> list[str]:
    return [" ".join(draw.choices(words, k=draw.randrange(most))) for _ in range(count)]


@KERNELS
@pytest.mark.parametrize("bits", [64, 8])
def test_windows_shared_by_thousands_of_items(kernel: str, bits: int) -> None:
    """A common instruction before every question: its windows have 2,000 postings each."""
    draw = random.Random(7)
    common = "the following is a multiple choice question about the world please answer"
    items = [
        Item("t", str(i), (f"{common} {text}",)) for i, text in enumerate(random_texts(draw, 2000, "abcdefgh", 12))
    ]
    rows = [[f"{common} {common} {text}", text] for text in random_texts(draw, 6, "abcdefgh", 12)]
    scanner = Scanner(items, Overlap(), kernel=kernel)
    narrow(scanner, bits)
    assert len(check(scanner, rows).item_hits) == 3 * 2000


@KERNELS
def test_a_turn_of_many_blocks_is_one_text(kernel: str) -> None:
    """Tokens are cut 16,384 at a time; an item that lies across the cut is found whole, at every offset, once."""
    item = " ".join(f"w{i}" for i in range(40))
    scanner = Scanner([Item("t", "0", (item,)), Item("t", "1", ("x",))], Overlap(ngram=5), kernel=kernel)
    for before in (16384 - 41, 16384 - 20, 16384 - 4, 16384, 16384 + 3, 2 * 16384 + 9):
        found = scanner.scan(arrow([[("x " * before) + item + " y" * 20000]]), "s").rows
        assert found[["coverage", "longest", "row_from"]].tolist() == [(1.0, 40, before)]


@KERNELS
def test_huge_tokens_and_empty_texts(kernel: str) -> None:
    big = "z" * 300_000
    rows = [[f"a b {big} c"], [], [""], ["", "  ,. "], [f"{big}z a b c"], [big]]
    scanner = Scanner(
        [Item("t", "0", (f"b {big} c",)), Item("t", "1", ("",)), Item("t", "2", (big,))],
        Overlap(ngram=3),
        kernel=kernel,
    )
    check(scanner, rows)


@KERNELS
@pytest.mark.parametrize("separators", [" ", ' ,.?!:;()"-\n\\+*/=<>', "A ", "。"])
def test_text_is_folded_alike_wherever_its_characters_stand(kernel: str, separators: str) -> None:
    """A character that is not ASCII, or the end of the text, at every place of a stretch of 64 bytes and around it; more
    separators than are compared at once, letters among them, none that is ASCII.
    """
    plain = "Ab Cd,eF A+bz-" * 20
    texts = [plain[:at] + foreign + plain[at : at + 70] for at in range(140) for foreign in ("", "É", "中。", "𝒳é")]
    rule = Overlap(ngram=2, separators=separators)
    items = [Item("t", str(i), (text[i % 7 :],)) for i, text in enumerate(texts[::29])]
    check(Scanner(items, rule, kernel=kernel), [[text] for text in texts[::3]])


def test_kernels_agree_to_the_last_field() -> None:
    """The spans are the same stretch too, where several are equally long."""
    draw = random.Random(3)
    items = items_of([random_texts(draw, draw.randrange(1, 4), "abc", 20) for _ in range(60)])
    rows = [random_texts(draw, draw.randrange(4), "abcd", 40) for _ in range(120)]
    found = [Scanner(items, Overlap(ngram=4, fields="all"), kernel=kernel).scan(arrow(rows), "s") for kernel in NAMES]
    for other in found[1:]:
        assert np.array_equal(other.rows, found[0].rows)
        assert np.array_equal(other.item_hits, found[0].item_hits)


@KERNELS
@pytest.mark.parametrize("limit", [1, 50])
def test_scores_do_not_depend_on_how_the_work_is_cut(kernel: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "_POSTINGS_AT_ONCE", limit)
    monkeypatch.setattr("burnish.data.decontamination.scan._SLICE_BYTES", 40 * limit)
    draw = random.Random(7)
    texts = random_texts(draw, 60, "abcd", 30)
    items = [Item("t", str(i), (text,)) for i, text in enumerate(texts[:20])]
    check(Scanner(items, Overlap(ngram=4), kernel=kernel, threads=2), [[text] for text in texts[10:]])


@settings(max_examples=60, deadline=None)
@given(ITEMS, ROWS, st.lists(st.integers(0, 6), max_size=3), st.randoms())
def test_findings_of_parts_merge_to_those_of_the_whole(
    fields: list[list[str]], rows: list[list[str]], cuts: list[int], order: random.Random
) -> None:
    scanner = Scanner(items_of(fields), Overlap(ngram=2), kernel="numpy")
    codes = np.arange(len(rows), dtype=np.int32) % 2
    whole = scanner.scan(arrow(rows), codes, names=("b", "a"))
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    parts = [scanner.scan(arrow(rows).slice(a, b - a), codes[a:b], a, names=("b", "a")) for a, b in pairwise(edges)]
    order.shuffle(parts)
    one = merged([Findings(scanner.tests, len(scanner.items)), *parts])
    left = Findings(scanner.tests, len(scanner.items))
    for part in parts:
        left = part.merge(left)
    for other in (one, left):
        assert np.array_equal(other.rows, whole.rows)
        assert np.array_equal(other.item_hits, whole.item_hits)
        assert (other.sources, other.scanned) == (whole.sources, whole.scanned)


@settings(max_examples=60, deadline=None)
@given(ITEMS, ROWS)
def test_findings_outlive_storage(fields: list[list[str]], rows: list[list[str]]) -> None:
    scanner = Scanner(items_of(fields), Overlap(ngram=2), kernel="numpy")
    found = scanner.scan(arrow(rows), "s")
    back = Findings.from_tables(
        found.row_table(), found.item_table(), tests=found.tests, items=found.items, scanned=found.scanned
    )
    assert np.array_equal(back.rows, found.rows)
    assert np.array_equal(back.item_hits, found.item_hits)


def test_lower_case_is_that_of_every_code_point_alone() -> None:
    """`fold` is `str.lower` for all characters but Σ at the end of a word and İ; and the kernels' table is `fold`."""
    points = [chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000]
    assert [c for c in points if c.lower() != fold(c)] == ["İ"]
    assert fold("ΟΔΟΣ İ") == "οδοσ i" != "ΟΔΟΣ İ".lower()
    table = indexes.alphabet(Overlap(separators="|")).points
    assert [c for c in points if c != "|" and chr(table[ord(c)]) != fold(c)] == []


@settings(max_examples=100, deadline=None)
@given(ITEMS, ROWS, st.integers(1, 5))
def test_the_scan_reports_the_best_item_of_every_row_and_all_overlapping_items(
    fields: list[list[str]], rows: list[list[str]], n: int
) -> None:
    rule = Overlap(ngram=n)
    items = [Item("t", str(i), tuple(texts)) for i, texts in enumerate(fields)]
    training: list[Row] = [
        Demo(
            (
                *(turn for text in texts for turn in (*user(text), Message("assistant", "a b c"))),
                Message("assistant", "x"),
            ),
            source="s",
        )
        for texts in rows
    ]
    found = scan(training, items, rule, kernel="numpy")
    truth = by_definition(items, rows, rule)
    over = {place: pair.coverage for place, pair in truth.items() if pair.coverage > rule.coverage and not pair.short}
    short = {place for place, pair in truth.items() if pair.short}
    hits = found.findings.item_hits
    assert set(hits["item"][(hits["coverage"] > rule.coverage) & ~hits["short"]].tolist()) == {item for _, item in over}
    best = {row: max(score for (r, _), score in over.items() if r == row) for row, _ in over}
    assert {e.row: e.score for e in found.evidence if not e.short} == best
    assert set(hits["item"][hits["short"]].tolist()) == {item for _, item in short}
    assert {e.row for e in found.evidence if e.short} == {row for row, _ in short} - set(best)


@settings(max_examples=150, deadline=None)
@given(TEXT, TEXT, st.integers(1, 5))
def test_the_shown_spans_stand_in_both_texts(item_text: str, row_text: str, n: int) -> None:
    rule = Overlap(ngram=n)
    item = Item("t", "0", (item_text,))
    row = Demo((*user(row_text), Message("assistant", "x")))
    hits = scan([row], [item], rule).findings.rows
    truth = by_definition([item], [[row_text]], rule)
    assert len(hits) == len(truth)
    for hit, pair in zip(hits, truth.values(), strict=True):
        shown = shared(row, item, hit, rule)
        assert shown.item_span in item_text
        assert shown.row_span in row_text
        assert rule.tokens(shown.item_span) == rule.tokens(shown.row_span)
        assert len(rule.tokens(shown.item_span)) == pair.longest
