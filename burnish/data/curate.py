"""The stage that turns sources into a dataset: amounts, filters, duplicates, decontamination, in this order, all on record."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from burnish.core.files import write_atomic
from burnish.core.rows import to_json
from burnish.core.types import Demo, Problem, Row
from burnish.data import card as cards
from burnish.data import dedup
from burnish.data.clean import Filter, GoldAccepted, grade_gold
from burnish.data.dataset import write_dataset, write_table
from burnish.data.decontamination.items import HeldOut, TestSet, item_of
from burnish.data.decontamination.rows import Evidence, Scan, Shared, scan, shared
from burnish.data.decontamination.rule import RULE, Overlap
from burnish.data.decontamination.tested import write_tested
from burnish.data.decontamination.verdict import Policy, decide
from burnish.data.intake import SPOOL, Intake, take_in
from burnish.data.mix import All, Amount, asked, check_amount, repeated
from burnish.data.near import NearDuplicates, near
from burnish.data.pool import Loss, Pool
from burnish.data.source import Source
from burnish.errors import DataError, MissingData, RecipeError, VerifierError, nearest
from burnish.pipeline.stage import Context, Stage
from burnish.verify.base import Verifier

GOLD_FILE = "gold_rejected.jsonl"
BROKEN_FILE = "broken.jsonl"
OVERLAPS = "overlaps.parquet"
_TESTS_SHOWN = 6


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
        return asked(self.amount, self.known)


@dataclass(frozen=True)
class Curate(Stage):
    """A dataset from sources.

    sources:   what goes in; earlier sources win over later ones where rows are duplicates.
    keep:      filters, asked in order; the first that says no drops the row.
    dedup:     drop exact duplicates after normalisation.
    near:      drop near duplicates as well, by this rule; a giant cluster stops the run unless the rule says otherwise.
    max_broken: the largest share of a source's records that may be unreadable; they are counted and kept in broken.jsonl.
    away_from: test sets; rows that contain more than `overlap.coverage` of an item are removed. Of an evaluation task only
               its name and source count, so other evaluation settings do not change the data.
    policy:    whether overlapping rows go, or flagged sources as a whole, and which tests are kept unseen.
    verifiers: by name; every kept problem's own solution must be accepted, unless `keep` has GoldAccepted.
    label:     the artifact's first name.
    """

    MAKES: ClassVar[str] = "rows"

    sources: tuple[Take, ...]
    keep: tuple[Filter, ...] = ()
    dedup: bool = True
    near: NearDuplicates | None = None
    max_broken: float = 0.01
    away_from: tuple[TestSet, ...] = ()
    overlap: Overlap = field(default_factory=Overlap)
    policy: Policy = field(default_factory=Policy)
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
        tests = [test.name for test in self.away_from]
        more = f" and {len(tests) - _TESTS_SHOWN} more tests" if len(tests) > _TESTS_SHOWN else ""
        return {**rows, "away from": ", ".join(tests[:_TESTS_SHOWN]) + more} if tests else rows

    def check(self, data: Path | None) -> None:
        """Raise RecipeError or DataError for amounts, sources and tests that cannot work."""
        self._check_names()
        missing: list[str] = []
        for i, take in enumerate(self.sources):
            try:
                self._check_take(take, f"{self.label}.sources[{i}]", data)
            except MissingData as error:
                missing += error.texts
        for test in self.away_from:
            try:
                _resolve(getattr(test, "source", test), data)
            except MissingData as error:
                missing += error.texts
        if missing:
            raise MissingData(*missing)

    def _check_names(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", self.label):
            raise RecipeError(f"label={self.label!r}: it names a folder; use lower-case letters, digits, - and _.")
        if not self.sources:
            raise RecipeError(
                f"{self.label}.sources is empty, so there is nothing to learn from.\n  Add Take(source, All())."
            )
        for name in sorted({test.name for test in self.away_from}):
            if sum(test.name == name for test in self.away_from) > 1:
                raise RecipeError(
                    f"{self.label}.away_from names the test {name!r} twice, so its counts could not be told apart.\n  Leave one out."
                )
        if unknown := sorted(set(self.policy.unseen) - {test.name for test in self.away_from}):
            raise RecipeError(
                f"{self.label}.policy: unseen names {unknown[0]!r}, which is not in away_from, so nothing would be kept from it.\n"
                f"  {nearest(unknown[0], [test.name for test in self.away_from])}"
            )

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
        """Write rows.parquet, dropped.parquet, card.json, with tests overlaps.parquet and tested.parquet, with broken records broken.jsonl.

        Rows are never all in memory. After an interruption the sources that were taken in are not read again.
        """
        self.check(ctx.data)
        taken = [
            take_in(i, take, self.keep, self.max_broken, f"{self.label}.sources[{i}]", ctx)
            for i, take in enumerate(self.sources)
        ]
        pool = Pool(tuple(each.part for each in taken))
        steps = self._intake_steps(taken, pool)
        if self.dedup:
            _step(steps, pool, "exact duplicates", dedup.exact(pool))
        duplicates: dict[str, Any] = {}
        if self.near is not None:
            found = near(pool, self.near, scratch=ctx.out / SPOOL)
            duplicates = found.record()
            _step(steps, pool, "near duplicates", found.lost)
        overlaps: list[dict[str, Any]] = []
        if self.away_from:
            overlaps = self._decontaminate(steps, pool, ctx)
        reasons = Counter(loss.reason for loss in pool.lost.values())
        for each in taken:
            reasons.update(each.reasons)
        dropped = dict(sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0])))
        if not len(pool):
            raise DataError(
                f"{self.label}: no row is left, so there is nothing to train on. What each step took:\n{cards.took(steps)}\n"
                f"  Reasons: {_listed(dropped)}.\n  Loosen the step that took the most, or add sources."
            )
        self._check_rows(pool, ctx)
        card = {
            "rows": pool.size,
            "by_source": cards.by_source([origin for each in taken for origin in each.origins], pool.left()),
            "steps": steps, "dropped": dropped, "contamination": overlaps, "diversity": cards.variety(pool),
            "near_duplicates": duplicates, "mended": _sum(each.mended for each in taken), "broken": _sum(each.broken for each in taken),
        }  # fmt: skip
        write_dataset(ctx.out, self._final(pool), card=card, dropped=pool.drops())
        _gather_broken(ctx.out, len(self.sources))
        shutil.rmtree(ctx.out / SPOOL)
        ctx.console.line(f"{self.label}: {card['rows']:,} rows")
        for line in cards.lines(card):
            ctx.console.line(line)

    def _intake_steps(self, taken: Sequence[Intake], pool: Pool) -> list[dict[str, Any]]:
        read, chosen = sum(each.read for each in taken), sum(each.chosen for each in taken)
        steps: list[dict[str, Any]] = [{"step": "read", "rows_in": read, "rows_out": read}]
        filters = [_shown(each) for each in self.keep]
        rows_in = read
        for i, (name, profile) in enumerate(pool.profiles(filters), -1):
            rows_out = chosen if i < 0 else sum(take.filters[i][1] for take in taken)
            steps.append({"step": name, "rows_in": rows_in, "rows_out": rows_out, "profile": profile.to_json()})
            rows_in = rows_out
        return steps

    def _final(self, pool: Pool) -> Iterator[Row]:
        for number, row in pool:
            yield from repeated(replace(row, lineage=(*row.lineage, self.name)), int(pool.times[number]))

    def _decontaminate(self, steps: list[dict[str, Any]], pool: Pool, ctx: Context) -> list[dict[str, Any]]:
        """Take out the rows that overlap with a test item; returns the card's table, evidence included."""
        items = [item_of(test.name, problem) for test in self.away_from for problem in test.problems(ctx.data)]
        numbers = np.flatnonzero(pool.alive)
        found = scan((row for _, row in pool), items, self.overlap)
        rows = pool.fetch(int(numbers[evidence.row]) for evidence in found.evidence)
        overlapping = {evidence.row: rows[int(numbers[evidence.row])] for evidence in found.evidence}
        texts = {
            each.at: shared(overlapping[each.row], found.items[each.item], found.findings.rows[each.at], self.overlap)
            for each in found.evidence
        }
        verdict = decide(found.findings, found.items, self.overlap, self.policy, pool.left())
        overlaps = cards.contamination(overlapping, texts, found, verdict)
        lost = {int(numbers[row]): loss for row, loss in _away(found, texts).items()}
        self._keep_findings(found, pool, numbers, ctx.out)
        write_tested(ctx.out, found.items, found.findings, self.overlap, stayed=self.policy.remove == "none")
        for source in verdict.sources:
            if source["gone_for"]:
                why = Loss(RULE, f"source {source['source']} is flagged for test {', '.join(source['gone_for'])}")
                lost = {int(number): why for number in pool.of_source(source["source"])} | lost
        _step(steps, pool, "decontamination", {} if self.policy.remove == "none" else lost)
        return overlaps

    def _keep_findings(self, found: Scan, pool: Pool, numbers: NDArray[np.int64], out: Path) -> None:
        """Every row and test that share a window, whatever the thresholds: overlaps.parquet, with the rows' ids."""
        table = found.findings.row_table([item.id for item in found.items])
        scanned = table.column("row").to_pylist()
        wanted = {int(numbers[row]) for row in scanned}
        ids = {number: row.id for number, row in pool if number in wanted}
        write_table(out / OVERLAPS, table.append_column("row_id", [[ids[int(numbers[row])] for row in scanned]]))

    def _check_rows(self, pool: Pool, ctx: Context) -> None:
        """Demos must end with the reply to learn, and problems must have verifiers that accept their own solutions."""
        gold = self.verifiers and not any(isinstance(each, GoldAccepted) for each in self.keep)
        check = GoldCheck(self.verifiers)
        open_ended, first = 0, ""
        for _, row in pool:
            if isinstance(row, Demo) and (not row.messages or row.messages[-1].role != "assistant"):
                open_ended += 1
                first = first or f"{row.id} from {row.source}"
            elif gold and isinstance(row, Problem):
                check.add(row)
        if open_ended:
            raise DataError(
                f"{self.label}: {open_ended:,} of {len(pool):,} rows are demos that do not end with an assistant turn, so they hold no "
                f"reply to learn. First: {first}.\n"
                "  Drop them on purpose with keep=(EndsWithAssistant(),)."
            )
        check.settle(ctx.out / GOLD_FILE)


