"""The stage that turns sources into a dataset: amounts, filters, duplicates, decontamination, in this order, all on record."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from burnish.core.files import write_atomic
from burnish.core.rows import to_json
from burnish.core.types import Demo, Problem, Row
from burnish.data import card as cards
from burnish.data import decontaminate, dedup
from burnish.data.card import Origin
from burnish.data.clean import Drop, Filter, GoldAccepted, Keep, grade_gold
from burnish.data.dataset import Dataset, Dropped, write_dataset
from burnish.data.decontaminate import HeldOut, Overlap, TestSet
from burnish.data.mix import All, Amount, check_amount, select
from burnish.data.source import Source
from burnish.errors import DataError, RecipeError, VerifierError, nearest
from burnish.pipeline.stage import Context, Stage
from burnish.verify.base import Verifier

GOLD_FILE = "gold_rejected.jsonl"


@dataclass(frozen=True, slots=True)
class Take:
    """Rows of a source, or of a stage that makes a dataset, and how many of them."""

    source: Source | Stage
    amount: Amount = field(default_factory=All)

    @property
    def name(self) -> str:
        """The source's or stage's name."""
        return self.source.name

    @property
    def known(self) -> int | None:
        """The rows of the source, where it knows them without reading; never for a stage."""
        count = None if isinstance(self.source, Stage) else getattr(self.source, "count", None)
        return count if isinstance(count, int) else None

    def asked(self) -> str | int:
        """The rows this takes as far as it is known before anything runs."""
        if self.known is not None:
            return self.amount.count(self.known)
        return (
            self.amount.n
            if hasattr(self.amount, "n")
            else "all"
            if isinstance(self.amount, All)
            else f"{self.amount.share:.3g} of all"
        )


@dataclass(frozen=True)
class Curate(Stage):
    """A dataset from sources.

    sources:   what goes in; earlier sources win over later ones where rows are duplicates.
    keep:      filters, asked in order; the first that says no drops the row.
    dedup:     drop exact duplicates after normalisation.
    away_from: test sets; rows that contain more than `overlap.coverage` of an item are removed. Of an evaluation task only
               its name and source count, so other evaluation settings do not change the data.
    verifiers: by name; every kept problem's own solution must be accepted, unless `keep` has GoldAccepted.
    label:     the artifact's first name.
    """

    sources: tuple[Take, ...]
    keep: tuple[Filter, ...] = ()
    dedup: bool = True
    away_from: tuple[TestSet, ...] = ()
    overlap: Overlap = field(default_factory=Overlap)
    verifiers: Mapping[str, Verifier] = field(default_factory=dict)
    label: str = "data"

    def __post_init__(self) -> None:
        tests = tuple(HeldOut(test.name, test.source) if hasattr(test, "source") else test for test in self.away_from)
        object.__setattr__(self, "away_from", tests)

    @property
    def name(self) -> str:
        """The label."""
        return self.label

    def headline(self) -> dict[str, Any]:
        """Rows by source as far as they are known, and the tests kept away from."""
        rows: dict[str, Any] = {take.name: take.asked() for take in self.sources}
        return {**rows, "away from": ", ".join(test.name for test in self.away_from)} if self.away_from else rows

    def check(self, data: Path | None) -> None:
        """Raise RecipeError or DataError for amounts, sources and tests that cannot work."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", self.label):
            raise RecipeError(f"label={self.label!r}: it names a folder; use lower-case letters, digits, - and _.")
        if not self.sources:
            raise RecipeError(
                f"{self.label}.sources is empty, so there is nothing to learn from.\n  Add Take(source, All())."
            )
        for i, take in enumerate(self.sources):
            self._check_take(take, f"{self.label}.sources[{i}]", data)
        for name in sorted({test.name for test in self.away_from}):
            if sum(test.name == name for test in self.away_from) > 1:
                raise RecipeError(
                    f"{self.label}.away_from names the test {name!r} twice, so its counts could not be told apart.\n  Leave one out."
                )
        for test in self.away_from:
            _resolve(getattr(test, "source", test), data)

    def _check_take(self, take: Take, where: str, data: Path | None) -> None:
        if not isinstance(take, Take):
            raise RecipeError(
                f"{where} is a {type(take).__name__}, not a Take.\n  Write Take({type(take).__name__}(...), All())."
            )
        if not isinstance(take.source, Stage):
            if getattr(take.source, "evaluation_only", False):
                raise RecipeError(
                    f"{where}: {take.name} is for evaluation only; a model trained on it could not be measured with it.\n"
                    f"  Leave it out here, and keep the training data away from it: away_from=(HeldOut({take.name!r}, ...),)."
                )
            _resolve(take.source, data)
        known = take.known
        if known is None and not isinstance(take.source, Stage) and not isinstance(take.amount, All):
            known = sum(1 for _ in take.source.rows(data))
        check_amount(take.amount, known, where, f"{type(take.source).__name__}()")
        if self.verifiers and not isinstance(take.source, Stage):
            _check_targets(take.source, self.verifiers, where, data)

    def run(self, ctx: Context) -> None:
        """Write rows.parquet, dropped.parquet and card.json."""
        self.check(ctx.data)
        rows, origins, steps = self._read(ctx)
        dropped: list[Dropped] = []
        for each in self.keep:
            rows = _step(steps, dropped, _shown(each), rows, *_filtered(rows, each))
        if self.dedup:
            rows = _step(steps, dropped, "exact duplicates", rows, *dedup.exact(rows))
        overlaps: list[dict[str, Any]] = []
        if self.away_from:
            items = [
                decontaminate.item_of(test.name, problem)
                for test in self.away_from
                for problem in test.problems(ctx.data)
            ]
            found = decontaminate.scan(rows, items, self.overlap)
            overlaps = cards.contamination(rows, found, self.overlap)
            rows = _step(steps, dropped, "decontamination", rows, *_away(rows, found, self.overlap))
        if not rows:
            raise DataError(
                f"{self.label}: no row is left, so there is nothing to train on. What each step took:\n{cards.took(steps)}\n"
                f"  Reasons: {_listed(cards.reasons(dropped))}.\n  Loosen the step that took the most, or add sources."
            )
        self._check_rows(rows, ctx)
        card = {
            "rows": len(rows), "by_source": cards.by_source(origins, rows), "steps": steps, "dropped": cards.reasons(dropped),
            "contamination": overlaps, "diversity": cards.variety(rows),
        }  # fmt: skip
        write_dataset(
            ctx.out, (replace(row, lineage=(*row.lineage, self.name)) for row in rows), card=card, dropped=dropped
        )
        ctx.console.line(f"{self.label}: {len(rows):,} rows")
        for line in cards.lines(card):
            ctx.console.line(line)

    def _read(self, ctx: Context) -> tuple[list[Row], list[Origin], list[dict[str, Any]]]:
        """The chosen rows of every source, where they come from, and the first two steps."""
        rows: list[Row] = []
        origins: list[Origin] = []
        read = 0
        for i, take in enumerate(self.sources):
            offered, facts = _offered(take, ctx)
            chosen = select(offered, take.amount, f"{self.label}.sources[{i}]")
            read += len(offered)
            rows += chosen
            for source, fact in facts.items():
                had, taken = (sum(row.source == source for row in part) for part in (offered, chosen))
                origins.append(replace(fact, rows_in=had, rows_taken=taken))
        steps = [
            {"step": "read", "rows_in": read, "rows_out": read},
            {"step": "amounts", "rows_in": read, "rows_out": len(rows)},
        ]
        return rows, origins, steps

    def _check_rows(self, rows: Sequence[Row], ctx: Context) -> None:
        """Demos must end with the reply to learn, and problems must have verifiers that accept their own solutions."""
        open_ended = [
            row for row in rows if isinstance(row, Demo) and (not row.messages or row.messages[-1].role != "assistant")
        ]
        if open_ended:
            raise DataError(
                f"{self.label}: {len(open_ended):,} of {len(rows):,} demos do not end with an assistant turn, so they hold no "
                f"reply to learn. First: {open_ended[0].id} from {open_ended[0].source}.\n"
                "  Drop them on purpose with keep=(EndsWithAssistant(),)."
            )
        if self.verifiers and not any(isinstance(each, GoldAccepted) for each in self.keep):
            _check_gold(rows, self.verifiers, ctx.out / GOLD_FILE)


