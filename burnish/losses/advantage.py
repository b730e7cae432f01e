"""Advantages: how much better a reply or token was than expected. Shapes: P problems, G replies to each, B sequences, T positions.

`graded_PG` is False where a reply could not be graded: such replies enter no mean and get advantage 0.
"""

from __future__ import annotations

import torch
from torch import Tensor


def group_relative(
    rewards_PG: Tensor, graded_PG: Tensor | None = None, *, std: bool = True, eps: float = 1e-6
) -> Tensor:
    """(reward - mean of its group) / (standard deviation of its group + eps) (GRPO, arXiv:2402.03300 §4.1.2).

    The deviation divides by n - 1, as in TRL and verl. std=False leaves it out (Dr. GRPO, arXiv:2503.20783).
    Groups whose graded rewards are all equal, or fewer than two, get exactly 0; eps bounds groups that differ by rounding only.
    """
    rewards_PG, graded_PG = _graded(rewards_PG, graded_PG)
    n_P1 = graded_PG.sum(1, keepdim=True)
    centred_PG = (rewards_PG - rewards_PG.sum(1, keepdim=True) / n_P1.clamp(min=1)).masked_fill(~graded_PG, 0.0)
    highest_P1 = rewards_PG.masked_fill(~graded_PG, -torch.inf).amax(1, keepdim=True)
    lowest_P1 = rewards_PG.masked_fill(~graded_PG, torch.inf).amin(1, keepdim=True)
    centred_PG = centred_PG.masked_fill(highest_P1 <= lowest_P1, 0.0)
    if not std:
        return centred_PG
    std_P1 = (centred_PG.square().sum(1, keepdim=True) / (n_P1 - 1).clamp(min=1)).sqrt()
    return centred_PG / (std_P1 + eps)


def leave_one_out(rewards_PG: Tensor, graded_PG: Tensor | None = None) -> Tensor:
    """Reward - mean of the other replies of its group (RLOO, arXiv:2402.14740); 0 where there is no other."""
    rewards_PG, graded_PG = _graded(rewards_PG, graded_PG)
    others_P1 = graded_PG.sum(1, keepdim=True) - 1
    baseline_PG = (rewards_PG.sum(1, keepdim=True) - rewards_PG) / others_P1.clamp(min=1)
    return (rewards_PG - baseline_PG).masked_fill(~graded_PG | (others_P1 < 1), 0.0)


def gae(
    rewards_BT: Tensor,
    values_BT: Tensor,
    mask_BT: Tensor,
    *,
    gamma: float,
    lam: float,
    bootstrap_B: Tensor | None = None,
) -> Tensor:
    """Advantages [B, T] by generalised advantage estimation (arXiv:1506.02438 eq. 16), 0 off the mask.

    values_BT: V(state before token t), in reward units. The return that a value model learns is advantage + value.
    mask_BT:   the sampled tokens. Positions between them (a tool's output, say) are passed over: the state after a sampled
               token is the one before the next sampled token.
    bootstrap_B: V of the state after the last sampled token, for replies that were cut; without it every reply ends there.
    """
    advantages_BT = torch.zeros_like(values_BT)
    ahead_B = torch.zeros_like(values_BT[:, 0])
    next_value_B = ahead_B if bootstrap_B is None else bootstrap_B
    for t in reversed(range(values_BT.shape[1])):
        sampled_B = mask_BT[:, t]
        delta_B = rewards_BT[:, t] + gamma * next_value_B - values_BT[:, t]
        ahead_B = torch.where(sampled_B, delta_B + gamma * lam * ahead_B, ahead_B)
        next_value_B = torch.where(sampled_B, values_BT[:, t], next_value_B)
        advantages_BT[:, t] = ahead_B.masked_fill(~sampled_B, 0.0)
    return advantages_BT


def whiten(x_BT: Tensor, mask_BT: Tensor, *, eps: float = 1e-8) -> Tensor:
    """X with mean 0 and standard deviation 1 (n - 1) over the mask, 0 off it; only centred where all masked x are equal.

    Call it on the whole optimizer step's advantages, not on a micro-batch, or the micro-batch size changes the gradient.
    """
    n = mask_BT.sum().clamp(min=1)
    centred_BT = x_BT.masked_fill(~mask_BT, 0.0)
    centred_BT = (centred_BT - centred_BT.sum() / n).masked_fill(~mask_BT, 0.0)
    deviation = (centred_BT.square().sum() / (n - 1).clamp(min=1)).sqrt()
    return centred_BT / (deviation + eps)


def _graded(rewards_PG: Tensor, graded_PG: Tensor | None) -> tuple[Tensor, Tensor]:
    """Rewards with 0 where ungraded, whatever lay there, and the mask itself."""
    if graded_PG is None:
        graded_PG = torch.ones_like(rewards_PG, dtype=torch.bool)
    return rewards_PG.masked_fill(~graded_PG, 0.0), graded_PG