class GoldCheck:
    """Grades every problem's own solution, and keeps those that are rejected."""

    def __init__(self, verifiers: Mapping[str, Verifier]) -> None:
        self._verifiers = verifiers
        self._graded: Counter[str] = Counter()
        self._rejected: dict[str, list[tuple[Problem, str]]] = {}

    def add(self, row: Problem) -> None:
        """Grade a problem's solution, where it has one."""
        if not row.solution:
            return
        self._graded[row.check.verifier] += 1
        verdict = grade_gold(row, self._verifiers)
        if verdict.score != 1.0:
            self._rejected.setdefault(row.check.verifier, []).append((row, verdict.why))

    def settle(self, path: Path) -> None:
        """Raise VerifierError where a verifier rejected a solution; all of them are written to `path`."""
        if not self._rejected:
            return
        every = [{**to_json(row), "why": why} for pairs in self._rejected.values() for row, why in pairs]
        write_atomic(path, "".join(json.dumps(record) + "\n" for record in every))
        name, pairs = next(iter(self._rejected.items()))
        row, why = pairs[0]
        total = self._graded[name]
        raise VerifierError(
            f"verifier {name!r} rejects its own gold answer on {len(pairs):,} of {total:,} problems ({len(pairs) / total:.1%}).\n"
            f"  First: {row.source}/{row.id}, target {row.check.target!r:.80}: {why} All rows: {path}\n"
            f"  Fix the verifier, or drop them on purpose with keep=(GoldAccepted({{{name!r}: ...}}),)."
        )