def _offered(take: Take, ctx: Context) -> tuple[list[Row], dict[str, Origin]]:
    """All rows of a source or stage, each with its source and lineage filled in, and the facts of each source among them."""
    if isinstance(take.source, Stage):
        dataset = Dataset.open(ctx.path_of(take.source))
        rows = dataset.rows()
        known = {record["source"]: record for record in dataset.card.get("by_source", [])}
        facts = {}
        for row in reversed(rows):
            record = known.get(row.source, {})
            facts[row.source] = Origin(row.source, row.licence, record.get("url", ""), record.get("revision", ""), 0, 0)
        facts = dict(reversed(facts.items()))
        return rows, facts
    source = take.source
    rows = [
        replace(
            row,
            source=row.source or source.name,
            licence=row.licence or source.licence,
            lineage=row.lineage or (f"{source.name}@{source.revision[:12]}",),
        )
        for row in source.rows(ctx.data)
    ]
    if not rows:
        raise DataError(
            f"source {source.name} has no rows.\n  Is it the right file? Leave the source out to go on without it."
        )
    licences = {row.source: row.licence for row in reversed(rows)}
    return rows, {
        name: Origin(name, licences[name], source.url, source.revision, 0, 0)
        for name in dict.fromkeys(row.source for row in rows)
    }


