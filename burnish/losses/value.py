"""The value model's loss in PPO. Shapes: B sequences, T positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from burnish.errors import RecipeError
from burnish.losses.batch import ValueBatch


@dataclass(frozen=True, slots=True)
class ValueLoss:
    """coef max((V - R)^2, (clip(V, V_old - clip, V_old + clip) - R)^2) / 2, over the sampled tokens.

    The value may move by at most `clip` (reward units) from what it was when the reply was sampled; None switches that off
    (PPO as in OpenAI's baselines; arXiv:2005.12729 §3 "value function clipping"). `values_BT` takes the place of log-probs.

    coef: with an optimizer of the value model's own, Adam divides it out again; what is left of it is where the gradient's norm
          is clipped, and Adam's eps.
    unit: "token": the mean over all tokens. "sequence": the mean over replies of each reply's mean over its tokens.
    """

    clip: float | None = 0.2
    coef: float = 1.0
    unit: Literal["sequence", "token"] = "token"
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.clip is not None and not self.clip > 0:
            raise RecipeError(f"ValueLoss(clip={self.clip}): must be above 0, or None for no clipping.")
        if not self.coef > 0:
            raise RecipeError(f"ValueLoss(coef={self.coef}): must be above 0, or the value model learns nothing.")
        if self.unit not in ("sequence", "token"):
            raise RecipeError(f'ValueLoss(unit={self.unit!r}): write "sequence" or "token".')

    def count(self, batch: ValueBatch) -> Tensor:
        """Sampled tokens, or replies that have any."""
        mask_BT = batch.sequences.mask_BT
        return mask_BT.sum() if self.unit == "token" else mask_BT.any(1).sum()

    def total(self, values_BT: Tensor, batch: ValueBatch) -> Tensor:
        """The loss summed over tokens or replies."""
        values_BT, old_BT, returns_BT = _masked(values_BT, batch)
        loss_BT = (values_BT - returns_BT).square()
        if self.clip is not None:
            loss_BT = torch.maximum(loss_BT, (self._near(values_BT, old_BT) - returns_BT).square())
        return self.coef * self._sum_units(loss_BT / 2, batch.sequences.mask_BT)

    def metrics(self, values_BT: Tensor, batch: ValueBatch) -> dict[str, Tensor]:
        """`value`, `return` and `value_error` (absolute), in reward units; `value_clip_fraction`, the share of tokens whose
        gradient the clip takes away.
        """
        mask_BT = batch.sequences.mask_BT
        values_BT, old_BT, returns_BT = _masked(values_BT.detach(), batch)
        near_BT = self._near(values_BT, old_BT)
        worse_BT = (near_BT - returns_BT).square() > (values_BT - returns_BT).square()
        found = {
            "value": values_BT,
            "return": returns_BT,
            "value_error": (values_BT - returns_BT).abs(),
            "value_clip_fraction": (worse_BT & mask_BT).to(values_BT.dtype),
        }
        return {name: self._sum_units(value_BT, mask_BT) for name, value_BT in found.items()}

    def _near(self, values_BT: Tensor, old_BT: Tensor) -> Tensor:
        """The values, moved by at most `clip` from what they were."""
        if self.clip is None:
            return values_BT
        return old_BT + (values_BT - old_BT).clamp(-self.clip, self.clip)

    def _sum_units(self, value_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """The sum over tokens, or over replies of each reply's mean; value_BT is 0 off the mask."""
        if self.unit == "token":
            return value_BT.sum()
        return (value_BT.sum(1) / mask_BT.sum(1).clamp(min=1)).sum()


def _masked(values_BT: Tensor, batch: ValueBatch) -> tuple[Tensor, Tensor, Tensor]:
    off_BT = ~batch.sequences.mask_BT
    values_BT, old_BT, returns_BT = (x.masked_fill(off_BT, 0.0) for x in (values_BT, batch.old_BT, batch.returns_BT))
    return values_BT, old_BT, returns_BT
