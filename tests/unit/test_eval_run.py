"""Evaluation without a model: records, resuming, scores, gold ceiling and empty floor, comparisons between stages."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from burnish.core.files import read_json
from burnish.core.types import Check, Completion, Demo, Finish, Message, Problem, Row, Verdict, user
from burnish.errors import DataError, RecipeError, VerifierError
from burnish.eval.answer import Answers, Given, GoldAnswers, Item, OnReply
from burnish.eval.run import Evaluate, check_tasks, evaluate
from burnish.eval.task import EvalTask, Published
from burnish.pipeline.progress import Console
from burnish.pipeline.stage import Stage
from burnish.rollout.engine import Sampling


@dataclass(frozen=True, slots=True)
class Sums:
    """n problems "i + i"; every fifth stands twice when `twice`."""

    n: int = 12
    twice: bool = False
    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "sums"
    licence: ClassVar[str] = "CC0-1.0"
    url: ClassVar[str] = ""
    revision: ClassVar[str] = "generated"

    def rows(self, data: Path | None) -> Iterator[Row]:
        for i in range(self.n):
            row = Problem(user(f"{i} + {i}?"), Check("same", str(2 * i)), str(2 * i), "even" if i % 2 == 0 else "odd")
            yield from [row, row] if self.twice and i % 5 == 0 else [row]


@dataclass(frozen=True, slots=True)
class Same:
    """Right when the reply is the target; "raise" breaks it, "half" is half right."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (("1", "1"), ("2", "2"), ("3", "3"))
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (("1", "2"), ("2", "3"), ("3", "4"))

    def __call__(self, problem: Problem, text: str) -> Verdict:
        if text == "raise":
            raise ZeroDivisionError("on purpose")
        if text == "half":
            return Verdict(0.5, "half")
        return Verdict(float(text == problem.check.target), f"{text!r} against {problem.check.target!r}")


@dataclass(frozen=True, slots=True)
class Never:
    """Rejects everything."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = ()
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(0.0, "never")


@dataclass(frozen=True, slots=True)
class Broken:
    """Always raises."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = ()
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        raise KeyError("target")


@dataclass(frozen=True, slots=True)
class OnlyDemos:
    """A source of the wrong kind of rows."""

    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "demos"
    licence: ClassVar[str] = ""
    url: ClassVar[str] = ""
    revision: ClassVar[str] = "generated"

    def rows(self, data: Path | None) -> Iterator[Row]:
        yield Demo((Message("user", "a"), Message("assistant", "b")))


@dataclass
class Scripted:
    """Replies from a table by prompt, the rest empty; stops like a killed process after `stop_after`; counts what it was asked."""

    replies: dict[str, tuple[str, Finish]]
    stop_after: int | None = None
    asked: int = 0
    notes: tuple[str, ...] = ()

    def keys(self, items: Sequence[Item], seed: int) -> list[str]:
        return [repr((*item.key, seed)) for item in items]

    def reply_to(self, items: Sequence[Item], seed: int, on_reply: OnReply) -> None:
        for item in reversed(items):  # engines finish in any order
            if self.asked == self.stop_after:
                raise KeyboardInterrupt
            self.asked += 1
            text, finish = self.replies.get(item.problem.prompt[-1].content, ("", Finish.STOP))
            on_reply(item, Given.of(Completion((1, 2), (-0.1, -0.2), finish, text)))


def quiet() -> Console:
    return Console(io.StringIO())


def run(tasks: Sequence[EvalTask], answers: Answers, out: Path, label: str = "x"):
    return evaluate(tasks, answers, seed=0, label=label, model="m", data=None, out=out, console=quiet())


SUMS = EvalTask("sums", Sums(), Same(), published=(Published(0.5, "someone", "https://example.org", "greedy"),))


def test_ceiling_and_floor(tmp_path: Path):
    top = run([SUMS], GoldAnswers(), tmp_path / "gold")["tasks"][0]
    assert (top["n"], top["score"], top["standard_error"], top["ungraded"], top["cut_share"]) == (12, 1.0, 0.0, 0, 0.0)
    assert top["interval"][1] == 1.0
    # Wilson's interval at 6 of 6 begins at 6 / (6 + 1.96^2).
    bounds = [pytest.approx(6 / (6 + 1.959964**2)), 1.0]
    whole = {"n": 6, "clusters": 6, "score": 1.0, "standard_error": 0.0, "interval": bounds, "ungraded": 0}
    assert top["by_category"] == {"even": whole, "odd": whole}
    assert top["published"][0]["model"] == "someone"
    assert top["settings"]["sampling"]["max_tokens"] == SUMS.sampling.max_tokens
    assert top["settings"]["revision"] == "generated"
    bottom = run([SUMS], Scripted({}), tmp_path / "empty")["tasks"][0]
    assert (bottom["score"], bottom["interval"][0]) == (0.0, 0.0)