def _step(
    steps: list[dict[str, Any]],
    dropped: list[Dropped],
    name: str,
    rows: Sequence[Row],
    kept: list[Row],
    lost: list[Dropped],
) -> list[Row]:
    steps.append({"step": name, "rows_in": len(rows), "rows_out": len(kept)})
    dropped += lost
    return kept


def _filtered(rows: Sequence[Row], each: Filter) -> tuple[list[Row], list[Dropped]]:
    kept: list[Row] = []
    lost: list[Dropped] = []
    for row in rows:
        verdict = each(row)
        if isinstance(verdict, Drop):
            lost.append(Dropped(row, type(each).__name__, verdict.reason, verdict.span))
        elif isinstance(verdict, Keep):
            kept.append(row)
        else:
            raise RecipeError(
                f"filter {type(each).__name__} answered {verdict!r} for row {row.id}.\n  A filter returns Keep() or Drop(reason, span)."
            )
    return kept, lost


def _away(rows: Sequence[Row], found: decontaminate.Scan, rule: Overlap) -> tuple[list[Row], list[Dropped]]:
    """Rows without overlap, and the others with the test item they share most with."""
    worst: dict[int, decontaminate.Evidence] = {}
    for evidence in found.evidence:
        if evidence.row not in worst or evidence.score > worst[evidence.row].score:
            worst[evidence.row] = evidence
    lost = []
    for number, evidence in sorted(worst.items()):
        item = found.items[evidence.item]
        how = "equals a short item of" if evidence.short else "overlaps"
        span = decontaminate.shared(rows[number], item, rule).item_span
        lost.append(Dropped(rows[number], decontaminate.RULE, f"{how} test {evidence.test}", span, item.id))
    return [row for number, row in enumerate(rows) if number not in worst], lost


def _check_gold(rows: Sequence[Row], verifiers: Mapping[str, Verifier], path: Path) -> None:
    graded: dict[str, int] = {}
    rejected: dict[str, list[tuple[Problem, str]]] = {}
    for row in rows:
        if isinstance(row, Problem) and row.solution:
            name = row.check.verifier
            graded[name] = graded.get(name, 0) + 1
            verdict = grade_gold(row, verifiers)
            if verdict.score != 1.0:
                rejected.setdefault(name, []).append((row, verdict.why))
    if not rejected:
        return
    every = [{**to_json(row), "why": why} for pairs in rejected.values() for row, why in pairs]
    write_atomic(path, "".join(json.dumps(record) + "\n" for record in every))
    name, pairs = next(iter(rejected.items()))
    row, why = pairs[0]
    raise VerifierError(
        f"verifier {name!r} rejects its own gold answer on {len(pairs):,} of {graded[name]:,} problems ({len(pairs) / graded[name]:.1%}).\n"
        f"  First: {row.source}/{row.id}, target {row.check.target!r:.80}: {why} All rows: {path}\n"
        f"  Fix the verifier, or drop them on purpose with keep=(GoldAccepted({{{name!r}: ...}}),)."
    )


def _check_targets(source: Source, verifiers: Mapping[str, Verifier], where: str, data: Path | None) -> None:
    """Problems of a source must name verifiers the recipe has, and targets they can read, where they have a `check_target(target)`."""
    for row in source.rows(data):
        if not isinstance(row, Problem):
            return
        name = row.check.verifier
        if name not in verifiers:
            raise RecipeError(
                f"{where}: problem {row.id} of {source.name} is graded by verifier {name!r}. {nearest(name, verifiers)}\n  Add it to verifiers={{...}}."
            )
        check = getattr(verifiers[name], "check_target", None)
        try:
            if callable(check):
                check(row.check.target)
        except VerifierError as error:
            raise DataError(
                f"{where}: problem {row.id} of {source.name} has a target that verifier {name!r} cannot read.\n  {error}"
            ) from error


def _resolve(source: object, data: Path | None) -> None:
    """Let a source say now that its file is missing or of another revision; one without `check` shows it by its first row."""
    check = getattr(source, "check", None)
    if callable(check):
        check(data)
    elif isinstance(source, Source):
        next(iter(source.rows(data)), None)


def _shown(each: object) -> str:
    text = repr(each)
    return text if len(text) <= 60 else type(each).__name__


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in counts.items()) or "none"
