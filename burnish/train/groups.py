"""Where the groups of a step come from: which problems are asked, and who answers them.

`Rollouts` is the one seam between sampling and learning: a step's graded groups in, the learner's new weights out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from burnish.core.rng import stream
from burnish.core.types import Problem, Trajectory
from burnish.errors import DataError, RecipeError, TrainingError
from burnish.model.parallel import Ranks
from burnish.model.policy import Policy
from burnish.rollout.collect import collect
from burnish.rollout.engine import Closes, Engine, Sampling
from burnish.rollout.environment import Environments
from burnish.train.rollout_log import RolloutLog
from burnish.train.rollouts import Group, Reward, check_sources
from burnish.train.rows import rows_of_step
from burnish.verify.base import Verifier


@dataclass(frozen=True, slots=True)
class Taken:
    """A step's groups of graded replies, and what is worth logging about how they were had.

    recorded: the log-probs in them are those of other weights than the learner holds, as in a replay: they are the old ones
              of the loss.
    """

    groups: list[Group]
    found: dict[str, float] = field(default_factory=dict)
    recorded: bool = False


class Rollouts(Protocol):
    """A source of groups. `groups` is called once a step, in order, and `learned` when the step has been learned."""

    @property
    def engine(self) -> Engine | None:
        """One that holds the learner's weights whenever a step is done, for the probe; None where there is none."""

    def groups(self, step: int) -> Taken:
        """The groups of step `step`, counted from 0."""

    def learned(self, step: int, updated: bool) -> None:
        """The learner's weights are those after step `step`, counted from 0; `updated`: the step changed them."""

    def close(self) -> None:
        """Give back what it holds."""


