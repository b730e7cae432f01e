"""Generated precise-instruction prompts: 150 of the test split, for the demo and for tests of the whole machinery.

Source: burnish.data.sources.instructions, generated from a seed; licence Apache-2.0.
Protocol: one user turn, the prompt as it stands; no examples; chat template, no prefill, greedy, 128 new tokens, no stop strings.
Right when the reply satisfies all constraints, strictly (IFEval's functions). Mean over the prompts.
"""

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