def test_ungraded_and_cut_are_counted_and_left_out(tmp_path: Path):
    """12 problems: one right, one raises, one aborted: 1/10 over 10 graded; one of 12 cut."""
    answers = Scripted(
        {"1 + 1?": ("2", Finish.LENGTH), "2 + 2?": ("raise", Finish.STOP), "3 + 3?": ("6", Finish.ABORT)}
    )
    row = run([SUMS], answers, tmp_path)["tasks"][0]
    assert (row["n"], row["score"], row["ungraded"]) == (10, 0.1, 2)
    assert row["cut_share"] == pytest.approx(1 / 12)
    samples = {
        s["prompt"][0]["content"]: s for s in map(json.loads, (tmp_path / "samples.jsonl").read_text().split("\n")[:-1])
    }
    assert samples["2 + 2?"]["score"] is None
    assert "ZeroDivisionError: on purpose" in samples["2 + 2?"]["why"]
    assert samples["3 + 3?"]["score"] is None
    assert samples["1 + 1?"]["finish"] == "length"


def test_all_ungraded_is_not_a_score(tmp_path: Path):
    one = EvalTask("one", Sums(1), Same())
    row = run([one], Scripted({"0 + 0?": ("raise", Finish.STOP)}), tmp_path)["tasks"][0]
    assert (row["n"], row["score"], row["interval"], row["ungraded"]) == (0, None, None, 1)


@pytest.mark.parametrize("stop_after", [0, 1, 7, 23])
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path, stop_after: int):
    tasks = [SUMS, EvalTask("twice", Sums(twice=True), Same())]
    table = {f"{i} + {i}?": (str(2 * i), Finish.STOP) for i in range(0, 12, 3)}
    whole = Scripted(table)
    run(tasks, whole, tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        run(tasks, Scripted(table, stop_after), tmp_path / "b")
    with (tmp_path / "b" / "asked" / "replies.jsonl").open("ab") as file:
        file.write(b'{"key": "cut in the midd')
    rest = Scripted(table)
    run(tasks, rest, tmp_path / "b")
    assert rest.asked == whole.asked - stop_after
    again = Scripted(table)
    run(tasks, again, tmp_path / "b")
    assert again.asked == 0
    for name in ("samples.jsonl", "scores.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert read_json(tmp_path / "b" / "timings.json")["samples_before"] == 24


def test_repeated_problems_are_asked_once_counted_twice_and_clustered(tmp_path: Path):
    task = EvalTask("twice", Sums(twice=True), Same())
    answers = Scripted({"0 + 0?": ("0", Finish.STOP)})
    row = run([task], answers, tmp_path)["tasks"][0]
    assert (answers.asked, row["n"], row["score"]) == (12, 15, pytest.approx(2 / 15))


def test_limit(tmp_path: Path):
    assert run([EvalTask("few", Sums(), Same(), limit=3)], GoldAnswers(), tmp_path)["tasks"][0]["n"] == 3


def test_bad_tasks_are_named():
    with pytest.raises(RecipeError, match="no tasks"):
        check_tasks((), None)
    with pytest.raises(RecipeError, match="sums stands twice"):
        check_tasks((SUMS, SUMS), None)
    with pytest.raises(RecipeError, match="limit=0"):
        check_tasks((EvalTask("z", Sums(), Same(), limit=0),), None)
    with pytest.raises(VerifierError, match="Never rejects 12 of the first 12 worked solutions"):
        check_tasks((EvalTask("n", Sums(), Never()),), None)
    with pytest.raises(VerifierError, match="12 of 12 problems cannot be graded"):
        check_tasks((EvalTask("b", Sums(), Broken()),), None)
    with pytest.raises(DataError, match="yields Demo rows"):
        check_tasks((EvalTask("d", OnlyDemos(), Same()),), None)
    with pytest.raises(DataError, match="no problems"):
        check_tasks((EvalTask("e", Sums(0), Same()),), None)


@dataclass(frozen=True)
class Made(Stage):
    """A stage that stands for a finished folder."""

    label: str

    @property
    def name(self) -> str:
        return self.label


def test_evaluate_stage_describes_itself():
    stage = Evaluate(Made("sft"), (SUMS, EvalTask("few", Sums(), Same(), Sampling(max_tokens=9), limit=3)))
    assert stage.name == "eval-sft"
    assert stage.headline() == {"tasks": "sums, few (first 3)", "max_tokens": 256, "seed": 0}
    stage.check(None)
