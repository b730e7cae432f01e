"""Who answers an evaluation's questions, and what a question and its answer are. No torch, no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from burnish.core.types import Completion, Finish, Problem
from burnish.eval.choices import perfect
from burnish.eval.ranking import Ranked, Ranking
from burnish.eval.task import EvalTask

ItemKey = tuple[str, str, int, int]


@dataclass(frozen=True, slots=True)
class Item:
    """One reply wanted: a problem of a task, the number of the sample and of the turn, each from 0.

    problem: what is asked in this turn. root: the id of the problem that opened the conversation, which the reply counts for.
    """

    task: EvalTask
    problem: Problem
    sample: int = 0
    turn: int = 0
    root: str = ""

    @property
    def key(self) -> ItemKey:
        """Task name, id of the first problem, sample and turn: what a finished reply is known by."""
        return self.task.name, self.root or self.problem.id, self.sample, self.turn

    def next(self, reply: str) -> Item | None:
        """The item of the next turn, or None where the conversation ends with this reply."""
        problem = self.task.follow_up(self.problem, reply) if self.task.follow_up else None
        return replace(self, problem=problem, turn=self.turn + 1, root=self.key[1]) if problem is not None else None


@dataclass(frozen=True, slots=True)
class Given:
    """What came back: a reply, or the log-probabilities of a ranking's choices (then the text is empty).

    finish: ABORT where there is no reply; `why` says the reason. tokens: of the reply, or of all choices; 0 where unknown.
    flags:  what was done to the request besides, e.g. "prompt_cut".
    """

    text: str = ""
    finish: Finish = Finish.STOP
    tokens: int = 0
    ranked: tuple[Ranked, ...] = ()
    flags: tuple[str, ...] = ()
    why: str = ""

    @classmethod
    def of(cls, completion: Completion, flags: tuple[str, ...] = ()) -> Given:
        """An engine's completion."""
        why = "the engine gave this reply up before it ended" if completion.finish is Finish.ABORT else ""
        return cls(completion.text, completion.finish, len(completion.token_ids), flags=flags, why=why)


OnReply = Callable[[Item, Given], None]


class Answers(Protocol):
    """Something that replies to items."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the scores must know about how the questions were put; usually nothing."""

    def keys(self, items: Sequence[Item], seed: int) -> list[str]:
        """What each item's reply is kept under: equal keys, equal replies. "" for a reply that is not worth keeping.

        Raises RecipeError for items that cannot be asked.
        """

    def reply_to(self, items: Sequence[Item], seed: int, on_reply: OnReply) -> None:
        """Call `on_reply` once for each item as its reply ends, in any order and in this thread."""


@dataclass(frozen=True, slots=True)
class GoldAnswers:
    """The worked solution of each problem, "" where none is known, and the right choices: what a perfect model would score."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def keys(self, items: Sequence[Item], seed: int) -> list[str]:
        """Nothing is kept: the solutions are in the data."""
        return [""] * len(items)

    def reply_to(self, items: Sequence[Item], seed: int, on_reply: OnReply) -> None:
        """Reply at once with every solution."""
        for item in items:
            rule = item.task.verifier
            if isinstance(rule, Ranking):
                ranked = perfect(rule, item.problem)
                on_reply(item, Given(tokens=len(ranked), ranked=ranked))
            else:
                on_reply(item, Given(item.problem.solution))
