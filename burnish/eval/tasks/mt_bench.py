"""MT-Bench (arXiv:2306.05685): 80 questions of two turns in 8 categories, each reply rated from 1 to 10 by a judge model.

Source: question.jsonl of lm-sys/FastChat; licence Apache-2.0.
Protocol: the first turn as the user's message, then the model's reply and the second turn; no system prompt, chat template,
1,024 new tokens a turn. FastChat draws writing and roleplay at temperature 0.7, STEM and humanities at 0.1, the rest greedily;
here all is greedy, which is this task's one setting of sampling.
Judge: single-answer grading in FastChat's texts (judge_prompts.jsonl), temperature 0, up to 2,048 tokens; maths, reasoning and
coding are judged beside GPT-4's reference answers. A second turn is judged with the whole conversation. The first "[[n]]" is
the rating; a reply without one is ungraded (FastChat: -1, left out), as is one whose mark stands in the judged text.
Metric: mean of (rating - 1) / 9 over questions, a question being the mean of its turns; under "aggregate" the rating from 1 to
10 as published, in all, by turn and by category.

Traps: published numbers have GPT-4 as judge; other judges give other numbers. Reference answers of the published file hold known
errors. Questions with a turn that could not be judged count by the other one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from burnish.core.types import Check, Message, Problem, Verdict
from burnish.data.sources.mt_bench import MTBench
from burnish.eval.judging import Judge
from burnish.eval.task import EvalTask
from burnish.rollout.engine import Sampling
from burnish.verify.base import Examples
from burnish.verify.judge.rating import Rating


@dataclass(frozen=True, slots=True)
class NextTurn:
    """Asks a question's second turn after the reply to the first."""

    VERSION: ClassVar[int] = 1

    def __call__(self, problem: Problem, reply: str) -> Problem | None:
        """The conversation so far and the turn that the problem's annotations have as "next"; None where it has none."""
        then = problem.annotations.get("next")
        if then is None:
            return None
        prompt = (*problem.prompt, Message("assistant", reply), Message("user", then["question"]))
        return Problem(
            prompt, Check(problem.check.verifier, then["target"]), category=problem.category, source=problem.source,
            licence=problem.licence, lineage=(*problem.lineage, problem.id), annotations={"key": problem.annotations["key"]},
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class MTBenchRating:
    """A rating a turn (`Rating`), and over all of them the means from 1 to 10."""

    rating: Rating
    VERSION: ClassVar[int] = 1

    @property
    def ACCEPTS(self) -> Examples:
        """Those of the rating."""
        return self.rating.ACCEPTS

    @property
    def REJECTS(self) -> Examples:
        """Those of the rating."""
        return self.rating.REJECTS

    def check_target(self, target: str) -> None:
        """Nothing, for the judge's texts as JSON. Raises VerifierError for anything else."""
        self.rating.check_target(target)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """The rating as a share."""
        return self.rating(problem, text)

    def grade_many(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """One rating an item; all of them are asked at once."""
        return self.rating.grade_many(items)

    def summarise(self, problems: Sequence[Problem], samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Under "aggregate": the mean rating from 1 to 10 over all turns, by turn and by category; None where none is graded."""
        kinds = sorted({str(sample["category"]) for sample in samples})
        turns = sorted({int(sample["turn"]) for sample in samples})
        return {
            "aggregate": {
                "rating": _rating(samples),
                **{f"rating_turn_{turn + 1}": _rating([s for s in samples if s["turn"] == turn]) for turn in turns},
                **{f"rating_{kind}": _rating([s for s in samples if s["category"] == kind]) for kind in kinds},
            }
        }


def _rating(samples: Sequence[Mapping[str, Any]]) -> float | None:
    values = [1 + 9 * sample["score"] for sample in samples if sample["score"] is not None]
    return sum(values) / len(values) if values else None


def task(judge: Judge, limit: int | None = None) -> EvalTask:
    """MT-Bench, greedy, by single-answer grading."""
    judge.form_with("mt_bench", "{no form: the judge's texts are the benchmark's}")
    return EvalTask(
        "mt_bench", MTBench(), MTBenchRating(Rating(judge.model)), Sampling(temperature=0.0, max_tokens=1024),
        metric="(rating - 1) / 9", limit=limit, follow_up=NextTurn(), n=80,
    )  # fmt: skip
