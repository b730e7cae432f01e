"""Generated arithmetic word problems: 150 of the test split, for the demo and for tests of the whole machinery.

Source: burnish.data.sources.arithmetic, generated from a seed; licence Apache-2.0.
Protocol: one user turn, the problem as it stands; no examples; chat template, no prefill, greedy, 96 new tokens, no stop strings.
The number that the reply gives, by value (GSM8K's rule "flexible"). Mean over the problems.
"""

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
