"""Advantages: how much better a reply or token was than expected. Shapes: P problems, G replies to each, B sequences, T positions.

Those of whole replies are functions of (rewards_PG, graded_PG, …) -> [P, G]. `graded_PG` is False where a reply could not be
graded: such replies enter no mean and get advantage 0.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from burnish.errors import RecipeError


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
    centred_PG = centred_PG.masked_fill(_all_equal(rewards_PG, graded_PG), 0.0)
    if not std:
        return centred_PG
    std_P1 = (centred_PG.square().sum(1, keepdim=True) / (n_P1 - 1).clamp(min=1)).sqrt()
    return centred_PG / (std_P1 + eps)


def leave_one_out(rewards_PG: Tensor, graded_PG: Tensor | None = None) -> Tensor:
    """Reward - mean of the other replies of its group (RLOO, arXiv:2402.14740); exactly 0 where there is no other, and in groups
    whose graded rewards are all equal.
    """
    rewards_PG, graded_PG = _graded(rewards_PG, graded_PG)
    others_P1 = graded_PG.sum(1, keepdim=True) - 1
    baseline_PG = (rewards_PG.sum(1, keepdim=True) - rewards_PG) / others_P1.clamp(min=1)
    nothing_PG = ~graded_PG | (others_P1 < 1) | _all_equal(rewards_PG, graded_PG)
    return (rewards_PG - baseline_PG).masked_fill(nothing_PG, 0.0)


def whitened(
    rewards_PG: Tensor,
    graded_PG: Tensor | None = None,
    *,
    baseline: Literal["none", "group"] = "none",
    lengths_PG: Tensor | None = None,
    eps: float = 1e-8,
) -> Tensor:
    """(x - mean) / (standard deviation + eps), both over all replies of the step (REINFORCE++, arXiv:2501.03262).

    baseline:   "none": x is the reward. "group": x is the reward - mean of its group ("REINFORCE++ with baseline"); where a
                group's rewards are all equal, x is exactly 0.
    lengths_PG: sampled tokens of each reply. With them a reply counts once a token in mean and deviation, as in OpenRLHF and
                verl, which whiten after every token got its reply's number; without, once.
    The deviation divides by n - 1. Where all x are equal, all advantages are exactly 0.
    """
    rewards_PG, graded_PG = _graded(rewards_PG, graded_PG)
    x_PG = group_relative(rewards_PG, graded_PG, std=False) if baseline == "group" else rewards_PG
    if lengths_PG is None:
        lengths_PG = torch.ones_like(rewards_PG)
    weight_PG = lengths_PG.to(x_PG.dtype).masked_fill(~graded_PG, 0.0)
    used_PG = weight_PG > 0
    if not used_PG.any() or x_PG[used_PG].amax() <= x_PG[used_PG].amin():
        return torch.zeros_like(x_PG)
    n = weight_PG.sum()
    centred_PG = (x_PG - (weight_PG * x_PG).sum() / n).masked_fill(~graded_PG, 0.0)
    deviation = ((weight_PG * centred_PG.square()).sum() / (n - 1).clamp(min=1)).sqrt()
    return centred_PG / (deviation + eps)


def pass_at_k(rewards_PG: Tensor, graded_PG: Tensor | None = None, *, k: int, passed: float = 1.0) -> Tensor:
    """How much a reply raises the chance that one of k passes, in standard deviations (Pass@k training, arXiv:2508.10751 §2.4).

    A reply passes with a reward of at least `passed`. Of all sets of k of a group's n graded replies, a share
    p = 1 - C(failed, k) / C(n, k) holds a pass; a reply's advantage is the mean over the sets it is in of
    (1 or 0 - p) / sqrt(p (1 - p)). Exactly 0 where every set passes or none does (fewer than k fail, or nobody passes), and
    where fewer than k were graded. k=1 is group_relative with the deviation of the population. Raises RecipeError for k below 1.
    """
    if k < 1:
        raise RecipeError(f"pass_at_k(k={k}): k replies are looked at together, so give 1 or more.")
    rewards_PG, graded_PG = _graded(rewards_PG, graded_PG)
    passes_PG = (rewards_PG >= passed) & graded_PG
    found_PG = torch.zeros_like(rewards_PG)
    for p, (passes, n) in enumerate(zip(passes_PG.sum(1).tolist(), graded_PG.sum(1).tolist(), strict=True)):
        failed = n - passes
        if not k <= failed < n:
            continue
        share = 1 - math.comb(failed, k) / math.comb(n, k)
        share_of_failed = 1 - math.comb(failed - 1, k - 1) / math.comb(n - 1, k - 1)
        deviation = math.sqrt(share * (1 - share))
        found_PG[p, passes_PG[p]] = (1 - share) / deviation
        found_PG[p, graded_PG[p] & ~passes_PG[p]] = (share_of_failed - share) / deviation
    return found_PG


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


def _all_equal(rewards_PG: Tensor, graded_PG: Tensor) -> Tensor:
    """[P, 1] bool: no graded reply of the group is better than another."""
    highest_P1 = rewards_PG.masked_fill(~graded_PG, -torch.inf).amax(1, keepdim=True)
    lowest_P1 = rewards_PG.masked_fill(~graded_PG, torch.inf).amin(1, keepdim=True)
    return highest_P1 <= lowest_P1


def _graded(rewards_PG: Tensor, graded_PG: Tensor | None) -> tuple[Tensor, Tensor]:
    """Rewards with 0 where ungraded, whatever lay there, and the mask itself."""
    if graded_PG is None:
        graded_PG = torch.ones_like(rewards_PG, dtype=torch.bool)
    return rewards_PG.masked_fill(~graded_PG, 0.0), graded_PG
