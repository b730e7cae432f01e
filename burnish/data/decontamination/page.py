"""The report of a decontamination: one HTML file that opens offline, with every number of the table and texts side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from burnish.data.decontamination.aligned import Piece, Token, blocks, clipped, pieces
from burnish.data.decontamination.findings import criteria
from burnish.data.decontamination.items import Item
from burnish.data.decontamination.results import Decided
from burnish.data.decontamination.rule import Overlap, fold

# Pairs of texts on a page: about 4 KB each.
MOST_PAIRS = 400
_TEXT = 1600


@dataclass(frozen=True, slots=True)
class Shown:
    """A training row and a test item side by side. row: its number in its file; over: whether it counts as overlap."""

    source: str
    file: str
    row: int
    test: str
    item: str
    score: float
    short: bool
    over: bool
    longest: int
    idf: float
    row_text: Sequence[Piece]
    item_text: Sequence[Piece]


def render(decided: Decided) -> str:
    """The page as HTML. All text is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("burnish.data.decontamination", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"pct": _percent, "share": _share, "count": _count, "num": _number}
    return environment.get_template("page.html").render(values(decided))


def values(decided: Decided) -> dict[str, Any]:
    """What the template prints, as plain values."""
    verdict, rule, findings = decided.verdict, decided.rule, decided.scan.findings
    cells = sorted(verdict.table, key=lambda c: (-c["rate"], -c["overlapping"], -c["rows"], c["source"], c["test"]))
    touched = [cell for cell in cells if cell["touched"]]
    shown = pairs(decided)
    return {
        "policy": decided.policy.says(rule),
        "rule": rule,
        "criteria": criteria(rule.coverage, rule.ngram),
        "cells": touched,
        "quiet": len(cells) - len(touched),
        "sources": verdict.sources,
        "tests": decided.question.tests,
        "flagged": [cell for cell in cells if cell["flagged"]],
        "rows": sum(each.rows for each in decided.scan.files),
        "files": len(decided.scan.files),
        "items": findings.items,
        "megabytes": sum(each.bytes for each in findings.scanned.values()) / 1e6,
        "overlapping_rows": sum(each["overlapping_rows"] for each in verdict.sources),
        "removed": sum(each["removed_rows"] for each in verdict.sources),
        "unreadable": len(decided.scan.broken),
        "foreign": decided.scan.foreign,
        "compared": sorted({each.compared for each in decided.scan.files}),
        "pairs": shown,
        "pairs_kept": len(decided.scan.pairs),
        "hits": len(findings.rows),
        "bars": [
            {"s": cell["source"], "t": cell["test"], "h": cell["histogram"], "o": cell["short_overlapping"]}
            for cell in touched
        ],
        "shown_sources": sorted({cell["source"] for cell in touched}),
        "shown_tests": sorted({cell["test"] for cell in touched}),
    }


def pairs(decided: Decided) -> list[Shown]:
    """The pairs on the page, the highest scores first; every source and test that has any is there before others repeat."""
    records = decided.scan.pairs.to_pylist()
    order = sorted(range(len(records)), key=lambda i: (-records[i]["coverage"], records[i]["row"]))
    place: dict[tuple[str, int], int] = {}
    ranked = []
    for i in order:
        key = (records[i]["source"], records[i]["test"])
        place[key] = place.get(key, -1) + 1
        ranked.append((place[key], -records[i]["coverage"], i))
    chosen = sorted(sorted(ranked)[:MOST_PAIRS], key=lambda r: (r[1], r[2]))
    items = [item for test in decided.question.tests for item in test.items]
    return [_shown(records[i], items, decided) for _, _, i in chosen]


def _shown(record: Mapping[str, Any], items: Sequence[Item], decided: Decided) -> Shown:
    item, rule = items[record["item"]], decided.rule
    fields = item.fields(rule)
    mine = rule.normal(fields[record["field"]] if record["field"] < len(fields) else "")
    theirs = rule.normal(record["text"])
    tokens = spans(mine, rule)
    shared = blocks(tokens, spans(theirs, rule), rule.window([token[0] for token in tokens]))
    left, left_spans = clipped(theirs, [block.row for block in shared], _TEXT)
    right, right_spans = clipped(mine, [block.item for block in shared], _TEXT)
    starts = np.array([each.first for each in decided.scan.files])
    at = int(np.searchsorted(starts, record["row"], side="right")) - 1
    file = decided.scan.files[at]
    return Shown(
        source=record["source"], file=file.file.path.name, row=record["row"] - file.first, test=item.test, item=item.id,
        score=record["coverage"], short=record["short"],
        over=record["short"] or record["coverage"] > rule.coverage, longest=record["longest"],
        idf=record["idf"], row_text=pieces(left, left_spans), item_text=pieces(right, right_spans),
    )  # fmt: skip


def spans(text: str, rule: Overlap) -> list[Token]:
    """The tokens of a text in the rule's normal form, with their places."""
    return [(fold(found.group()), found.start(), found.end()) for found in rule.pattern().finditer(text)]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}\u202f%" if value >= 0.001 or not value else f"{100 * value:.3f}\u202f%"


def _share(value: float) -> str:
    return f"{100 * value:g}\u202f%"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"
