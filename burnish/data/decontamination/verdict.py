"""Thresholds applied to findings: the table of every source and test, and which rows and sources go.

Policy of Tülu 3 (arXiv 2411.15124 §3.2): a set that is flagged for a test kept unseen goes as a whole; for a test that
development looks at, the rows that overlap go. Findings do not change by this, so thresholds can be tried without a scan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from burnish.data.decontamination.findings import Findings, criteria
from burnish.data.decontamination.items import Item
from burnish.data.decontamination.rule import Overlap
from burnish.errors import RecipeError, nearest

REMOVE = ("rows", "sets", "none")


@dataclass(frozen=True, slots=True)
class Policy:
    """What goes.

    remove: "rows": rows that overlap, and sources flagged for an unseen test as a whole. "sets": sources flagged for any
            test as a whole, and of the others the rows that overlap. "none": nothing, findings only.
    unseen: tests that nobody looks at before the end.
    """

    remove: Literal["rows", "sets", "none"] = "rows"
    unseen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.remove not in REMOVE:
            raise RecipeError(f"--remove {self.remove}: there is no such choice. {nearest(str(self.remove), REMOVE)}")
        object.__setattr__(self, "unseen", tuple(sorted(set(self.unseen))))

    def says(self, rule: Overlap) -> str:
        """The policy in words."""
        flagged = f"more than {rule.rate:.3g} of a test's items overlap"
        rows = f"a row goes when it holds more than {rule.coverage:.0%} of a test item's tokens, or equals a short item"
        if self.remove == "none":
            return "Nothing is removed: findings only."
        if self.remove == "sets":
            return f"A source goes as a whole when {flagged}; of the others {rows}."
        unseen = f"; a source goes as a whole when {flagged} and the test is kept unseen ({', '.join(self.unseen)})"
        return f"Of every source {rows}{unseen if self.unseen else ''}."


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from findings, a rule and a policy.

    table:    a record for every source and test. sources: a record for every source that was scanned.
    rows:     numbers of the rows that overlap, ascending; gone: names of the sources that go as a whole.
    """

    table: tuple[Mapping[str, Any], ...]
    sources: tuple[Mapping[str, Any], ...]
    rows: NDArray[np.int64]
    gone: frozenset[str]


def over(hits: NDArray[np.void], rule: Overlap) -> NDArray[np.bool_]:
    """Which records of RowHits or ItemHits count: above the threshold, or equal to a short item."""
    counted: NDArray[np.bool_] = (hits["coverage"] > rule.coverage) | hits["short"]
    return counted


def decide(
    findings: Findings, items: Sequence[Item], rule: Overlap, policy: Policy, sources: Iterable[str] = ()
) -> Verdict:
    """The verdict. items: as they were scanned. sources: the first of the table, also those of which no row was scanned."""
    test_of = np.array([findings.tests.index(item.test) for item in items], np.int64)
    short = np.array([_is_short(item, rule) for item in items], bool)
    tests = [(name, test_of == number) for number, name in enumerate(findings.tests)]
    rows_of, items_of = (_by_cell(hits, len(tests)) for hits in (findings.rows, findings.item_hits))
    empty = (findings.rows[:0], findings.item_hits[:0])
    numbers = {name: number for number, name in enumerate(findings.sources)}
    table = [
        {
            "source": source, "test": name, "unseen": name in policy.unseen, "items": int(mine.sum()),
            "short_items": int(short[mine].sum()),
            **_cell(
                rows_of.get((numbers.get(source, -1), t), empty[0]),
                items_of.get((numbers.get(source, -1), t), empty[1]),
                int(mine.sum()),
                rule,
            ),
        }
        for source in dict.fromkeys([*sources, *findings.sources])
        for t, (name, mine) in enumerate(tests)
    ]  # fmt: skip
    flagged: dict[str, list[str]] = {}
    for cell in table:
        if cell["flagged"] and (policy.remove == "sets" or (policy.remove == "rows" and cell["unseen"])):
            flagged.setdefault(cell["source"], []).append(cell["test"])
    hits = findings.rows[over(findings.rows, rule)]
    rows = np.unique(hits["row"])
    counted = np.unique(np.stack([hits["source"].astype(np.int64), hits["row"]]), axis=1)[0]
    per_source = np.bincount(counted, minlength=len(findings.sources))
    totals = [
        _source(findings, number, int(per_source[number]), flagged.get(name, []), policy)
        for number, name in enumerate(findings.sources)
    ]
    removed = rows if policy.remove != "none" else rows[:0]
    return Verdict(tuple(table), tuple(totals), removed, frozenset(flagged))


