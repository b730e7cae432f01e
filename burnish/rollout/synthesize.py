"""Demonstrations a policy made itself: sampled, verified, and only those that are right kept (rejection sampling)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from burnish.core.fingerprint import later
from burnish.core.types import Demo, Finish, Message, Problem
from burnish.data.card import variety
from burnish.data.dataset import Dropped, write_dataset
from burnish.errors import RecipeError
from burnish.pipeline.stage import Context, Stage
from burnish.rollout.completions import (
    Graded,
    check_settings,
    judge_scores,
    origins,
    pass_rates,
    read_problems,
    sample_problems,
)
from burnish.rollout.engine import Sampling
from burnish.verify.base import Verifier


@dataclass(frozen=True)
class VerifiedSamples(Stage):
    """A dataset of demonstrations, and every reply sampled for them in completions.jsonl.

    k:                replies sampled per problem.
    keep_per_problem: at most so many distinct right replies to a problem become demonstrations, the first ones.
    least:            the score from which a reply is right; 0 keeps every graded one.
    judge:            a stage with a reward model: of the right replies, those it likes best are kept instead of the first.
                      With least=0 that is best-of-n (arXiv:2112.09332).

    Sampling from a model, training on what was right and sampling from the result is expert iteration
    (arXiv:1705.08439): a recipe writes it as a loop over these two stages.
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
    least: float = later(default=1.0)
    judge: Stage | None = later(default=None)

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
        if not 0.0 <= self.least <= 1.0:
            raise RecipeError(
                f"verified-samples.least={self.least}: verifiers give scores from 0 to 1.\n"
                "  Use 1.0 for replies with the full score, or 0.0 with a judge for the best of all."
            )

    def headline(self) -> dict[str, Any]:
        """Replies per problem, how many are kept, temperature, tokens."""
        s = self.sampling
        found = {"k": self.k, "keep": self.keep_per_problem, "temperature": s.temperature, "max_tokens": s.max_tokens}
        return (
            found
            | ({} if self.least == 1.0 else {"least": self.least})
            | ({"judge": self.judge.name} if self.judge else {})
        )

    def run(self, ctx: Context) -> None:
        """Sample, grade, keep; write the dataset."""
        problems = read_problems(ctx, self.problems)
        groups = sample_problems(
            ctx, self.policy, problems, k=self.k, sampling=self.sampling, verifiers=self.verifiers,
            purpose="verified-samples", seed=self.seed,
        )  # fmt: skip
        judged = judge_scores(ctx, self.judge, problems, groups) if self.judge else None
        demos: list[Demo] = []
        dropped: list[Dropped] = []
        kept: Counter[str] = Counter()
        for i, (problem, group) in enumerate(zip(problems, groups, strict=True)):
            found = right(problem, best_first(group, judged[i]) if judged else group, self.keep_per_problem, self.least)
            demos += found
            kept[problem.source] += len(found)
            if not found:
                dropped.append(Dropped(problem, "VerifiedSamples", _reason(group, self.least)))
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


def right(problem: Problem, replies: Sequence[Graded], most: int, least: float = 1.0) -> list[Demo]:
    """The first `most` distinct replies that score at least `least` and came to their own end, as demonstrations."""
    good = [r.text.strip() for r in replies if _passes(r, least) and r.finish is Finish.STOP and r.text.strip()]
    return [
        Demo(
            (*problem.prompt, Message("assistant", text)), source=f"verified-samples/{problem.source}",
            licence=problem.licence, lineage=(*problem.lineage, problem.id),
        )
        for text in list(dict.fromkeys(good))[:most]
    ]  # fmt: skip


def _passes(reply: Graded, least: float) -> bool:
    return reply.score is not None and reply.score >= least


def best_first(replies: Sequence[Graded], scores: Sequence[float | None]) -> list[Graded]:
    """The replies that have a score, the highest first; equal ones in the order of sampling."""
    order = sorted((-score, reply.k) for reply, score in zip(replies, scores, strict=True) if score is not None)
    by_k = {reply.k: reply for reply in replies}
    return [by_k[k] for _, k in order]


def _reason(replies: Sequence[Graded], least: float) -> str:
    if all(reply.score is None for reply in replies):
        return "no reply could be graded"
    if any(_passes(reply, least) for reply in replies):
        return "every right reply was cut at max_tokens, empty or too long for the judge"
    return "no reply was right"
