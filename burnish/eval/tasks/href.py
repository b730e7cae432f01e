"""HREF (arXiv:2412.15524): is the reply to an instruction better than a baseline's? From Tülu 3's unseen suite.

Source: allenai/href, split dev, 430 instructions of 8 categories with the replies of a baseline (Llama-3.1-405B-Instruct by the
paper, 70B by the code's label) and of a person; licence ODC-By-1.0; not pinned. The 4,258 of 11 categories that Tülu 3's
paper scored are hidden, so its scores do not belong beside these.
Protocol: one user turn, the instruction as it stands; chat template, no prefill, greedy, 2,048 new tokens (the paper does not say
how many), no stop strings. A judge compares reply and baseline; it sees the person's reply too, but for Brainstorm and
Summarize. Score: wins and half the ties; mean over the instructions, by category beside it.
Differences to the published judging: its judge is Llama-3.1-70B-Instruct with a form of its own, asked in one random order; here
any judge is asked in both orders, and a disagreement is a tie. Open QA and Fact Checking go by BERTScore with RoBERTa-large
there; here by the judge with the person's reply, as in the publishers' later suite (href_new).
Variants: "href_words" asks no judge: which of the two shares more words with the person's reply. For a machine without a judge;
its numbers cannot be compared with a judge's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from burnish.core.types import Problem
from burnish.data.sources.href import HREFInstructions
from burnish.eval.judging import Judge
from burnish.eval.task import EvalTask
from burnish.eval.tasks.framing import OtherSolutions
from burnish.rollout.engine import Sampling
from burnish.verify.judge.href import HREF, CloserThanBaseline

SAMPLING = Sampling(temperature=0.0, max_tokens=2048)


@dataclass(frozen=True, slots=True)
class WithoutSolutions(OtherSolutions):
    """HREF without the persons' replies as solutions: no judge has to prefer them."""

    problems: HREFInstructions
    VERSION: ClassVar[int] = 1

    def solution(self, problem: Problem) -> str:
        """None."""
        return ""


def task(judge: Judge, limit: int | None = None) -> EvalTask:
    """HREF by a judge model."""
    return EvalTask(
        "href", WithoutSolutions(HREFInstructions()), HREF(judge.model), SAMPLING, metric="wins and half the ties", limit=limit,
        unseen=True, n=430,
    )  # fmt: skip


def words(limit: int | None = None) -> EvalTask:
    """HREF by words shared with a person's reply."""
    return EvalTask(
        "href_words", HREFInstructions(), CloserThanBaseline(), SAMPLING, metric="closer than the baseline", limit=limit,
        unseen=True, n=430,
    )  # fmt: skip
