"""Generated precise-instruction prompts as a task: the test split, greedy, strict grading of every constraint."""

from __future__ import annotations

from burnish.data.sources.instructions import Instructions
from burnish.eval.task import EvalTask
from burnish.rollout.engine import Sampling
from burnish.verify.ifeval import IFEval


def task(n: int = 150, seed: int = 0) -> EvalTask:
    """`n` prompts of the test split; the metric is the share of replies that satisfy all their constraints."""
    return EvalTask(
        name="instructions",
        source=Instructions("test", n, seed),
        verifier=IFEval(mode="strict"),
        sampling=Sampling(temperature=0.0, max_tokens=128),
    )