@dataclass(frozen=True, slots=True)
class Refill:
    """DAPO's dynamic sampling (arXiv:2503.14476 §3.2): ask further problems until the step has `problems_per_step` groups whose
    replies differ in reward.

    rounds: at most so many further rounds, each of as many problems as informative groups are missing; a step may end with
            fewer. All replies are logged and counted; groups without a difference teach nothing, as ever.
    """

    rounds: int = 4
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Raise RecipeError for no rounds."""
        if self.rounds < 1:
            raise RecipeError(
                f"Refill(rounds={self.rounds}): nothing would be asked.\n  Give 1 or more, or leave refill out."
            )


class Order:
    """Which problems each step asks: a function of the step alone, so that a run goes on anywhere with nothing to remember.

    weights: by source, how often it is asked, relative to the others; {}: each problem once an epoch, whatever its source.
    """

    def __init__(self, problems: Sequence[Problem], a_step: int, seed: int, weights: Mapping[str, float]) -> None:
        self._problems, self._a_step, self._seed = problems, a_step, seed
        self._by_source: dict[str, list[int]] = {}
        for i, problem in enumerate(problems):
            self._by_source.setdefault(problem.source, []).append(i)
        total = sum(weights.values())
        self._shares = {source: weight / total for source, weight in sorted(weights.items()) if weight}
        for source in self._shares:
            if source not in self._by_source:
                raise DataError(
                    f"weights={dict(weights)} asks the source {source!r}, and none of its problems fits the model.\n"
                    "  Lower sampling.max_tokens, or leave the source out with a weight of 0."
                )
        self._drawn = dict.fromkeys(self._shares, 0)
        self._steps: list[list[int]] = []
        self._orders: dict[str, tuple[int, list[int]]] = {}

    def of(self, step: int) -> list[int]:
        """The numbers of the problems of step `step`, counted from 0."""
        if not self._shares:
            return rows_of_step(step, len(self._problems), self._a_step, self._seed)
        while len(self._steps) <= step:
            self._steps.append(self._next())
        return self._steps[step]

    def further(self, step: int, round_: int, taken: Sequence[int], count: int) -> list[int]:
        """`count` more problems for the step, none that asks what one of those taken asks: fewer where no others are left.
        round_: counted from 1.
        """
        asked = [i for source in self._shares for i in self._by_source[source]] or list(range(len(self._problems)))
        others = sorted(set(asked) - set(taken))
        weights = [self._shares.get(self._problems[i].source, 1.0) for i in others]
        sizes = [len(self._by_source[self._problems[i].source]) if self._shares else 1 for i in others]
        draw = stream(self._seed, "further problems", step, round_)
        # Efraimidis and Spirakis (2006): sorted by u^(1/w), the first `count` are a weighted draw without replacement.
        keys = [math.log(1.0 - draw.random()) * size / weight for weight, size in zip(weights, sizes, strict=True)]
        found: list[int] = []
        said = {self._problems[i].id for i in taken}
        for j in sorted(range(len(others)), key=lambda j: -keys[j]):
            if len(found) == count:
                break
            if (name := self._problems[others[j]].id) not in said:
                found.append(others[j])
                said.add(name)
        return found

    def _next(self) -> list[int]:
        """The next step: each place goes to the source that is furthest behind its share; within a source, epochs in new orders."""
        step: list[int] = []
        for _ in range(self._a_step):
            asked = sum(self._drawn.values()) + 1
            source = max(self._shares, key=lambda name: self._shares[name] * asked - self._drawn[name])
            rows = self._by_source[source]
            epoch, place = divmod(self._drawn[source], len(rows))
            step.append(rows[self._shuffled(source, epoch)[place]])
            self._drawn[source] += 1
        return step

    def _shuffled(self, source: str, epoch: int) -> list[int]:
        # Kept until the source's next epoch: a run that goes on at step 1,000 draws all the steps before it first.
        known, order = self._orders.get(source, (-1, []))
        if known != epoch:
            order = list(range(len(self._by_source[source])))
            stream(self._seed, "row order", source, epoch).shuffle(order)
            self._orders[source] = epoch, order
        return order


def check_weights(stage: str, weights: Mapping[str, float], problems: Sequence[Problem]) -> None:
    """Raise RecipeError for weights that do not say of every source how often it is asked."""
    if not weights:
        return
    check_sources(stage, "weights", weights, problems)
    missing = sorted({problem.source for problem in problems} - set(weights))
    if missing:
        raise RecipeError(
            f"{stage}: weights={dict(weights)} says nothing of the source {missing[0]!r}, so how often it is asked is unknown.\n"
            f"  Add it, or leave it out: weights={{..., {missing[0]!r}: 0.0}}."
        )


def check_logprobs(trajectory: Trajectory, step: int) -> None:
    """Raise TrainingError, naming the row, for a log-prob of the engine that is not a finite number. step: counted from 0."""
    for place, value in enumerate(trajectory.completion.logprobs):
        if not math.isfinite(value):
            problem = trajectory.problem
            raise TrainingError(
                f"Step {step + 1}: the engine's log-prob of token {place} of a reply to the problem {problem.id} (source "
                f"{problem.source or 'unknown'}) is {value}, so nothing can be learned from it.\n"
                "  The last checkpoint and the replies before this one are kept. Weights that diverged or an engine in too narrow a "
                "type do this: lower the learning rate, or use Machine(compute='fp32'), then run again."
            )


class Sampled:
    """Groups that an engine samples when they are asked for, with the learner's weights as they are then."""

    def __init__(
        self, engine: Engine, policy: Policy, problems: Sequence[Problem], order: Order, log: RolloutLog, *,
        group_size: int, sampling: Sampling, verifiers: Mapping[str, Verifier], seed: int, reward: Reward,
        refill: Refill | None = None, environments: Environments | None = None,
    ) -> None:  # fmt: skip
        self.engine: Engine = engine
        self._policy, self._problems, self._order, self._log = policy, problems, order, log
        self._n, self._sampling, self._verifiers, self._seed = group_size, sampling, verifiers, seed
        self._reward, self._refill, self._environments = reward, refill, environments or {}

    def groups(self, step: int) -> Taken:
        """The step's groups; replies that an interrupted run left are not sampled again."""
        kept = self._log.kept(step + 1)
        seconds = [0.0]
        taken = self._order.of(step)
        wanted = len(taken)
        groups = self._asked(step, taken, 0, kept, seconds)
        rounds = 0
        while self._refill and rounds < self._refill.rounds:
            missing = wanted - sum(self._reward.differ(group) for group in groups)
            more = self._order.further(step, rounds + 1, taken, missing) if missing > 0 else []
            if not more:
                break
            rounds += 1
            groups += self._asked(step, more, len(taken), kept, seconds)
            taken = [*taken, *more]
        return Taken(groups, {"grade_s": sum(seconds)} | ({"refills": float(rounds)} if self._refill else {}))

    def _asked(
        self, step: int, chosen: Sequence[int], first: int, kept: Mapping[tuple[int, int], Trajectory], seconds: list[float]
    ) -> list[Group]:  # fmt: skip
        """A group for each of these problems, the first of which is number `first` of the step."""

        def graded(group: int, k: int, trajectory: Trajectory) -> None:
            check_logprobs(trajectory, step)
            self._log.add(step + 1, first + group, k, trajectory)

        return collect(
            self.engine, self._policy.renderer, [self._problems[i] for i in chosen], n=self._n, sampling=self._sampling,
            verifiers=self._verifiers, environments=self._environments, seed=self._seed, purpose="rl", step=step,
            kept={(g - first, k): trajectory for (g, k), trajectory in kept.items()},
            on_seconds=seconds.append, on_graded=graded,
        )  # fmt: skip

    def learned(self, step: int, updated: bool) -> None:
        """Hand the engine the learner's weights where they changed."""
        if updated:
            self.engine.load_weights(self._policy, f"step {step + 1}")

    def close(self) -> None:
        """End an engine that runs outside this process."""
        if isinstance(self.engine, Closes):
            self.engine.close()


class FromFirst:
    """The first rank's groups, for all ranks: it samples, and all learn. source: its own; None on the others."""

    def __init__(self, source: Rollouts | None, ranks: Ranks) -> None:
        self._source, self._ranks = source, ranks

    @property
    def engine(self) -> Engine | None:
        """The first rank's; None on the others."""
        return self._source.engine if self._source else None

    def groups(self, step: int) -> Taken:
        """The groups of the step, the same on every rank."""
        taken = self._ranks.agree(self._source.groups(step) if self._source else None)
        if taken is None:
            raise ValueError("the first rank has no source of groups")
        return taken

    def learned(self, step: int, updated: bool) -> None:
        """Tell the first rank's source."""
        if self._source:
            self._source.learned(step, updated)

    def close(self) -> None:
        """Give back what the first rank's source holds."""
        if self._source:
            self._source.close()
