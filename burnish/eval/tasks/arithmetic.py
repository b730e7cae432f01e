"""Generated arithmetic word problems as a task: the test split, greedy, one attempt a problem."""

from __future__ import annotations

from burnish.data.sources.arithmetic import Arithmetic
from burnish.eval.task import EvalTask
from burnish.rollout.engine import Sampling
from burnish.verify.gsm8k import GSM8K


def task(n: int = 150, seed: int = 0) -> EvalTask:
    """`n` problems of the test split; the metric is the share whose final number is right. Worked solutions need about 45 tokens."""
    return EvalTask(
        name="arithmetic",
        source=Arithmetic("test", n, seed),
        verifier=GSM8K(),
        sampling=Sampling(temperature=0.0, max_tokens=96),
    )
