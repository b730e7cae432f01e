"""Policy-gradient losses of the PPO family. Shapes: B sequences, T positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from burnish.errors import RecipeError
from burnish.losses.kl import MAX_LOG_RATIO, k3

if TYPE_CHECKING:
    from burnish.losses.batch import RolloutBatch


def importance_ratio(logp_BT: Tensor, old_BT: Tensor) -> Tensor:
    """pi(token) / pi_old(token); past e^20 it stays there and has no gradient, so that no token becomes inf."""
    return (logp_BT - old_BT).clamp(max=MAX_LOG_RATIO).exp()


def clipped_objective(ratio_BT: Tensor, adv_BT: Tensor, low: float, high: float) -> Tensor:
    """min(r A, clip(r, 1 - low, 1 + high) A), to be maximised (PPO, arXiv:1707.06347 eq. 7)."""
    return torch.minimum(ratio_BT * adv_BT, ratio_BT.clamp(1 - low, 1 + high) * adv_BT)


@dataclass(frozen=True, slots=True)
class GRPO:
    """- clipped objective + kl_coef k3(policy, reference), over the sampled tokens.

    unit: "sequence": the mean over replies of each reply's mean over its tokens (arXiv:2402.03300 eq. 3).
          "token": the mean over all tokens, so long replies weigh more (DAPO, arXiv:2503.14476 eq. 8).
    constant_length: divide each reply's sum by this number instead of its own length (Dr. GRPO, arXiv:2503.20783); only
          with unit="sequence".
    clip_high above clip_low is DAPO's clip-higher. A reply without trained tokens counts as nothing.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    kl_coef: float = 0.04
    unit: Literal["sequence", "token"] = "sequence"
    constant_length: int | None = None
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.unit not in ("sequence", "token"):
            raise RecipeError(f'GRPO(unit={self.unit!r}): write "sequence" or "token".')
        if not 0 < self.clip_low <= 1 or not self.clip_high > 0:
            raise RecipeError(
                f"GRPO(clip_low={self.clip_low}, clip_high={self.clip_high}): clip_low must be in (0, 1], clip_high above 0."
            )
        if not self.kl_coef >= 0:
            raise RecipeError(
                f"GRPO(kl_coef={self.kl_coef}): must not be below 0, or the policy is pushed off its reference."
            )
        if self.constant_length is not None and (self.unit == "token" or self.constant_length < 1):
            raise RecipeError(
                f'GRPO(constant_length={self.constant_length}, unit={self.unit!r}): needs a length of at least 1 and unit="sequence".'
            )

    def count(self, batch: RolloutBatch) -> Tensor:
        """Replies that have trained tokens, or those tokens."""
        mask_BT = batch.sequences.mask_BT
        return mask_BT.any(1).sum() if self.unit == "sequence" else mask_BT.sum()

    def total(self, logp_BT: Tensor, batch: RolloutBatch) -> Tensor:
        """The loss summed over replies or tokens."""
        logp_BT, old_BT, ref_BT, adv_BT = _masked(logp_BT, batch)
        ratio_BT = importance_ratio(logp_BT, old_BT)
        loss_BT = -clipped_objective(ratio_BT, adv_BT, self.clip_low, self.clip_high)
        if self.kl_coef:
            loss_BT = loss_BT + self.kl_coef * k3(logp_BT, ref_BT)
        if self.constant_length is not None:
            return loss_BT.sum() / self.constant_length
        return self._sum_units(loss_BT, batch.sequences.mask_BT)

    def metrics(self, logp_BT: Tensor, batch: RolloutBatch) -> dict[str, Tensor]:
        """Means over tokens, summed over units: `kl` to the reference (k3, nats), `old_kl` from the sampling policy
        (k3, nats), `ratio`, and `clip_fraction`, the share of tokens whose gradient the clip takes away.
        """
        mask_BT = batch.sequences.mask_BT
        logp_BT, old_BT, ref_BT, adv_BT = _masked(logp_BT.detach(), batch)
        ratio_BT = importance_ratio(logp_BT, old_BT)
        above_BT = (adv_BT > 0) & (ratio_BT > 1 + self.clip_high)
        below_BT = (adv_BT < 0) & (ratio_BT < 1 - self.clip_low)
        values = {
            "kl": k3(logp_BT, ref_BT),
            "old_kl": k3(old_BT, logp_BT),
            "ratio": ratio_BT,
            "clip_fraction": (above_BT | below_BT).to(ratio_BT.dtype),
        }
        return {name: self._sum_units(value_BT * mask_BT, mask_BT) for name, value_BT in values.items()}

    def _sum_units(self, value_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """The sum over tokens, or over replies of each reply's mean; value_BT is 0 off the mask."""
        if self.unit == "token":
            return value_BT.sum()
        return (value_BT.sum(1) / mask_BT.sum(1).clamp(min=1)).sum()


def _masked(logp_BT: Tensor, batch: RolloutBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four tensors with 0 off the mask, whatever lay there: junk times 0 would still be NaN."""
    off_BT = ~batch.sequences.mask_BT
    logp_BT, old_BT, ref_BT, adv_BT = (
        x.masked_fill(off_BT, 0.0) for x in (logp_BT, batch.old_BT, batch.ref_BT, batch.adv_BT)
    )
    return logp_BT, old_BT, ref_BT, adv_BT
