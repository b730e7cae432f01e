"""A benchmark as a value: source, prompt, sampling, verifier or ranking, metric, published score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from burnish.core.types import Problem
from burnish.data.source import Source
from burnish.errors import DataError, RecipeError
from burnish.eval.ranking import Ranking
from burnish.rollout.engine import GREEDY, Sampling
from burnish.verify.base import Verifier


@dataclass(frozen=True, slots=True)
class Published:
    """A score somebody published, with where and how, to stand beside ours. `score` is a share in [0, 1]."""

    score: float
    model: str
    url: str
    settings: str


class FollowUp(Protocol):
    """A frozen dataclass that goes on with a conversation."""

    VERSION: ClassVar[int]

    def __call__(self, problem: Problem, reply: str) -> Problem | None:
        """The next problem, its prompt being the conversation so far and the next turn; None where it ends."""


@runtime_checkable
class Summarises(Protocol):
    """What a verifier has besides where a benchmark's number is no mean of verdicts (win rates at equal lengths)."""

    def summarise(self, problems: Sequence[Problem], samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Members of the task's row in scores.json, in place of those of the mean: score, standard_error and interval as
        shares or None, metric, and under "aggregate" further numbers by name.

        problems: those asked, each once. samples: the task's lines of samples.jsonl, whose "id" names the problem.
        """


@dataclass(frozen=True, slots=True)
class EvalTask:
    """A benchmark.

    source:    yields Problems whose prompts are complete (shots and instructions included).
    verifier:  grades a reply; or a Ranking, which compares the log-probabilities of given continuations.
    limit:     only the first n problems, or None for all of them.
    average:   what the score is the mean of: "problems", or "categories", each with the mean of its problems, as suites of
               many subjects report it.
    prefill:   text put at the start of the reply; the model goes on from there, and only what it adds is graded.
    samples:   replies to each problem, each with a seed of its own.
    pass_at:   a problem's score is the mean over its samples (1), or the unbiased chance that at least one of `pass_at`
               replies is right (arXiv:2107.03374).
    chat:      whether the prompt is put into the model's chat template; False: its text as it is, for a plain continuation.
    follow_up: asks on after a reply (several turns); every turn is graded, and a problem's score is the mean of its turns.
    unseen:    belongs to a suite that is looked at only after development: asking it takes an unlock.
    n:         how many problems the whole set has, which is checked where it is known (above 0).
    shots:     worked examples in front of the question, for the record; the source puts them there.
    """

    name: str
    source: Source
    verifier: Verifier | Ranking
    sampling: Sampling = GREEDY
    metric: str = "accuracy"
    limit: int | None = None
    published: tuple[Published, ...] = ()
    prefill: str = ""
    average: Literal["problems", "categories"] = "problems"
    samples: int = 1
    pass_at: int = 1
    chat: bool = True
    follow_up: FollowUp | None = None
    unseen: bool = False
    n: int = 0
    shots: int = 0
    VERSION: ClassVar[int] = 1

    @property
    def of_replies(self) -> Verifier:
        """The verifier of replies. Raises RecipeError for a task that ranks given continuations instead."""
        if isinstance(self.verifier, Ranking):
            raise RecipeError(
                f"task {self.name} compares log-probabilities of given continuations ({type(self.verifier).__name__}), so there are no "
                "replies to grade.\n  Ask a model: burnish eval MODEL --tasks " + self.name
            )
        return self.verifier

    def problems(self, data: Path | None) -> list[Problem]:
        """The problems asked, in order.

        Raises DataError when the source yields anything else, nothing, or another number than the set is known to have.
        """
        found: list[Problem] = []
        whole = True
        for row in self.source.rows(data):
            if self.limit is not None and len(found) >= self.limit:
                whole = False
                break
            if not isinstance(row, Problem):
                raise DataError(
                    f"task {self.name}: source {self.source.name} yields {type(row).__name__} rows, but a task needs Problems."
                )
            found.append(row)
        if not found:
            raise DataError(f"task {self.name}: source {self.source.name} yields no problems.")
        if whole and self.n and len(found) != self.n and self.limit != len(found):
            raise DataError(
                f"task {self.name}: source {self.source.name} yields {len(found):,} problems, but the set has {self.n:,}, so this is another "
                f"revision or a part of it, and scores could not be compared.\n  Get revision {self.source.revision}, or ask part of it "
                "with a limit."
            )
        return found
