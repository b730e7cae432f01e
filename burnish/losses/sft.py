"""Supervised fine-tuning: the negative log-likelihood of the trained tokens. Shapes: B sequences, T positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from burnish.errors import RecipeError
from burnish.losses.batch import TokenBatch, weigh


@dataclass(frozen=True, slots=True)
class SFTLoss:
    """- sum of w log p(token) over the trained tokens, in nats; w is the weight of the token's row, 1 where none is given.

    reduction: what one unit of the mean is.
        "mean": a trained token. The step's gradient is sum of w over tokens x nll / sum of w over trained tokens in the step.
        "sum":  a sequence, whose loss is the sum over its tokens. The step's gradient is sum of w x nll / sum of w over the
                sequences in the step. This is the "sum" of Tülu 3 (arXiv:2411.15124, batch aggregation; open-instruct's
                reduce_loss=sum) for micro-batches of one sequence, averaged over accumulation steps and ranks; for larger
                micro-batches its gradient is as many times larger. Here micro-batches change nothing.

    The two gradients differ by one factor in each step: sum = mean x (trained tokens / sequences of that step). AdamW does
    not see a constant factor except through eps and gradient clipping, so a learning rate carries over while steps hold
    similar numbers of tokens; with "sum", steps with more tokens weigh more, with "mean" every step weighs the same.
    Sequences without trained tokens count as nothing in both.

    The weight is in the sum and in the count, so a row of weight 2 is that row twice, a row of weight 0 is no row, and the
    same weight on every row is no weight.
    """

    reduction: Literal["mean", "sum"] = "mean"
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.reduction not in ("mean", "sum"):
            raise RecipeError(f'SFTLoss(reduction={self.reduction!r}): write "mean" or "sum".')

    def count(self, batch: TokenBatch) -> Tensor:
        """Trained tokens ("mean") or sequences that have any ("sum"), each as often as its row's weight says."""
        mask_BT = batch.sequences.mask_BT
        units_B = mask_BT.sum(1) if self.reduction == "mean" else mask_BT.any(1)
        return weigh(units_B, batch.sequences, batch.weight_B).sum()

    def total(self, logp_BT: Tensor, batch: TokenBatch) -> Tensor:
        """The weighted sum of the negative log-likelihoods, in nats."""
        mask_BT = batch.sequences.mask_BT
        if batch.weight_B is None:
            return -logp_BT.masked_fill(~mask_BT, 0.0).sum()
        return -weigh(logp_BT.masked_fill(~mask_BT, 0.0).sum(1), batch.sequences, batch.weight_B).sum()

    def metrics(self, logp_BT: Tensor, batch: TokenBatch) -> dict[str, Tensor]:
        """`nll` in nats a unit; with "sum" also `length`, trained tokens a sequence, so nll / length is nats a token."""
        found = {"nll": self.total(logp_BT.detach(), batch)}
        if self.reduction == "mean":
            return found
        return found | {"length": weigh(batch.sequences.mask_BT.sum(1), batch.sequences, batch.weight_B).sum()}
