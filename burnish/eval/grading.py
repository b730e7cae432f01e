"""Grading beside decoding: replies are handed over as they end, and verdicts come back from other threads."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from burnish.core.fingerprint import encode
from burnish.core.types import Finish, Problem, Verdict
from burnish.eval.answer import Given, Item
from burnish.eval.choices import ranked_verdict
from burnish.eval.ranking import Ranking
from burnish.eval.records import KeptVerdicts, verdict_key
from burnish.verify.apart import grade_all
from burnish.verify.base import GradesMany, Verifier

AT_ONCE = 64  # replies a judge is asked about together, or fewer when no more are to come

OnVerdict = Callable[[Item, Verdict], None]


class Grader:
    """Grades replies while others are still being written; used as a context, which ends when everything is graded.

    kept:       verdicts that are there already are not found again, and new ones are kept.
    on_verdict: called once for each item, from any thread.
    jobs:       replies graded at a time, in worker processes; 1 grades in this process, in a thread of its own.

    Verifiers share one lane. Each judge (GradesMany) has its own and waits for a batch, so that a slow one holds nobody up.
    """

    def __init__(self, kept: KeptVerdicts, on_verdict: OnVerdict, *, jobs: int) -> None:
        self._kept, self._on_verdict, self._jobs = kept, on_verdict, jobs
        self._rules: dict[int, _Rule] = {}
        self._waiting: dict[str, list[Item]] = {}
        self._lanes: dict[str, _Lane] = {}
        self._turn = threading.Lock()

    def __enter__(self) -> Grader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for lane in self._lanes.values():
            lane.close(drop=error is not None)
        if error is None:
            self._raise()

    def add(self, item: Item, given: Given) -> None:
        """Grade what came back for the item, now or soon. Raises what an earlier grading could not go on from."""
        self._raise()
        if given.finish is Finish.ABORT:
            self._on_verdict(item, Verdict(None, given.why or "there is no reply"))
            return
        rule = self._rule(item.task.verifier)
        text = given.text
        if rule.ranking is not None:
            text = json.dumps([[each.text, each.logprob, each.tokens, each.greedy] for each in given.ranked])
        key = verdict_key(rule.identity, item.problem.id if item.turn else item.key[1], text)
        known = self._kept.get(key)
        if known is None and rule.ranking is not None:
            known = ranked_verdict(rule.ranking, item.problem, given.ranked)
            self._kept.put(key, known)
        if known is not None:
            self._on_verdict(item, known)
        else:
            self._hand_over(rule, key, item, text)

    def _hand_over(self, rule: _Rule, key: str, item: Item, text: str) -> None:
        with self._turn:
            if key in self._waiting:  # an equal reply is being graded
                self._waiting[key].append(item)
                return
            self._waiting[key] = [item]
        place = rule.name if rule.judge else ""
        if place not in self._lanes:
            self._lanes[place] = _Lane(self._graded, self._jobs, AT_ONCE if rule.judge else 1)
        self._lanes[place].add(_Case(rule, key, item.problem, text))

    def _graded(self, key: str, verdict: Verdict) -> None:
        """Called by a lane's thread."""
        self._kept.put(key, verdict)
        with self._turn:
            items = self._waiting.pop(key)
        for item in items:
            self._on_verdict(item, verdict)

    def _rule(self, verifier: Verifier | Ranking) -> _Rule:
        """What there is to know about a verifier; worked out once for each object."""
        known = self._rules.get(id(verifier))
        if known is None:
            known = self._rules[id(verifier)] = _Rule.of(verifier)
        return known

    def _raise(self) -> None:
        for lane in self._lanes.values():
            if lane.error is not None:
                raise lane.error


@dataclass(frozen=True, slots=True)
class _Rule:
    """A verifier with its identity, also as text. One of verifier and ranking is None. judge: it grades many at once."""

    verifier: Verifier | None
    ranking: Ranking | None
    identity: Any
    name: str
    judge: bool

    @classmethod
    def of(cls, rule: Verifier | Ranking) -> _Rule:
        identity = encode(rule, identity=True)
        name = json.dumps(identity, sort_keys=True)
        if isinstance(rule, Ranking):
            return cls(None, rule, identity, name, False)
        return cls(rule, None, identity, name, isinstance(rule, GradesMany))


@dataclass(frozen=True, slots=True)
class _Case:
    """A reply to grade, and the key of its verdict."""

    rule: _Rule
    key: str
    problem: Problem
    text: str


class _Lane:
    """A thread that grades what is handed over, in the order of arrival, as much at a time as is waiting."""

    def __init__(self, on_graded: Callable[[str, Verdict], None], jobs: int, least: int) -> None:
        self.error: BaseException | None = None
        self._on_graded, self._jobs, self._least = on_graded, jobs, least
        self._queue: list[_Case] = []
        self._changed = threading.Condition()
        self._closing = self._dropped = False
        self._thread = threading.Thread(target=self._work, name="grading", daemon=True)
        self._thread.start()

    def add(self, case: _Case) -> None:
        """Take a reply; returns at once."""
        with self._changed:
            self._queue.append(case)
            self._changed.notify()

    def close(self, *, drop: bool) -> None:
        """Grade the rest, or leave it, and end the thread; what is under way is waited for unless the rest is left."""
        with self._changed:
            self._closing, self._dropped = True, drop
            self._changed.notify()
        self._thread.join(timeout=0.2 if drop else None)

    def _work(self) -> None:
        try:
            while batch := self._next():
                by_rule: dict[str, list[_Case]] = {}
                for case in batch:
                    by_rule.setdefault(case.rule.name, []).append(case)
                for part in by_rule.values():
                    self._grade(part)
        except BaseException as error:  # noqa: BLE001 - raised again where replies are handed over
            self.error = error

    def _next(self) -> list[_Case]:
        """What is waiting, once it is enough or no more is to come; [] at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or len(self._queue) >= self._least)
            batch, self._queue = self._queue, []
            return [] if self._dropped else batch

    def _grade(self, part: Sequence[_Case]) -> None:
        verifier = part[0].rule.verifier
        assert verifier is not None  # rankings are graded where they are handed over
        grade_all(
            verifier, [(case.problem, case.text) for case in part],
            lambda number, verdict: self._on_graded(part[number].key, verdict), jobs=self._jobs,
        )  # fmt: skip
