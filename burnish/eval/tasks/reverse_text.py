"""Texts of one to three words to be written backwards: 150 of the test split, to see what reinforcement learning gains.

Source: burnish.data.sources.reverse_text, generated from a seed; licence Apache-2.0.
Protocol: one user turn; no examples; chat template, no prefill, greedy, 48 new tokens, no stop strings.
Likeness of the reply and the reversed text, from 0 to 1 (Ratcliff and Obershelp). Mean over the problems.
"""

from __future__ import annotations

from burnish.data.sources.reverse_text import ReverseText
from burnish.eval.task import EvalTask
from burnish.rollout.engine import Sampling
from burnish.verify.reversed_text import Reversed


def task(n: int = 150, seed: int = 0) -> EvalTask:
    """`n` texts of the test split; the metric is the mean likeness."""
    return EvalTask(
        name="reverse_text",
        source=ReverseText("test", n, seed),
        verifier=Reversed(),
        sampling=Sampling(temperature=0.0, max_tokens=48),
    )