def _by_cell(hits: NDArray[np.void], tests: int) -> dict[tuple[int, int], NDArray[np.void]]:
    """The records of each (source, test) that has any."""
    if not len(hits):
        return {}
    key = hits["source"].astype(np.int64) * tests + hits["test"]
    order = np.argsort(key, kind="stable")
    names, starts = np.unique(key[order], return_index=True)
    return {
        (int(name) // tests, int(name) % tests): hits[part]
        for name, part in zip(names, np.split(order, starts[1:]), strict=True)
    }


def _cell(rows: NDArray[np.void], hits: NDArray[np.void], size: int, rule: Overlap) -> dict[str, Any]:
    """What the records of one source and test say. size: the test's items."""
    windowed = hits[~hits["short"]]
    counts = {each.name: int(each.of(hits).sum()) for each in criteria(rule.coverage, rule.ngram)}
    rate = counts["tulu3"] / size if size else 0.0
    short = int(hits["short"].sum())
    return {
        "overlapping": counts["tulu3"], "rate": rate, "flagged": rate > rule.rate,
        "short_overlapping": short, "touched": bool(short or any(counts.values())),
        "rows": len(np.unique(rows["row"][over(rows, rule)])), "criteria": counts,
        "median_longest": float(np.median(windowed["longest"])) if len(windowed) else None,
        "histogram": np.histogram(rows["coverage"][~rows["short"]], bins=20, range=(0.0, 1.0))[0].tolist(),
    }  # fmt: skip


def _source(findings: Findings, number: int, hit: int, flagged: Sequence[str], policy: Policy) -> dict[str, Any]:
    name = findings.sources[number]
    amount = findings.scanned[name]
    removed = 0 if policy.remove == "none" else amount.rows if flagged else hit
    return {
        "source": name, "rows": amount.rows, "turns": amount.turns, "bytes": amount.bytes, "overlapping_rows": hit,
        "removed_rows": removed, "gone_for": list(flagged),
    }  # fmt: skip


def _is_short(item: Item, rule: Overlap) -> bool:
    fields = [rule.tokens(text) for text in item.fields(rule)]
    return all(len(tokens) < rule.window(tokens) for tokens in fields)


def markdown(verdict: Verdict, rule: Overlap, policy: Policy, notes: Sequence[str] = ()) -> str:
    """The contamination table as Markdown, sources and tests without any shared window left to a last line."""
    names = [each.name for each in criteria(rule.coverage, rule.ngram)]
    head = ["source", "test", "items", "overlapping", "rate", "flagged", "short", *names[1:], "median longest", "rows"]
    lines = [
        f"# Overlap of {len(verdict.sources)} training sources with tests", "", policy.says(rule), *notes, "",
        "| " + " | ".join(head) + " |", "|" + "---|" * 2 + "---:|" * (len(head) - 2),
    ]  # fmt: skip
    quiet = 0
    for cell in sorted(verdict.table, key=lambda c: (-c["rate"], -c["rows"], c["source"], c["test"])):
        if not cell["touched"]:
            quiet += 1
            continue
        longest = "–" if cell["median_longest"] is None else f"{cell['median_longest']:g}"
        values = [
            cell["source"], cell["test"] + (" (unseen)" if cell["unseen"] else ""), f"{cell['items']:,}",
            f"{cell['overlapping']:,}", f"{cell['rate']:.2%}", "**yes**" if cell["flagged"] else "no",
            f"{cell['short_overlapping']:,} of {cell['short_items']:,}",
            *(f"{cell['criteria'][name]:,}" for name in names[1:]), longest, f"{cell['rows']:,}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(value.replace("|", "\\|") for value in values) + " |")
    said = [f"- {each.name}: items with {each.says}" for each in criteria(rule.coverage, rule.ngram)[1:]]
    return "\n".join([
        *lines, "", f"{quiet:,} of {len(verdict.table):,} pairs of source and test share no window.", "",
        "- overlapping, rate: items by the rule of the first line; short: items shorter than a window, by equality, apart from the rate",
        *said, "- median longest: tokens of the longest shared stretch, over items that share a window",
        "- rows: training rows that overlap", "",
    ])  # fmt: skip
