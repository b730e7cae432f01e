"""Supervised fine-tuning: the negative log-likelihood of the trained tokens. Shapes: B sequences, T positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from burnish.errors import RecipeError
from burnish.losses.batch import TokenBatch


@dataclass(frozen=True, slots=True)
class SFTLoss:
    """- sum of log p(token) over the trained tokens, in nats.

    reduction: what one unit of the mean is.
        "mean": a trained token. The step's gradient is sum over tokens / number of trained tokens in the step.
        "sum":  a sequence, whose loss is the sum over its tokens. The step's gradient is sum over tokens / number of sequences
                in the step. This is the "sum" of Tülu 3 (arXiv:2411.15124, batch aggregation; open-instruct's
                reduce_loss=sum) for micro-batches of one sequence, averaged over accumulation steps and ranks; for larger
                micro-batches its gradient is as many times larger. Here micro-batches change nothing.

    The two gradients differ by one factor in each step: sum = mean x (trained tokens / sequences of that step). AdamW does
    not see a constant factor except through eps and gradient clipping, so a learning rate carries over while steps hold
    similar numbers of tokens; with "sum", steps with more tokens weigh more, with "mean" every step weighs the same.
    Sequences without trained tokens count as nothing in both.
    """

    reduction: Literal["mean", "sum"] = "mean"
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.reduction not in ("mean", "sum"):
            raise RecipeError(f'SFTLoss(reduction={self.reduction!r}): write "mean" or "sum".')

    def count(self, batch: TokenBatch) -> Tensor:
        """Trained tokens ("mean") or sequences that have any ("sum")."""
        mask_BT = batch.sequences.mask_BT
        return mask_BT.sum() if self.reduction == "mean" else mask_BT.any(1).sum()

    def total(self, logp_BT: Tensor, batch: TokenBatch) -> Tensor:
        """The summed negative log-likelihood, in nats."""
        return -logp_BT.masked_fill(~batch.sequences.mask_BT, 0.0).sum()

    def metrics(self, logp_BT: Tensor, batch: TokenBatch) -> dict[str, Tensor]:
        """`nll` in nats a unit; with "sum" also `length`, trained tokens a sequence, so nll / length is nats a token."""
        found = {"nll": self.total(logp_BT.detach(), batch)}
        return found if self.reduction == "mean" else found | {"length": batch.sequences.mask_BT.sum()}
