"""A curriculum by pass rate: the problems that a policy gets right sometimes, chosen by measuring it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from burnish.data.card import variety
from burnish.data.dataset import Dropped, write_dataset
from burnish.errors import RecipeError
from burnish.pipeline.stage import Context, Stage
from burnish.rollout.completions import Graded, check_settings, origins, pass_rates, read_problems, sample_problems
from burnish.rollout.engine import Sampling
from burnish.verify.base import Verifier


@dataclass(frozen=True)
class ByPassRate(Stage):
    """A dataset of the problems whose pass rate lies above `above` and below `below`, and every reply sampled for it in completions.jsonl.

    Problems that a policy always gets right, or never, teach a group-relative method nothing (arXiv:2503.14476 §3.2 leaves
    them out step by step; this stage does so once, before training). The measured rate is kept in each row's
    annotations["pass_rate"]: the mean of its graded replies' scores.

    k:            replies sampled per problem.
    above, below: the bounds, neither included. The defaults leave out what is always wrong and what is always right.
    take:         at most so many problems, those with a rate nearest to the middle of the bounds; None keeps all.
    """

    VERSION: ClassVar[int] = 1
    MAKES: ClassVar[str] = "rows"
    OWN_PROCESS: ClassVar[bool] = True

    policy: Stage
    problems: Stage
    verifiers: dict[str, Verifier]
    k: int = 8
    above: float = 0.0
    below: float = 1.0
    take: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0

    @property
    def name(self) -> str:
        """Always "by-pass-rate"."""
        return "by-pass-rate"

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for settings under which nothing could be kept."""
        check_settings("by-pass-rate", self.k, self.sampling, self.verifiers)
        if not any(self._within(i / self.k) for i in range(self.k + 1)):
            raise RecipeError(
                f"by-pass-rate: above={self.above:g}, below={self.below:g}: no share of k={self.k} replies lies between, so no problem would be kept.\n"
                "  Write e.g. above=0.2, below=0.8, or raise k."
            )
        if self.take is not None and self.take < 1:
            raise RecipeError(
                f"by-pass-rate.take={self.take}: no problems would be kept.\n  Use 1 or more, or None for all."
            )

    def headline(self) -> dict[str, Any]:
        """Replies per problem, the rates that are kept, temperature, tokens."""
        s = self.sampling
        rates = f"above {self.above:g}, below {self.below:g}"
        return {"k": self.k, "rates": rates, "temperature": s.temperature, "max_tokens": s.max_tokens}

    def run(self, ctx: Context) -> None:
        """Sample, grade, choose; write the dataset."""
        problems = read_problems(ctx, self.problems)
        groups = sample_problems(
            ctx, self.policy, problems, k=self.k, sampling=self.sampling, verifiers=self.verifiers,
            purpose="by-pass-rate", seed=self.seed,
        )  # fmt: skip
        rates = [rate(group) for group in groups]
        chosen = self.choose(rates)
        kept = [
            dataclasses.replace(problem, annotations={**problem.annotations, "pass_rate": rates[i]})
            for i, problem in enumerate(problems)
            if i in chosen
        ]
        dropped = [
            Dropped(problem, "ByPassRate", self._reason(rates[i]))
            for i, problem in enumerate(problems)
            if i not in chosen
        ]
        card = {
            "by_source": origins(problems, Counter(problem.source for problem in kept), ""),
            "steps": [{"step": "problems of the asked pass rate", "rows_in": len(problems), "rows_out": len(kept)}],
            "diversity": variety(enumerate(kept)),
            "completions": pass_rates(problems, groups),
        }
        write_dataset(ctx.out, kept, card=card, dropped=dropped)
        ctx.console.line(f"  {len(kept):,} of {len(problems):,} problems have a pass rate {self.headline()['rates']}")

    def choose(self, rates: Sequence[float | None]) -> set[int]:
        """The places of the rates that are kept; of equally near ones the first. None is no rate, and not kept."""
        found = [(value, i) for i, value in enumerate(rates) if value is not None and self._within(value)]
        if self.take is not None:
            middle = (self.above + self.below) / 2
            found = sorted(found, key=lambda pair: (abs(pair[0] - middle), pair[1]))[: self.take]
        return {i for _, i in found}

    def _within(self, value: float) -> bool:
        return self.above < value < self.below

    def _reason(self, value: float | None) -> str:
        if value is None:
            return "no reply could be graded"
        if self._within(value):
            return f"pass rate {value:.3f}, further from the middle than the {self.take:,} that were asked for"
        return f"pass rate {value:.3f}, wanted above {self.above:g} and below {self.below:g}"


def rate(replies: Sequence[Graded]) -> float | None:
    """The mean score of the graded replies; None when none was graded."""
    scores = [reply.score for reply in replies if reply.score is not None]
    return sum(scores) / len(scores) if scores else None
