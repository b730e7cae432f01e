"""Grading beside decoding: nothing is graded twice, nobody waits for a slow verifier, and verdicts do not depend on where they are found."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from burnish.core.types import Check, Finish, Problem, Row, Verdict, user
from burnish.errors import ArtifactError, VerifierError
from burnish.eval.answer import Given, Item
from burnish.eval.grading import AT_ONCE, Grader
from burnish.eval.ranking import BestChoice, Ranked
from burnish.eval.records import KeptVerdicts
from burnish.eval.task import EvalTask
from burnish.verify.base import Examples, Verifier
from burnish.verify.text_match import TextMatch

SEEN: list[str] = []
BATCHES: list[int] = []
GO = threading.Event()


@dataclass(frozen=True, slots=True)
class Nothing:
    """A source that is never read."""

    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "nothing"
    licence: ClassVar[str] = ""
    url: ClassVar[str] = ""
    revision: ClassVar[str] = "generated"

    def rows(self, data: Path | None) -> Iterator[Row]:
        yield from ()


@dataclass(frozen=True, slots=True)
class Slow:
    """Waits for a sign, and remembers what it saw."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[Examples] = ()
    REJECTS: ClassVar[Examples] = ()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        GO.wait(20)
        SEEN.append(text)
        return Verdict(float(text == problem.check.target), "slow")


@dataclass(frozen=True, slots=True)
class Panel:
    """A judge that remembers how many replies it was asked about at once."""

    down: bool = False
    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[Examples] = ()
    REJECTS: ClassVar[Examples] = ()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return self.grade_many([(problem, text)])[0]

    def grade_many(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        BATCHES.append(len(items))
        return [Verdict(None if self.down else 0.5, "the judge cannot be reached" if self.down else "so so")] * len(
            items
        )


@dataclass(frozen=True, slots=True)
class Unsendable:
    """A verifier that cannot be pickled."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[Examples] = ()
    REJECTS: ClassVar[Examples] = ()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(1.0, "")

    def __reduce__(self) -> str:
        raise TypeError("it holds a lock")


def items(verifier: Verifier | BestChoice, count: int, target: str = "1") -> list[Item]:
    task = EvalTask("t", Nothing(), verifier)
    return [Item(task, Problem(user(f"question {i}"), Check("x", target))) for i in range(count)]


@pytest.fixture(autouse=True)
def fresh() -> None:
    SEEN.clear()
    BATCHES.clear()
    GO.clear()


def grade(cases: Sequence[tuple[Item, str]], path: Path | None = None, jobs: int = 1) -> dict[str, Verdict]:
    found: dict[str, Verdict] = {}
    kept = KeptVerdicts(path)
    with Grader(kept, lambda item, verdict: found.update({item.key[1]: verdict}), jobs=jobs) as grader:
        for item, text in cases:
            grader.add(item, Given(text))
    kept.close()
    return found


def test_handing_over_does_not_wait_and_equal_replies_are_graded_once(tmp_path: Path):
    questions = items(Slow(), 1) * 3 + items(Slow(), 4)[1:]
    found: list[Verdict] = []
    began = time.monotonic()
    kept = KeptVerdicts(tmp_path / "v.jsonl")
    with Grader(kept, lambda item, verdict: found.append(verdict), jobs=1) as grader:
        for item in questions:
            grader.add(item, Given("1"))
        assert time.monotonic() - began < 5
        assert found == []
        GO.set()
    assert (len(found), SEEN) == (6, ["1"] * 4)
    grade([(item, "1") for item in questions], tmp_path / "v.jsonl")
    assert len(SEEN) == 4  # all kept
    kept.close()


@pytest.mark.parametrize("jobs", [1, 2])
def test_workers_give_the_same_verdicts(jobs: int):
    cases = [(item, text) for item, text in zip(items(TextMatch(), 6), ["1", "2", "1.", "", " 1", "one"], strict=True)]
    verifier = TextMatch()
    assert grade(cases, jobs=jobs) == {item.key[1]: verifier(item.problem, text) for item, text in cases}


def test_a_judge_is_asked_in_batches_and_holds_nobody_up():
    GO.set()
    judged, quick = items(Panel(), 2 * AT_ONCE + 3), items(Slow(), 3)
    found = grade([*((item, "r") for item in judged), *((item, "1") for item in quick)])
    assert sum(BATCHES) == len(judged)
    assert len(BATCHES) <= 3
    assert len(found) == len(judged)  # the quick ones have the first three questions' ids
    assert SEEN == ["1"] * 3


def test_what_a_judge_leaves_ungraded_is_asked_again(tmp_path: Path):
    questions = items(Panel(down=True), 3)
    found = grade([(item, "r") for item in questions], tmp_path / "v.jsonl")
    assert {verdict.why for verdict in found.values()} == {"the judge cannot be reached"}
    grade([(item, "r") for item in questions], tmp_path / "v.jsonl")
    assert BATCHES == [3, 3]
    grade([(item, "r") for item in items(Panel(), 3)], tmp_path / "v.jsonl")
    grade([(item, "r") for item in items(Panel(), 3)], tmp_path / "v.jsonl")
    assert BATCHES == [3, 3, 3]


def test_rankings_and_replies_that_never_came():
    ranked, gone = items(BestChoice(), 2, '{"choices": [" a", " b"], "right": [1]}')
    found: dict[str, Verdict] = {}
    with Grader(KeptVerdicts(None), lambda item, v: found.update({item.key[1]: v}), jobs=1) as grader:
        grader.add(ranked, Given(ranked=(Ranked(" a", -2.0, 1, False), Ranked(" b", -1.0, 1, True))))
        grader.add(gone, Given(finish=Finish.ABORT, why="the server refused it"))
    assert [verdict.score for verdict in found.values()] == [1.0, None]
    assert found[gone.key[1]].why == "the server refused it"


def test_what_grading_cannot_go_on_from_reaches_the_one_who_hands_over():
    with pytest.raises(VerifierError, match="cannot be sent to another process"):
        grade([(item, "r") for item in items(Unsendable(), 1)], jobs=2)

    class Full(KeptVerdicts):
        def put(self, key: str, verdict: Verdict) -> None:
            raise ArtifactError("the disk is full")

    def hand_over_for_long() -> None:
        with Grader(Full(None), lambda item, verdict: None, jobs=1) as grader:
            for number in range(10_000):
                grader.add(items(Slow(), 1)[0], Given(str(number)))
                time.sleep(0.01)

    GO.set()
    with pytest.raises(ArtifactError, match="disk is full"):
        hand_over_for_long()
    assert len(SEEN) < 1_000
