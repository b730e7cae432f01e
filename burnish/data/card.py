"""The card of a dataset: what went in, what each step took out and why, and how much of which test was found."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from burnish.core.rng import rank
from burnish.core.types import Row, plain
from burnish.data.decontamination.rows import Scan, Shared
from burnish.data.decontamination.verdict import Verdict
from burnish.data.diversity import diversity

EVIDENCE = 20
_SNIPPET = 1200
_DIVERSITY_ROWS = 4000
# rate is overlapping / items, as the paper counts; short items are in `items` and reported beside it. criteria counts the
# items that other rules of the field would call overlapping.
_OVERLAP = (
    "source", "test", "items", "overlapping", "rate", "flagged", "short_items", "short_overlapping", "criteria",
    "median_longest", "touched",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the rows of one source come from. rows_in: how many it has; rows_taken: how many the recipe asked for."""

    source: str
    licence: str
    url: str
    revision: str
    rows_in: int
    rows_taken: int


def by_source(origins: Iterable[Origin], left: Mapping[str, int]) -> list[dict[str, Any]]:
    """A record per source, in the order of the recipe, with the rows that are left of it."""
    merged: dict[str, dict[str, Any]] = {}
    for origin in origins:
        record = merged.setdefault(
            origin.source,
            {
                "source": origin.source, "licence": origin.licence, "url": origin.url, "revision": origin.revision,
                "rows_in": 0, "rows_taken": 0, "rows_kept": left.get(origin.source, 0),
            },
        )  # fmt: skip
        record["rows_in"] += origin.rows_in
        record["rows_taken"] += origin.rows_taken
    return list(merged.values())


def variety(rows: Iterable[tuple[int, Row]]) -> dict[str, float]:
    """Diversity of the prompts, over at most 4,000 rows: those of the lowest rank, so that more rows change few of them.

    rows: (number, row); fewer than 4,000 are taken in their order.
    """
    chosen: list[tuple[float, int, str]] = []
    for number, row in rows:
        place = (-rank(0, "diversity", row.id), -number, "\n".join(turn["content"] for turn in plain(row.prompt)))
        if len(chosen) < _DIVERSITY_ROWS:
            heapq.heappush(chosen, place)
        else:
            heapq.heappushpop(chosen, place)
    return diversity(text for _, _, text in sorted(chosen, key=lambda place: -place[1]))


def contamination(
    rows: Mapping[int, Row], texts: Mapping[int, Shared], found: Scan, verdict: Verdict
) -> list[dict[str, Any]]:
    """A record for each source and test of the verdict; its evidence is the first 20 rows by score, with both texts.

    rows: the overlapping training rows by number; texts: what they share with the item, by `Evidence.at`.
    """
    removed = Counter((rows[e.row].source, e.test) for e in found.evidence)
    hits: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for evidence in sorted(found.evidence, key=lambda e: (-e.score, e.row)):
        row, item = rows[evidence.row], found.items[evidence.item]
        place = hits[row.source, evidence.test]
        if len(place) < EVIDENCE:
            both = texts[evidence.at]
            place.append({
                "row_id": row.id, "test_id": item.id, "score": evidence.score, "short": evidence.short,
                "span": both.item_span, "row_span": both.row_span,
                "row_text": snippet(both.row_text, both.row_span), "test_text": snippet(both.item_text, both.item_span),
            })  # fmt: skip
    return [
        {
            **{name: cell[name] for name in _OVERLAP},
            "rows_removed": removed[cell["source"], cell["test"]],
            "evidence": hits.get((cell["source"], cell["test"]), []),
        }
        for cell in verdict.table
    ]


def snippet(text: str, around: str) -> str:
    """At most about 1,200 characters of a text, with `around` inside where it fits."""
    if len(text) <= _SNIPPET:
        return text
    middle = text.find(around) + len(around) // 2
    start = min(max(0, middle - _SNIPPET // 2), len(text) - _SNIPPET)
    return f"{'… ' if start else ''}{text[start : start + _SNIPPET]}{' …' if start + _SNIPPET < len(text) else ''}"


def took(steps: Sequence[Mapping[str, Any]]) -> str:
    """The steps as lines: what went in, what came out."""
    width = max((len(str(step["step"])) for step in steps), default=0)
    return "\n".join(f"  {step['step']:<{width}}  {step['rows_in']:>9,} → {step['rows_out']:,}" for step in steps)


def lines(card: Mapping[str, Any]) -> list[str]:
    """What a person should see of a card on the console: rows by source, drops, and every flagged source."""
    said = [
        f"  {s['source']}: {s['rows_kept']:,} of {s['rows_in']:,} rows ({s['licence'] or 'no licence given'})"
        for s in card["by_source"]
    ]
    unread = sum(card["broken"].values())
    total = sum(s["rows_in"] for s in card["by_source"]) + unread
    said += [
        f"  {count:,} records of {total:,} could not be read: {reason} (broken.jsonl)"
        for reason, count in card["broken"].items()
    ]
    said += [f"  dropped {count:,}: {reason}" for reason, count in card["dropped"].items()]
    said += [f"  mended {count:,}: {rule}" for rule, count in card["mended"].items()]
    for record in card["contamination"]:
        overlap = f"{record['overlapping']:,} of {record['items']:,} items of {record['test']} ({record['rate']:.1%})"
        if short := record.get("short_overlapping"):
            overlap += f" and equals {short:,} short ones"
        if record["flagged"]:
            said.append(
                f"  CONTAMINATED: {record['source']} overlaps {overlap}; {record['rows_removed']:,} rows removed. Consider dropping the source."
            )
        elif record["rows_removed"]:
            said.append(f"  {record['source']} overlaps {overlap}; {record['rows_removed']:,} rows removed")
    return said
