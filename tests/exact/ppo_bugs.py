"""Bugs of PPO code, as code: each takes a MonkeyPatch and puts one back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from burnish.losses import kl
from burnish.losses.advantage import gae as true_gae
from burnish.losses.advantage import whiten
from burnish.losses.policy import PolicyLoss
from burnish.losses.value import ValueLoss
from burnish.model.reward import ValueModel
from burnish.train import ppo, values
from burnish.train.ppo import ActorCritic
from burnish.train.rollouts import Reward
from burnish.train.values import Credit

Patch = pytest.MonkeyPatch


def credited(change: Callable[[Credit], Credit]) -> Callable[[Patch], None]:
    """What `credit` returns, changed."""

    def put_back(patch: Patch) -> None:
        whole = values.credit
        patch.setattr(ppo, "credit", lambda *given, **more: change(whole(*given, **more)))

    return put_back


def rewards(change: Callable[..., Tensor]) -> Callable[[Patch], None]:
    """The rewards of tokens by `change(scores, old, ref, mask)`, the KL left out of what it returns."""

    def put_back(patch: Patch) -> None:
        whole = values.token_rewards

        def changed(score_B: Tensor, old: Tensor, ref: Tensor, mask: Tensor, **more: Any) -> Tensor:
            return whole(torch.zeros_like(score_B), old, ref, mask, **more) + change(score_B, mask)

        patch.setattr(values, "token_rewards", changed)

    return put_back


def score_at_the_first_token(score_B: Tensor, mask: Tensor) -> Tensor:
    return score_B[:, None] * (mask & (mask.long().cumsum(1) == 1))


def score_before_the_last_token(score_B: Tensor, mask: Tensor) -> Tensor:
    left = mask.long().flip(1).cumsum(1).flip(1)
    return score_B[:, None] * (mask & (left == mask.sum(1, keepdim=True).clamp(max=2)))


def score_at_every_token(score_B: Tensor, mask: Tensor) -> Tensor:
    return score_B[:, None] * mask


def score_at_the_end_of_the_padding(score_B: Tensor, mask: Tensor) -> Tensor:
    """Where the longest reply ends; shorter ones never see it."""
    return score_B[:, None] * (torch.arange(mask.shape[1]) == mask.shape[1] - 1)


def kl_sign(patch: Patch) -> None:
    patch.setitem(kl.ESTIMATORS, "k1", lambda logp, ref: ref - logp)


def whitened_in_parts(patch: Patch) -> None:
    """Each micro-batch to mean 0 and deviation 1."""
    whole = Credit.policy_batch

    def policy_batch(self: Credit, index: Sequence[int]) -> Any:
        batch = whole(replace(self, advantages_BK=self.raw_BK), index)
        return replace(batch, adv_BT=whiten(batch.adv_BT, batch.sequences.mask_BT))

    patch.setattr(Credit, "policy_batch", policy_batch)


def whitened_with_padding(found: Credit) -> Credit:
    everything = torch.ones_like(found.observed.mask_BK)
    return replace(found, advantages_BK=whiten(found.raw_BK, everything))


def returns_of_whitened(found: Credit) -> Credit:
    return replace(found, returns_BK=found.advantages_BK + found.observed.values_BK)


def value_a_token_late(patch: Patch) -> None:
    """Read at the token itself, which the value then knows."""

    def outputs(self: ValueModel, sequences: Any, temperature: float) -> Tensor:
        mask, weight = sequences.mask_BT, self.model.score.weight
        states = self.policy.states(sequences, mask)
        return torch.zeros(mask.shape, dtype=weight.dtype).masked_scatter(mask, (states @ weight.T)[:, 0])

    patch.setattr(ValueModel, "outputs", outputs)


def never_bootstrapped(patch: Patch) -> None:
    patch.setattr(
        ActorCritic, "_after", lambda self, kept, parts, like: torch.zeros(len(kept), dtype=like.dtype)
    )  # fmt: skip


def always_bootstrapped(patch: Patch) -> None:
    """The last value stands for what follows the last token, of every reply."""

    def gae(rewards_BT: Tensor, values_BT: Tensor, mask_BT: Tensor, **more: Any) -> Tensor:
        last = mask_BT.sum(1, keepdim=True) - 1
        return true_gae(rewards_BT, values_BT, mask_BT, **more | {"bootstrap_B": values_BT.gather(1, last)[:, 0]})

    patch.setattr(values, "gae", gae)


def penalty_added(patch: Patch) -> None:
    """The penalty for a missing end beside the grade, not in its place."""
    whole = Reward.of
    patch.setattr(
        Reward, "of", lambda self, t: (whole(self, t) or 0.0) + (t.verdict.score or 0.0) if t.completion.finish.value == "length" else whole(self, t)
    )  # fmt: skip


def one_order_for_all_epochs(patch: Patch) -> None:
    whole = ActorCritic._passes
    patch.setattr(ActorCritic, "_passes", lambda self, step, kept: whole(self, step, kept)[:1] * self._stage.epochs)


def ratio_always_one(patch: Patch) -> None:
    """Old log-probs taken anew before every update: nothing is ever clipped."""
    total = PolicyLoss.total
    patch.setattr(
        PolicyLoss, "total", lambda self, logp, batch: total(self, logp, replace(batch, old_BT=logp.detach()))
    )  # fmt: skip


def old_values_move(patch: Patch) -> None:
    """Old values taken anew before every update: the value clip holds nothing."""
    total = ValueLoss.total
    patch.setattr(
        ValueLoss, "total", lambda self, found, batch: total(self, found, replace(batch, old_BT=found.detach()))
    )  # fmt: skip


def better_of_two_values(patch: Patch) -> None:
    """The smaller of the clipped and the unclipped error."""
    patch.setattr(torch, "maximum", torch.minimum)


def values_at_the_temperature(patch: Patch) -> None:
    outputs = ValueModel.outputs
    patch.setattr(
        ValueModel, "outputs", lambda self, sequences, temperature: outputs(self, sequences, temperature) / temperature
    )  # fmt: skip
