"""Samples, pass@k, further turns, rankings and counts through a whole evaluation; kills at any moment; replies from files."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from burnish.core.types import Check, Message, Problem, Row, Verdict, user
from burnish.errors import DataError, RecipeError
from burnish.eval.answer import Given, GoldAnswers, Item, OnReply
from burnish.eval.model_answers import seed_for
from burnish.eval.models import Asking, evaluate_models
from burnish.eval.ranking import BestChoice
from burnish.eval.run import check_tasks, evaluate
from burnish.eval.score import problem_scores
from burnish.eval.task import EvalTask
from burnish.pipeline.machine import exact
from burnish.pipeline.progress import Console
from burnish.rollout.engine import Sampling

DRAWN = Sampling(temperature=0.8, max_tokens=8)


@dataclass(frozen=True, slots=True)
class Sums:
    """n problems "i + i"; the first stands twice when `twice`."""

    n: int = 3
    twice: bool = False
    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "sums"
    licence: ClassVar[str] = "CC0-1.0"
    url: ClassVar[str] = ""
    revision: ClassVar[str] = "generated"

    def rows(self, data: Path | None) -> Iterator[Row]:
        for i in [*range(self.n), *([0] if self.twice else [])]:
            yield Problem(user(f"{i} + {i}?"), Check("same", str(2 * i)), str(2 * i))


@dataclass(frozen=True, slots=True)
class Pairs:
    """Two problems with two choices each."""

    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "pairs"
    licence: ClassVar[str] = "CC0-1.0"
    url: ClassVar[str] = ""
    revision: ClassVar[str] = "generated"

    def rows(self, data: Path | None) -> Iterator[Row]:
        for right in (0, 1):
            target = json.dumps({"choices": [" yes", " no"], "right": [right]})
            yield Problem(user(f"Is {right} even?"), Check("choice", target))


@dataclass(frozen=True, slots=True)
class Same:
    """Right when the reply is the target."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (("1", "1"), ("2", "2"), ("3", "3"))
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (("1", "2"), ("2", "3"), ("3", "4"))

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(float(text == problem.check.target), f"{text!r} against {problem.check.target!r}")


@dataclass(frozen=True, slots=True)
class AndOneMore:
    """Asks for one more, twice."""

    VERSION: ClassVar[int] = 1

    def __call__(self, problem: Problem, reply: str) -> Problem | None:
        if len(problem.prompt) >= 5:
            return None
        target = str(int(problem.check.target) + 1)
        turns = (*problem.prompt, Message("assistant", reply), Message("user", "And one more?"))
        return Problem(turns, Check("same", target), target)


@dataclass
class Scripted:
    """Replies with what a function of the item says; remembers what it was asked."""

    reply: Any
    asked: list[Item]
    notes: tuple[str, ...] = ()

    def keys(self, items: Sequence[Item], seed: int) -> list[str]:
        return [repr((item.key, seed)) for item in items]

    def reply_to(self, items: Sequence[Item], seed: int, on_reply: OnReply) -> None:
        for item in reversed(items):
            self.asked.append(item)
            on_reply(item, Given(self.reply(item), tokens=2))


def quiet() -> Console:
    return Console(io.StringIO())


