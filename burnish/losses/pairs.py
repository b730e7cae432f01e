"""What the losses over preference pairs have in common. Shapes: B = 2P rows (P chosen, then P rejected), T positions.

A pair of which either reply has no trained token counts as nothing.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import Tensor

from burnish.losses.batch import PairBatch


class PairLoss(Protocol):
    """A loss over preference pairs, whose unit is a pair.

    REFERENCE: whether it reads the reference policy's log-probs; the reference is not computed for one that does not.
    """

    REFERENCE: ClassVar[bool]

    @property
    def beta(self) -> float:
        """How strongly the margin counts."""

    def count(self, batch: PairBatch) -> Tensor:
        """Pairs whose two replies both have trained tokens."""

    def total(self, logp_BT: Tensor, batch: PairBatch) -> Tensor:
        """The loss summed over pairs."""

    def metrics(self, logp_BT: Tensor, batch: PairBatch) -> dict[str, Tensor]:
        """Sums over pairs of what is worth logging."""


def live_P(batch: PairBatch) -> Tensor:
    """Which pairs count: both replies have trained tokens."""
    chosen_P, rejected_P = batch.sequences.mask_BT.any(1).chunk(2)
    return chosen_P & rejected_P


def reply_logps(logp_BT: Tensor, batch: PairBatch, *, per_token: bool) -> tuple[Tensor, Tensor]:
    """Log-prob of the chosen and of the rejected replies [P] each: summed over trained tokens, or their mean; 0 for pairs
    that do not count.
    """
    return _halves(logp_BT.masked_fill(~batch.sequences.mask_BT, 0.0).sum(1), batch, per_token=per_token)


def log_ratios(logp_BT: Tensor, batch: PairBatch, *, per_token: bool) -> tuple[Tensor, Tensor]:
    """Log pi/pi_ref of the chosen and of the rejected replies [P] each: summed over trained tokens, or their mean; 0 for
    pairs that do not count.
    """
    summed_2P = logp_BT.masked_fill(~batch.sequences.mask_BT, 0.0).sum(1)
    return _halves(summed_2P - batch.ref_2P, batch, per_token=per_token)


def summed(loss_P: Tensor, batch: PairBatch) -> Tensor:
    """The sum over the pairs that count."""
    return loss_P.masked_fill(~live_P(batch), 0.0).sum()


def ratio_metrics(beta: float, chosen_P: Tensor, rejected_P: Tensor) -> dict[str, Tensor]:
    """`accuracy`: pairs whose margin is above 0; `margin`: beta x the difference of log ratios;
    `chosen_logratio`, `rejected_logratio`: how far each reply drifted from the reference, in nats.
    """
    return {
        "accuracy": (chosen_P > rejected_P).sum(),
        "margin": (beta * (chosen_P - rejected_P)).sum(),
        "chosen_logratio": chosen_P.sum(),
        "rejected_logratio": rejected_P.sum(),
    }


def _halves(value_2P: Tensor, batch: PairBatch, *, per_token: bool) -> tuple[Tensor, Tensor]:
    if per_token:
        value_2P = value_2P / batch.sequences.mask_BT.sum(1).clamp(min=1)
    chosen_P, rejected_P = value_2P.masked_fill(~live_P(batch).repeat(2), 0.0).chunk(2)
    return chosen_P, rejected_P
