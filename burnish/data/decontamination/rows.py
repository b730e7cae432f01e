"""Decontamination of rows as Python objects: thin functions over the scanner, for the curation stage and the card."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa

from burnish.core.types import Row
from burnish.data.decontamination.findings import Findings, merged
from burnish.data.decontamination.items import Item, batches, user_turns
from burnish.data.decontamination.rule import Overlap
from burnish.data.decontamination.scan import Scanner
from burnish.data.decontamination.verdict import over

_ROWS_AT_ONCE = 4096
_JOINED_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Evidence:
    """A training row that overlaps a test item.

    at: the number of the record in `Scan.findings.rows`. short: by the whole-field rule, then the score is 1.
    """

    at: int
    row: int
    test: str
    item: int
    score: float
    short: bool


@dataclass(frozen=True, slots=True)
class Scan:
    """What one pass over the training rows found.

    evidence: for every row and test that overlap, the item with the highest score (the first of equals), by row.
    findings: everything below the thresholds as well.
    """

    items: tuple[Item, ...]
    evidence: tuple[Evidence, ...]
    findings: Findings


def scan(rows: Iterable[Row], items: Sequence[Item], rule: Overlap, *, threads: int = 1, kernel: str = "auto") -> Scan:
    """Every overlap of training rows with test items. Rows are read once, a batch in memory at a time."""
    scanner = Scanner(items, rule, threads=threads, kernel=kernel)
    parts = [Findings(scanner.tests, len(scanner.items))]
    for first, batch in batches(rows, _ROWS_AT_ONCE):
        names = list(dict.fromkeys(row.source for row in batch))
        codes = np.array([names.index(row.source) for row in batch], np.int32)
        parts.append(scanner.scan(_arrow([user_turns(row) for row in batch]), codes, first, names=names))
        if len(parts) > _JOINED_AT_ONCE:
            parts = [merged(parts)]
    found = merged(parts)
    return Scan(scanner.items, tuple(_evidence(found, rule)), found)


def _evidence(found: Findings, rule: Overlap) -> Iterator[Evidence]:
    """One for each row and test: the overlap, or else the short item. Records come by row, test and kind."""
    before = (-1, -1)
    places = np.flatnonzero(over(found.rows, rule))
    hits = found.rows[places]
    names = ("row", "test", "item", "coverage", "short")
    for at, row, test, item, score, short in zip(
        places.tolist(), *(hits[name].tolist() for name in names), strict=True
    ):
        if (row, test) != before:
            yield Evidence(at, row, found.tests[test], item, score, short)
        before = (row, test)


def _arrow(turns: Sequence[Sequence[str]]) -> pa.ListArray:
    """The turns of rows as Arrow has them. Half of a surrogate pair, which no file can hold, becomes a question mark."""
    kind = pa.large_list(pa.large_string())
    try:
        return pa.array(turns, kind)
    except UnicodeEncodeError:
        return pa.array([[text.encode("utf-8", "replace").decode() for text in texts] for texts in turns], kind)


@dataclass(frozen=True, slots=True)
class Shared:
    """The longest stretch of a test item that a training row holds, as it stands in both texts, and each text in full."""

    item_span: str
    row_span: str
    item_text: str
    row_text: str


def shared(row: Row, item: Item, hit: np.void, rule: Overlap) -> Shared:
    """The longest stretch that item and row share, or the whole texts of a short item. For people to look at.

    hit: the record of RowHits for the two. Texts are in the rule's normal form.
    """
    length = int(hit["item_to"] - hit["item_from"])
    item_text = rule.normal(item.fields(rule)[hit["field"]])
    row_text = rule.normal(_arrow([user_turns(row)])[0][int(hit["turn"])].as_py())
    return Shared(
        _span(item_text, int(hit["item_from"]), length, rule),
        _span(row_text, int(hit["row_from"]), length, rule),
        item_text,
        row_text,
    )


def _span(text: str, start: int, length: int, rule: Overlap) -> str:
    """Some tokens of a text as they stand in it."""
    found = list(islice(rule.pattern().finditer(text), start, start + length))
    return text[found[0].start() : found[-1].end()]
