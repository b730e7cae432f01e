"""Demonstrations a policy made itself: sampled, verified, and only those that are right kept (rejection sampling)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from burnish.core.types import Demo, Finish, Message, Problem
from burnish.data.card import variety
from burnish.data.dataset import Dropped, write_dataset
from burnish.errors import RecipeError
from burnish.pipeline.stage import Context, Stage
from burnish.rollout.completions import Graded, check_settings, origins, pass_rates, read_problems, sample_problems
from burnish.rollout.engine import Sampling
from burnish.verify.base import Verifier


@dataclass(frozen=True)
class VerifiedSamples(Stage):
    """A dataset of demonstrations, and every reply sampled for them in completions.jsonl.

    k:                replies sampled per problem.
    keep_per_problem: at most so many distinct right replies to a problem become demonstrations, the first ones.
    """

    VERSION: ClassVar[int] = 1
    MAKES: ClassVar[str] = "rows"
    OWN_PROCESS: ClassVar[bool] = True

    policy: Stage
    problems: Stage
    verifiers: dict[str, Verifier]
    k: int = 4
    keep_per_problem: int = 1
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0

    @property
    def name(self) -> str:
        """Always "verified-samples"."""
        return "verified-samples"

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for settings under which nothing could be kept."""
        check_settings("verified-samples", self.k, self.sampling, self.verifiers)
        if not 1 <= self.keep_per_problem <= self.k:
            raise RecipeError(
                f"verified-samples.keep_per_problem={self.keep_per_problem}: of k={self.k} replies between 1 and {self.k} can be kept."
            )

    def headline(self) -> dict[str, Any]:
        """Replies per problem, how many are kept, temperature, tokens."""
        s = self.sampling
        return {"k": self.k, "keep": self.keep_per_problem, "temperature": s.temperature, "max_tokens": s.max_tokens}

    def run(self, ctx: Context) -> None:
        """Sample, grade, keep; write the dataset."""
        problems = read_problems(ctx, self.problems)
        groups = sample_problems(
            ctx, self.policy, problems, k=self.k, sampling=self.sampling, verifiers=self.verifiers,
            purpose="verified-samples", seed=self.seed,
        )  # fmt: skip
        demos: list[Demo] = []
        dropped: list[Dropped] = []
        kept: Counter[str] = Counter()
        for problem, group in zip(problems, groups, strict=True):
            found = right(problem, group, self.keep_per_problem)
            demos += found
            kept[problem.source] += len(found)
            if not found:
                dropped.append(Dropped(problem, "VerifiedSamples", _reason(group)))
        card = {
            "by_source": origins(problems, kept, "verified-samples/"),
            "steps": [{"step": "right replies kept", "rows_in": sum(map(len, groups)), "rows_out": len(demos)}],
            "diversity": variety(enumerate(demos)),
            "completions": pass_rates(problems, groups),
        }
        write_dataset(ctx.out, demos, card=card, dropped=dropped)
        ctx.console.line(
            f"  {len(demos):,} demonstrations; {len(problems) - len(dropped):,} of {len(problems):,} problems solved"
        )


def right(problem: Problem, replies: Sequence[Graded], most: int) -> list[Demo]:
    """At most `most` distinct replies with the full score that came to their own end, as demonstrations."""
    good = [r.text.strip() for r in replies if r.score == 1.0 and r.finish is Finish.STOP and r.text.strip()]
    return [
        Demo(
            (*problem.prompt, Message("assistant", text)), source=f"verified-samples/{problem.source}",
            licence=problem.licence, lineage=(*problem.lineage, problem.id),
        )
        for text in list(dict.fromkeys(good))[:most]
    ]  # fmt: skip


def _reason(replies: Sequence[Graded]) -> str:
    if all(reply.score is None for reply in replies):
        return "no reply could be graded"
    if any(reply.score == 1.0 for reply in replies):
        return "every right reply was cut at max_tokens or empty"
    return "no reply was right"
