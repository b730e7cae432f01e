"""A look at benchmarks while a model is trained: a few problems every some steps, into the stage's metrics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from burnish.errors import RecipeError
from burnish.eval.model_answers import ModelAnswers
from burnish.eval.prompts import Prompts
from burnish.eval.records import KeptReplies, KeptVerdicts
from burnish.eval.run import Run, check_tasks, items_of, problems_of
from burnish.eval.score import problem_scores, summary
from burnish.eval.task import EvalTask
from burnish.pipeline.progress import Console

if TYPE_CHECKING:
    from burnish.model.policy import Policy
    from burnish.rollout.engine import Engine


@dataclass(frozen=True)
class Probe:
    """Asks `tasks` every so many optimizer steps and after the last: SFT(…, probe=Probe((gsm8k.task(),), every=50)).

    limit: the first problems of each task. A score over 100 of them is known to about 10 points: watch the course, and compare
    models with Evaluate. Unseen tasks are refused: a course one watches is a course one steers by.
    """

    tasks: tuple[EvalTask, ...]
    every: int = 50
    limit: int = 100
    seed: int = 0
    VERSION: ClassVar[int] = 1

    @property
    def _few(self) -> list[EvalTask]:
        return [replace(task, limit=min(self.limit, task.limit or self.limit)) for task in self.tasks]

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for numbers that cannot work and for unseen tasks; DataError for problems that cannot be had."""
        if self.every < 1 or self.limit < 1:
            raise RecipeError(
                f"Probe(every={self.every}, limit={self.limit}) asks nothing.\n  Give whole numbers from 1 up."
            )
        unseen = [task.name for task in self.tasks if task.unseen]
        if unseen:
            raise RecipeError(
                f"Probe: {', '.join(unseen)} belongs to an unseen suite, and a probe is looked at while choices are still made.\n"
                '  Probe development tasks; ask unseen ones at the end: Evaluate(..., unlock="why").'
            )
        check_tasks(self._few, data)

    def scores(self, engine: Engine, policy: Policy, data: Path | None) -> dict[str, float]:
        """Score by "probe/<task>", from an engine that holds the policy's weights; a task of which nothing was graded has none."""
        tasks = self._few
        problems = problems_of(tasks, data)
        answers = ModelAnswers(Prompts(policy.renderer, policy.context), lambda: engine)
        run = Run(answers, KeptReplies(None), KeptVerdicts(None), seed=self.seed, jobs=1, console=Console(quiet=True))
        run.ask(items_of(tasks, problems))
        found: dict[str, float] = {}
        for task in tasks:
            own = problem_scores(task, run.samples(task, problems[task.name]))
            row = summary(task, problems[task.name], [own[problem.id] for problem in problems[task.name]])
            if row["score"] is not None:
                found[f"probe/{task.name}"] = row["score"]
        return found
