"""What is asked of a policy, how it answers and who grades it: the part of an on-policy stage that is not learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from burnish.core.fingerprint import later
from burnish.core.types import Problem
from burnish.data.dataset import Dataset
from burnish.errors import DataError, RecipeError
from burnish.model.parallel import Ranks
from burnish.model.policy import Policy
from burnish.pipeline.stage import Context, Stage
from burnish.rollout.collect import check_verifiers
from burnish.rollout.engine import Sampling
from burnish.rollout.engines import make_engine
from burnish.rollout.environment import Environment, check_environments, opening
from burnish.rollout.reply import check_sampling
from burnish.train.ahead import Ahead
from burnish.train.groups import FromFirst, Order, Refill, Rollouts, Sampled, check_weights
from burnish.train.replay import Replay, Replayed
from burnish.train.rollout_log import RolloutLog
from burnish.train.rollouts import Reward, check_sources
from burnish.train.rows import check_numbers, report_rows
from burnish.verify.base import Verifier
from burnish.verify.monitors import MONITORS, Monitor


@dataclass(frozen=True)
class Asks(Stage):
    """Abstract: asks `start`, which is being trained, for groups of replies to `problems`, and has them graded.

    verifiers:         by the name that problems give in their check.
    environments:      by the same names: in which such problems are solved in a conversation of several turns, with tools or
                       hints; sampling.max_tokens is then over all of it.
    problems_per_step: groups a step, each of group_size replies; an epoch's last step takes what is left.
    weights:           how often each source of problems is asked, relative to the others; {}: each problem once an epoch.
    refill:            Refill(…): ask further problems in place of those whose replies are all equally good (DAPO).
    replay:            Replayed(…): learn from what another run sampled; nothing is sampled.
    staleness:         learn from replies of the weights so many steps ago, so that an engine in another process samples while the
                       learner trains (docs/explanation/staleness.md); 0: of the weights as they are.
    reward:            how a verdict becomes a reward: Reward(missing_end=0.0) gives replies cut by max_tokens nothing (Tülu 3.1).
    monitors:          what to look for in replies that may be gaming their grade; they report, and change no reward.

    LEAST_GROUP is the smallest group the algorithm can judge.
    """

    LEAST_GROUP: ClassVar[int] = 2
    MADE_OF: ClassVar[tuple[str, ...]] = (
        "problems_per_step", "group_size", "sampling", "seed", "weights", "refill", "replay", "staleness", "environments"
    )  # fmt: skip

    start: Stage
    problems: Stage
    verifiers: dict[str, Verifier]
    problems_per_step: int = 16
    group_size: int = 8
    sampling: Sampling = field(default_factory=Sampling)
    reward: Reward = field(default_factory=Reward)
    monitors: tuple[Monitor, ...] = MONITORS
    seed: int = 0
    environments: dict[str, Environment] = later(default_factory=dict)
    weights: dict[str, float] = later(default_factory=dict)
    refill: Refill | None = later(default=None)
    replay: Replayed | None = later(default=None)
    staleness: int = later(default=0)

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for values that cannot work."""
        check_numbers(self.name, problems_per_step=self.problems_per_step)
        if not self.verifiers:
            raise RecipeError(
                f"{self.name}: verifiers={{}} grades nothing.\n"
                '  Give one for each name that problems have in their check, e.g. verifiers={"gsm8k": GSM8K()}.'
            )
        check_environments(self.name, self.environments, self.verifiers)
        if self.group_size < self.LEAST_GROUP:
            raise RecipeError(
                f"{self.name}: group_size={self.group_size}, but a reply is judged against the others of its group.\n"
                f"  Give {self.LEAST_GROUP} or more; 8 is usual."
            )
        if any(not 0 <= weight < float("inf") for weight in self.weights.values()) or (
            self.weights and not any(self.weights.values())
        ):
            raise RecipeError(
                f"{self.name}: weights={self.weights} asks nothing.\n  Give each source a number from 0 up, one of them above 0."
            )
        if self.staleness < 0:
            raise RecipeError(
                f"{self.name}: staleness={self.staleness}: it counts the steps between sampling and learning.\n"
                "  Give 0 (replies of the current weights) or 1 (Tülu 3's asynchronous training)."
            )
        self._check_replay()
        self._check_sampling()

    def _check_replay(self) -> None:
        idle = [name for name in ("weights", "refill", "staleness") if getattr(self, name)]
        if self.replay is not None and idle:
            raise RecipeError(
                f"{self.name}: {idle[0]}={getattr(self, idle[0])} decides what is sampled, and with replay=Replayed(…) nothing is.\n"
                f"  Leave out {' and '.join(idle)}, or replay."
            )

    def _check_sampling(self) -> None:
        check_sampling(self.sampling)
        if self.sampling.temperature <= 0:
            raise RecipeError(
                f"{self.name}: temperature={self.sampling.temperature} gives the likeliest reply {self.group_size} times over, so no "
                "reply of a group could be better than another.\n  Use a temperature above 0, top_p=1 and top_k=0."
            )
        if self.sampling.bent:
            raise RecipeError(
                f"{self.name}: {', '.join(self.sampling.bent)} bends the distribution, so the learner's log-probs would not be "
                "those of the sampler.\n  Leave them at their defaults (top_p=1, top_k=0); temperature, max_tokens and stop may be set."
            )

    def rollouts(
        self, policy: Policy, problems: Sequence[Problem], ctx: Context, log: RolloutLog, *, done: int, steps: int
    ) -> Rollouts:  # fmt: skip
        """Where groups come from. done: the steps, of `steps` in all, of the checkpoint that the policy's weights are from."""
        if self.replay is not None:
            return Replay(
                self.replay, ctx, policy, problems, self.environments, steps=steps, a_step=self.problems_per_step,
                seed=self.seed, least=self.LEAST_GROUP,
            )  # fmt: skip
        ranks = Ranks.current()
        if not ranks.first:
            return FromFirst(None, ranks)
        order = Order(problems, self.problems_per_step, self.seed, self.weights)
        engine = make_engine(policy, ctx.machine, ctx.console)
        engine.load_weights(policy, f"step {done}")
        source: Rollouts = Sampled(
            engine, policy, problems, order, log, group_size=self.group_size, sampling=self.sampling,
            verifiers=self.verifiers, environments=self.environments, seed=self.seed, reward=self.reward, refill=self.refill,
        )  # fmt: skip
        if self.staleness:
            source = Ahead(source, staleness=self.staleness, steps=steps, first=done, at_once=ctx.machine.elsewhere)
        return FromFirst(source, ranks) if ranks.size > 1 else source

    def fitting(self, policy: Policy, ctx: Context) -> list[Problem]:
        """The problems whose prompt and longest reply fit the model; the others are counted in data_report.json.

        Raises RecipeError for a verifier that is not given, and for weights or scales of sources that no problem has.
        """
        problems = [row for row in Dataset.open(ctx.path_of(self.problems)).rows() if isinstance(row, Problem)]
        check_verifiers(self.verifiers, problems)
        if problems:
            check_weights(self.name, self.weights, problems)
            check_sources(self.name, "reward=Reward(scale=…)", self.reward.scale, problems)
        limit = policy.context - self.sampling.max_tokens
        lengths = [len(policy.renderer.prompt(opening(self.environments, problem))) for problem in problems]
        kept = [problem for problem, length in zip(problems, lengths, strict=True) if length <= limit]
        if problems and not kept:
            raise DataError(
                f"{self.name}: no problem fits the model: the shortest prompt has {min(lengths):,} tokens, and of the context of "
                f"{policy.context:,} sampling.max_tokens={self.sampling.max_tokens:,} leaves {max(limit, 0):,} for it.\n"
                f"  Set max_tokens to at most {max(policy.context - min(lengths), 0):,}; less leaves room for longer prompts."
            )
        report_rows(
            ctx, kind="problems", limit=limit, rows=len(problems), kept=len(kept),
            too_long=[problem.id for problem, length in zip(problems, lengths, strict=True) if length > limit],
            tokens=sum(length for length in lengths if length <= limit), trained=0,
        )  # fmt: skip
        return kept
