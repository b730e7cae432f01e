"""How much better than expected a reply was, as choices of the recipe; the formulas are in burnish.losses.advantage.

Shapes: P problems, G replies to each, S samples, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from burnish.errors import RecipeError
from burnish.losses.advantage import group_relative, leave_one_out, pass_at_k, whiten, whitened
from burnish.losses.kl import ESTIMATORS
from burnish.train.rollouts import Group, Reward
from burnish.train.samples import Sample


class Advantage(Protocol):
    """A frozen dataclass that turns a step's rewards into advantages."""

    def of(self, rewards_PG: Tensor, graded_PG: Tensor, lengths_PG: Tensor) -> Tensor:
        """[P, G]; 0 where graded_PG is False. lengths_PG: the sampled tokens of each reply."""


@dataclass(frozen=True, slots=True)
class GroupRelative:
    """(reward - mean of the group) / (its standard deviation + eps): GRPO (arXiv:2402.03300 §4.1.2).

    std: False leaves the deviation out (Dr. GRPO, arXiv:2503.20783), which otherwise makes problems that are nearly always or
         nearly never solved weigh more.
    eps: Tülu 3.1 has 1e-8, TRL 1e-4.
    """

    std: bool = True
    eps: float = 1e-6
    VERSION: ClassVar[int] = 1

    def of(self, rewards_PG: Tensor, graded_PG: Tensor, lengths_PG: Tensor) -> Tensor:
        """0 throughout groups whose rewards are all equal."""
        return group_relative(rewards_PG, graded_PG, std=self.std, eps=self.eps)


@dataclass(frozen=True, slots=True)
class LeaveOneOut:
    """Reward - mean of the other replies of the group: RLOO (arXiv:2402.14740 eq. 8)."""

    VERSION: ClassVar[int] = 1

    def of(self, rewards_PG: Tensor, graded_PG: Tensor, lengths_PG: Tensor) -> Tensor:
        """0 throughout groups whose rewards are all equal, and where there is no other reply."""
        return leave_one_out(rewards_PG, graded_PG)


@dataclass(frozen=True, slots=True)
class Whitened:
    """(reward - mean) / standard deviation over all replies of the step: REINFORCE++ (arXiv:2501.03262).

    baseline: "none", or "group": the mean of its group is first taken off each reward ("REINFORCE++ with baseline").
    per:      "token": a reply counts once for each of its tokens, as OpenRLHF and verl have it; "reply": once.
    """

    baseline: Literal["none", "group"] = "none"
    per: Literal["token", "reply"] = "token"
    VERSION: ClassVar[int] = 1

    def of(self, rewards_PG: Tensor, graded_PG: Tensor, lengths_PG: Tensor) -> Tensor:
        """With baseline="none", a group whose rewards are all equal has an advantage too: it is above or below the others."""
        lengths = lengths_PG if self.per == "token" else None
        return whitened(rewards_PG, graded_PG, baseline=self.baseline, lengths_PG=lengths)