def _step(steps: list[dict[str, Any]], pool: Pool, name: str, losses: Mapping[int, Loss]) -> None:
    rows_in = pool.size
    pool.lose(losses)
    steps.append({"step": name, "rows_in": rows_in, "rows_out": pool.size, "profile": pool.profile().to_json()})


def _away(found: Scan, texts: Mapping[int, Shared]) -> dict[int, Loss]:
    """Rows with overlap, each with the test item it shares most with."""
    worst: dict[int, Evidence] = {}
    for evidence in found.evidence:
        if evidence.row not in worst or evidence.score > worst[evidence.row].score:
            worst[evidence.row] = evidence
    return {
        row: Loss(
            RULE,
            f"{'equals a short item of' if evidence.short else 'overlaps'} test {evidence.test}",
            texts[evidence.at].item_span,
            found.items[evidence.item].id,
        )
        for row, evidence in sorted(worst.items())
    }


def _gather_broken(out: Path, takes: int) -> None:
    """One broken.jsonl of all sources' broken records; none where every record could be read."""
    found = [path for i in range(takes) if (path := out / SPOOL / f"{i}-broken.jsonl").exists()]
    if found:
        write_atomic(out / BROKEN_FILE, b"".join(path.read_bytes() for path in found))


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total.most_common())


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
