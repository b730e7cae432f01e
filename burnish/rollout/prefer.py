"""On-policy preference pairs: several replies of the policy to each prompt, the best against one that is lower.

The rule is Tülu 3's (arXiv:2411.15124, section 5.2): chosen = the highest mean over aspects, rejected = uniformly one of
those lower. Here a tie for the best gives no pair, and the rejected reply is strictly lower by a margin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from burnish.core.fingerprint import later
from burnish.core.rng import stream
from burnish.core.types import Finish, Pair, Problem
from burnish.data.card import variety
from burnish.data.dataset import Dropped, write_dataset
from burnish.errors import RecipeError
from burnish.pipeline.stage import Context, Stage
from burnish.rollout.aspects import ASPECTS, Aspect, mean_score
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

UNGRADED = "fewer than two replies could be graded"
SAME = "all replies are the same"
TIE = "two replies share the best score"
CUT = "the best reply was cut at max_tokens"
CLOSE = "no reply is lower than the best by the margin"


@dataclass(frozen=True)
class Prefer(Stage):
    """A dataset of preference pairs, and every reply sampled for them in completions.jsonl.

    k:       replies per prompt.
    margin:  the rejected reply's score is below the chosen one's by at least this much; above 0.
    aspects: what replies are scored on; the score is their weighted mean.
    judge:   a stage with a reward model, whose scores take the place of the aspects; margin is then in its units, any number
             above 0. The rejected reply is the one it likes least.
    """

    VERSION: ClassVar[int] = 1
    MAKES: ClassVar[str] = "rows"
    OWN_PROCESS: ClassVar[bool] = True

    policy: Stage
    problems: Stage
    verifiers: dict[str, Verifier]
    k: int = 4
    sampling: Sampling = field(default_factory=Sampling)
    margin: float = 0.05
    seed: int = 0
    aspects: tuple[Aspect, ...] = ASPECTS
    judge: Stage | None = later(default=None)

    @property
    def name(self) -> str:
        """Always "prefer"."""
        return "prefer"

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for settings that cannot give a pair."""
        check_settings("prefer", self.k, self.sampling, self.verifiers)
        if self.k < 2:
            raise RecipeError(
                f"prefer.k={self.k}: a pair needs two replies.\n  Use k=4, as the paper does, or at least 2."
            )
        if self.judge is not None and self.margin > 0:
            return
        if not 0.0 < self.margin <= 1.0:
            raise RecipeError(
                f"prefer.margin={self.margin}: scores lie in [0, 1] and a pair must differ.\n  Use a number above 0, e.g. 0.05."
            )
        if not self.aspects or any(aspect.weight <= 0 for aspect in self.aspects):
            raise RecipeError(
                "prefer.aspects: the mean needs at least one aspect, each with a weight above 0.\n  Leave out those that shall not count."
            )

    def headline(self) -> dict[str, Any]:
        """Replies per prompt, margin, temperature, tokens."""
        s = self.sampling
        return {"k": self.k, "margin": self.margin, "temperature": s.temperature, "max_tokens": s.max_tokens}

    def run(self, ctx: Context) -> None:
        """Sample, score, choose; write the dataset."""
        problems = read_problems(ctx, self.problems)
        groups = sample_problems(
            ctx, self.policy, problems, k=self.k, sampling=self.sampling, verifiers=self.verifiers, purpose="prefer",
            seed=self.seed,
        )  # fmt: skip
        judged = None if self.judge is None else judge_scores(ctx, self.judge, problems, groups)
        pairs: list[Pair] = []
        dropped: list[Dropped] = []
        kept: Counter[str] = Counter()
        for i, (problem, group) in enumerate(zip(problems, groups, strict=True)):
            scores = judged[i] if judged else [mean_score(self.aspects, reply) for reply in group]
            pair = choose(problem, group, scores, margin=self.margin, seed=self.seed, worst=judged is not None)
            if isinstance(pair, str):
                dropped.append(Dropped(problem, "Prefer", pair))
            else:
                pairs.append(pair)
                kept[problem.source] += 1
        card = {
            "by_source": origins(problems, kept, "prefer/"),
            "steps": [{"step": "one pair a prompt", "rows_in": len(problems), "rows_out": len(pairs)}],
            "diversity": variety(enumerate(pairs)),
            "completions": pass_rates(problems, groups),
        }
        write_dataset(ctx.out, pairs, card=card, dropped=dropped)
        ctx.console.line(f"  {len(pairs):,} pairs from {len(problems):,} prompts")
        for reason, count in Counter(drop.reason for drop in dropped).most_common():
            ctx.console.line(f"    {count:,} prompts without a pair: {reason}")
        if not pairs:
            ctx.console.line(
                "  No prompt gave a pair: try problems the policy solves sometimes but not always, or a larger k."
            )


def choose(
    problem: Problem, replies: Sequence[Graded], scores: Sequence[float | None], *, margin: float, seed: int, worst: bool = False
) -> Pair | str:  # fmt: skip
    """The pair these replies give by their scores (None: not scored), or the reason why they give none.

    Replies of equal text count once. The rejected reply is one of those that are lower by the margin, which depends on the
    seed and the problem alone; with `worst`, it is the lowest.
    """
    distinct: dict[str, tuple[float, Graded]] = {}
    for reply, score in zip(replies, scores, strict=True):
        if score is not None:
            distinct.setdefault(reply.text, (score, reply))
    if sum(score is not None for score in scores) < 2:
        return UNGRADED
    if len(distinct) < 2:
        return SAME
    ranked = sorted(distinct.values(), key=lambda item: -item[0])
    (best, chosen), (second, _) = ranked[:2]
    if second == best:
        return TIE
    if chosen.finish is not Finish.STOP:
        return CUT
    # Scores are means of floats: a margin met up to rounding is met.
    lower = sorted((reply.k, score, reply) for score, reply in ranked[1:] if best - score >= margin - 1e-9)
    if not lower:
        return CLOSE
    least = min(lower, key=lambda item: (item[1], item[0]))
    _, lost, rejected = least if worst else stream(seed, "prefer-rejected", problem.id).choice(lower)
    return Pair(
        problem.prompt, chosen.text, rejected.text, source=f"prefer/{problem.source}", licence=problem.licence,
        lineage=(*problem.lineage, problem.id),
        annotations={"chosen_score": best, "rejected_score": lost, "scores": list(scores)},
    )  # fmt: skip
