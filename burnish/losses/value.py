"""The value model's loss in PPO. Shapes: B sequences, T positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from burnish.errors import RecipeError
from burnish.losses.batch import ValueBatch


@dataclass(frozen=True, slots=True)
class ValueLoss:
    """max((V - R)^2, (clip(V, V_old - clip, V_old + clip) - R)^2) / 2, a unit being a sampled token.

    The value may move by at most `clip` (reward units) from what it was when the reply was sampled; None switches that off
    (PPO as in OpenAI's baselines; arXiv:2005.12729 §3 "value function clipping"). `values_BT` takes the place of log-probs.
    """

    clip: float | None = 0.2
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.clip is not None and not self.clip > 0:
            raise RecipeError(f"ValueLoss(clip={self.clip}): must be above 0, or None for no clipping.")

    def count(self, batch: ValueBatch) -> Tensor:
        """Sampled tokens."""
        return batch.sequences.mask_BT.sum()

    def total(self, values_BT: Tensor, batch: ValueBatch) -> Tensor:
        """The loss summed over tokens."""
        values_BT, old_BT, returns_BT = _masked(values_BT, batch)
        loss_BT = (values_BT - returns_BT).square()
        if self.clip is not None:
            near_BT = old_BT + (values_BT - old_BT).clamp(-self.clip, self.clip)
            loss_BT = torch.maximum(loss_BT, (near_BT - returns_BT).square())
        return loss_BT.sum() / 2

    def metrics(self, values_BT: Tensor, batch: ValueBatch) -> dict[str, Tensor]:
        """`value`, `return` and `value_error` (absolute), in reward units."""
        values_BT, _, returns_BT = _masked(values_BT.detach(), batch)
        return {
            "value": values_BT.sum(),
            "return": returns_BT.sum(),
            "value_error": (values_BT - returns_BT).abs().sum(),
        }


def _masked(values_BT: Tensor, batch: ValueBatch) -> tuple[Tensor, Tensor, Tensor]:
    off_BT = ~batch.sequences.mask_BT
    values_BT, old_BT, returns_BT = (x.masked_fill(off_BT, 0.0) for x in (values_BT, batch.old_BT, batch.returns_BT))
    return values_BT, old_BT, returns_BT