@dataclass(frozen=True, slots=True)
class PassAtK:
    """How much a reply raises the chance that one of k of its group passes (arXiv:2508.10751): it pays for trying different ways.

    passed: a reply passes with a reward of at least this much, what Reward adds or multiplies included.
    """

    k: int
    passed: float = 1.0
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Raise RecipeError for sets that cannot be."""
        if self.k < 1:
            raise RecipeError(
                f"PassAtK(k={self.k}): a set has at least one reply.\n  Give 1 to group_size; 4 of 16, say."
            )

    def of(self, rewards_PG: Tensor, graded_PG: Tensor, lengths_PG: Tensor) -> Tensor:
        """0 throughout groups in which every set of k has a pass, or none."""
        return pass_at_k(rewards_PG, graded_PG, k=self.k, passed=self.passed)


@dataclass(frozen=True, slots=True)
class KLInReward:
    """What straying from the reference costs: coef times an estimate of KL(policy || reference), taken off the reward.

    estimate: "k1", "k2" or "k3" of each sampled token (burnish.losses.kl), from the log-probs before the step. As part of a
              reward it is a number that log-probs are multiplied by, not a term that is differentiated: k1 then has the gradient of
              KL(policy || reference), exactly in expectation; k2 and k3 have not, though their values are less noisy.
    per:      "reply": the sum over a reply is taken off its reward, before groups are compared (RLOO, arXiv:2402.14740 §2).
              "token": each token answers for what comes from it on (REINFORCE++, arXiv:2501.03262, and PPO); with Whitened() only.
    """

    coef: float
    estimate: Literal["k1", "k2", "k3"] = "k1"
    per: Literal["reply", "token"] = "reply"
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Raise RecipeError for values that cannot work."""
        if not 0 < self.coef < float("inf"):
            raise RecipeError(
                f"KLInReward(coef={self.coef}): must be above 0, or the policy is paid for leaving its reference.\n"
                "  Leave kl_in_reward out for none."
            )
        if self.estimate not in ESTIMATORS or self.per not in ("reply", "token"):
            raise RecipeError(
                f'KLInReward(estimate={self.estimate!r}, per={self.per!r}): write "k1", "k2" or "k3", and "reply" or "token".'
            )

    def of(self, sample: Sample) -> Tensor:
        """[T] float64: the estimate at each sampled token, in nats; the sample has its reference log-probs."""
        own_T, ref_T = (torch.tensor(x, dtype=torch.float64) for x in (sample.old or sample.engine, sample.ref))
        return ESTIMATORS[self.estimate](own_T, ref_T)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a step's replies are worth.

    advantages_PG: of every reply; where tokens have their own, their mean.
    samples:       the replies to learn from, with their advantages: those of groups in which any is not 0.
    informative:   groups in which one reply is better than another, or than the step's mean, whatever KL costs.
    """

    advantages_PG: list[list[float]]
    samples: list[Sample]
    informative: int


def judge(
    groups: Sequence[Group], graded: Sequence[Sample], *, reward: Reward, advantage: Advantage, kl: KLInReward | None
) -> Judged:
    """The worth of a step's replies. graded: those that can be learned from; with `kl`, they have reference log-probs."""
    rewards_PG, graded_PG, lengths_PG = _table(groups, reward)
    plain_PG = advantage.of(rewards_PG, graded_PG, lengths_PG)
    informative = int((plain_PG != 0).any(1).sum())
    if kl is None or not graded:
        return _judged(groups, graded, plain_PG, informative)
    if kl.per == "token":
        return _by_token(groups, graded, kl, reward, informative)
    for sample in graded:
        rewards_PG[sample.group, sample.k] -= kl.coef * float(kl.of(sample).sum())
    return _judged(groups, graded, advantage.of(rewards_PG, graded_PG, lengths_PG), informative)


def _table(groups: Sequence[Group], reward: Reward) -> tuple[Tensor, Tensor, Tensor]:
    """[P, G] rewards, whether a reply was graded, and its sampled tokens; shorter groups end with replies that were not graded."""
    widest = max((len(group) for group in groups), default=0)
    rewards_PG, lengths_PG = (torch.zeros(len(groups), widest, dtype=torch.float64) for _ in range(2))
    graded_PG = torch.zeros(len(groups), widest, dtype=torch.bool)
    for g, group in enumerate(groups):
        for k, trajectory in enumerate(group):
            value = reward.of(trajectory)
            lengths_PG[g, k] = trajectory.completion.length
            if value is not None:
                rewards_PG[g, k], graded_PG[g, k] = value, True
    return rewards_PG, graded_PG, lengths_PG


def _judged(groups: Sequence[Group], graded: Sequence[Sample], found_PG: Tensor, informative: int) -> Judged:
    rows = [row[: len(group)] for row, group in zip(found_PG.tolist(), groups, strict=True)]
    kept = [replace(s, advantage=rows[s.group][s.k]) for s in graded if any(rows[s.group])]
    return Judged(rows, kept, informative)


def _by_token(
    groups: Sequence[Group], graded: Sequence[Sample], kl: KLInReward, reward: Reward, informative: int
) -> Judged:
    """A_t = reward - coef * sum of KL from token t on, whitened over all tokens of the step (REINFORCE++, arXiv:2501.03262)."""
    lengths = [sample.trajectory.completion.length for sample in graded]
    worth_ST = torch.zeros(len(graded), max(lengths), dtype=torch.float64)
    mask_ST = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    for i, sample in enumerate(graded):
        to_come_T = kl.of(sample).flip(0).cumsum(0).flip(0)
        worth_ST[i, : lengths[i]] = (reward.of(sample.trajectory) or 0.0) - kl.coef * to_come_T
    worth_ST = whiten(worth_ST, mask_ST)
    rows = [[0.0] * len(group) for group in groups]
    kept: list[Sample] = []
    for i, sample in enumerate(graded):
        own = worth_ST[i, : lengths[i]].tolist()
        rows[sample.group][sample.k] = sum(own) / len(own)
        kept.append(replace(sample, advantage=rows[sample.group][sample.k], by_token=tuple(own)))
    return Judged(rows, kept, informative)