def run(task: EvalTask, answers: Any, out: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    scores = evaluate([task], answers, seed=0, label="x", model="m", data=None, out=out, console=quiet())
    return scores["tasks"][0], [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]


def test_samples_count_with_their_mean_or_as_pass_at_k(tmp_path: Path):
    """4 samples of 3 problems; right: samples 0 and 1 of the first, none, all. Means 1/2, 0, 1.

    pass@2 of 2 right in 4: 1 - C(2,2)/C(4,2) = 5/6; then 0 and 1: mean 11/18.
    """
    right = {0: (0, 1), 1: (), 2: (0, 1, 2, 3)}

    def reply(item: Item) -> str:
        number = int(item.problem.check.target) // 2
        return item.problem.check.target if item.sample in right[number] else "wrong"

    task = EvalTask("drawn", Sums(), Same(), DRAWN, samples=4)
    answers = Scripted(reply, [])
    row, lines = run(task, answers, tmp_path / "a")
    assert (row["n"], row["replies"], row["score"], len(answers.asked)) == (3, 12, pytest.approx(0.5), 12)
    assert [(line["sample"], line["turn"]) for line in lines] == [(sample, 0) for _ in range(3) for sample in range(4)]
    at_2 = replace(task, pass_at=2)
    row, lines = run(at_2, Scripted(reply, []), tmp_path / "b")
    assert row["score"] == pytest.approx(11 / 18)
    assert list(problem_scores(at_2, lines).values()) == [pytest.approx(5 / 6), 0.0, 1.0]
    lines[0]["score"] = lines[1]["score"] = lines[2]["score"] = None  # one graded sample is too few for pass@2
    assert list(problem_scores(at_2, lines).values()) == [None, 0.0, 1.0]


def test_a_problem_that_stands_twice_is_asked_once_also_with_samples(tmp_path: Path):
    """pass@1 of 1 right in 2 is 1/2, not of 2 right in 4 with a smaller error: the lines stand twice, the draws do not."""
    task = EvalTask("drawn", Sums(2, twice=True), Same(), DRAWN, samples=2)
    answers = Scripted(lambda item: "0" if item.sample else "wrong", [])
    row, lines = run(task, answers, tmp_path)
    assert (len(answers.asked), len(lines), row["n"], row["replies"]) == (4, 6, 3, 4)
    assert row["score"] == pytest.approx((0.5 + 0.5 + 0) / 3)


def test_every_sample_has_its_own_seed_and_greedy_replies_need_none():
    problem = Problem(user("?"), Check("same", "1"))
    task = EvalTask("drawn", Sums(), Same(), DRAWN, samples=3)
    items = [Item(task, problem, sample, turn) for sample in range(3) for turn in range(2)]
    seeds = {seed_for(item, seed) for item in items for seed in (0, 1)}
    assert len(seeds) == 12
    assert seed_for(items[0], 0) == seed_for(items[0], 0)
    assert seed_for(Item(EvalTask("greedy", Sums(), Same()), problem), 7) == 0


def test_turns_follow_each_other_and_a_problem_s_score_is_their_mean(tmp_path: Path):
    """Three turns; the first two right: 2/3 each. Lines have the first problem's id and the conversation so far."""
    task = EvalTask("talk", Sums(2), Same(), follow_up=AndOneMore())
    answers = Scripted(lambda item: item.problem.check.target if item.turn < 2 else "?", [])
    row, lines = run(task, answers, tmp_path / "a")
    assert (row["n"], row["replies"], row["score"]) == (2, 6, pytest.approx(2 / 3))
    assert [(line["turn"], len(line["prompt"])) for line in lines] == [(0, 1), (1, 3), (2, 5)] * 2
    assert len({line["id"] for line in lines}) == 2
    assert lines[2]["prompt"][3] == {"role": "assistant", "content": "1"}
    assert [line["target"] for line in lines[:3]] == ["0", "1", "2"]
    ceiling, _ = run(task, GoldAnswers(), tmp_path / "gold")
    assert ceiling["score"] == 1.0


def test_rankings_have_a_ceiling_and_their_choices_on_record(tmp_path: Path):
    row, lines = run(EvalTask("ranked", Pairs(), BestChoice()), GoldAnswers(), tmp_path)
    assert (row["n"], row["score"], row["cut_share"]) == (2, 1.0, 0.0)
    assert [choice["text"] for choice in lines[0]["choices"]] == [" yes", " no"]
    assert lines[0]["choices"][0]["logprob"] > lines[0]["choices"][1]["logprob"]
    assert (lines[0]["response"], lines[0]["flags"]) == ("", [])


def test_a_set_of_another_size_is_refused():
    check_tasks([EvalTask("right", Sums(3), Same(), n=3)], None)
    check_tasks([EvalTask("part", Sums(3), Same(), n=3, limit=2)], None)
    with pytest.raises(DataError, match=r"yields 3 problems, but the set has 4, so this is another revision"):
        check_tasks([EvalTask("wrong", Sums(3), Same(), n=4)], None)
    with pytest.raises(DataError, match="yields 3 problems, but the set has 2"):
        check_tasks([EvalTask("more", Sums(3), Same(), n=2)], None)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"samples": 0}, "samples=0 asks nothing"),
        ({"samples": 2, "pass_at": 3, "sampling": DRAWN}, "pass@k needs k replies"),
        ({"samples": 2}, "would all be the same"),
        ({"verifier": BestChoice(), "source": Pairs(), "follow_up": AndOneMore()}, "draws no replies"),
    ],
)
def test_numbers_that_cannot_work(fields: dict[str, Any], why: str):
    with pytest.raises(RecipeError, match=why):
        check_tasks([replace(EvalTask("t", Sums(), Same()), **fields)], None)


CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_eval_conversations import Same, Scripted, Sums, DRAWN, EvalTask, evaluate, quiet

def reply(item):
    with open(sys.argv[3], "a") as file:
        file.write("asked\\n")
    time.sleep(0.004)
    return "0"

task = EvalTask("drawn", Sums(20), Same(), DRAWN, samples=10)
evaluate([task], Scripted(reply, []), seed=0, label="x", model="m", data=None, out=Path(sys.argv[2]), console=quiet())
"""


@pytest.mark.slow  # four interpreters start
def test_killed_at_any_moment_it_goes_on_and_pays_nothing_twice(tmp_path: Path):
    """SIGKILL twice. Each kill may cost the one reply under way; the files are those of a run that was let alone."""

    def start(out: Path, asked: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", CHILD, str(Path(__file__).parent), str(out), str(asked)])

    asked = tmp_path / "asked"
    for wanted in (60, 130):
        child = start(tmp_path / "killed", asked)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (not asked.exists() or asked.read_text().count("\n") < wanted):
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    assert start(tmp_path / "killed", asked).wait(60) == 0
    assert 200 <= asked.read_text().count("\n") <= 202
    assert start(tmp_path / "whole", tmp_path / "other").wait(60) == 0
    for name in ("samples.jsonl", "scores.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def replay(tasks: Sequence[EvalTask], file: Path, out: Path) -> dict[str, Any]:
    (scores,) = evaluate_models((), tasks, Asking(exact(), out, "replay", replies=file), quiet())
    return scores


def test_replies_of_a_file_are_graded_as_they_were(tmp_path: Path):
    """samples.jsonl of one evaluation, with samples, turns and choices, gives the same scores again."""
    tasks = [
        EvalTask("drawn", Sums(), Same(), DRAWN, samples=3, pass_at=2),
        EvalTask("talk", Sums(2), Same(), follow_up=AndOneMore()),
        EvalTask("ranked", Pairs(), BestChoice()),
    ]
    answers = Scripted(lambda item: item.problem.check.target if (item.sample + item.turn) % 2 else "no", [])
    first = evaluate(tasks[:2], answers, seed=0, label="", model="", data=None, out=tmp_path / "a", console=quiet())
    ranked = evaluate(
        tasks[2:], GoldAnswers(), seed=0, label="", model="", data=None, out=tmp_path / "b", console=quiet()
    )
    whole = tmp_path / "all.jsonl"
    whole.write_text((tmp_path / "a" / "samples.jsonl").read_text() + (tmp_path / "b" / "samples.jsonl").read_text())
    assert replay(tasks, whole, tmp_path / "out")["tasks"] == [*first["tasks"], *ranked["tasks"]]


def test_what_a_file_lacks_is_ungraded_and_what_it_has_too_much_is_said(tmp_path: Path):
    file = tmp_path / "replies.jsonl"
    file.write_text('{"prompt": "1 + 1?", "response": "2"}\n{"prompt": "9 + 9?", "response": "18"}\n')
    task = EvalTask("sums", Sums(), Same())
    scores = replay([task], file, tmp_path / "out")
    row = scores["tasks"][0]
    assert (row["n"], row["score"], row["ungraded"], row["ungraded_why"]) == (
        1,
        1.0,
        2,
        "replies.jsonl has no reply to it",
    )
    assert scores["notes"] == ["lines of replies.jsonl that match no problem that was asked: 1"]
    file.write_text('{"prompt": "9 + 9?", "response": "18"}\n')
    with pytest.raises(DataError, match="none of its lines matches a problem of sums"):
        replay([task], file, tmp_path / "out")
    file.write_text('{"prompt": "1 + 1?", "response": "2", "choices": [{"text": "a"}]}\n')
    with pytest.raises(DataError, match="line 1, fields turn, finish, tokens and choices"):
        replay([task], file, tmp_path / "out")
