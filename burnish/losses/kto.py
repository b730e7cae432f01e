"""Kahneman-Tversky optimisation (KTO) of single replies that people found good or bad. Shapes: B rows, T positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from burnish.errors import RecipeError
from burnish.losses.batch import RatedBatch


@dataclass(frozen=True, slots=True)
class KTO:
    """w_d (1 - s(beta (r - z0))) for a desirable reply, w_u (1 - s(beta (z0 - r))) for another; s is the sigmoid, a unit a row.

    r = log pi(y|x)/pi_ref(y|x). z0, the batch's kl_B, is how far the policy as a whole has moved from the reference: the mean of
    r over the optimizer step's prompts with one another's replies, not below 0 and without gradient (arXiv:2402.01306 eq. 8).

    desirable, undesirable: the weights w_d and w_u (the paper's lambda), to be set so that desirable x their number is 1 to 1.5
                            times undesirable x theirs.
    estimate_kl:            False takes z0 = 0 and saves a forward pass: APO-zero on single replies (arXiv:2408.06266 eq. 7).
    """

    beta: float = 0.1
    desirable: float = 1.0
    undesirable: float = 1.0
    estimate_kl: bool = True
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise RecipeError(f"KTO(beta={self.beta}): must be above 0, or the replies would teach nothing.")
        if min(self.desirable, self.undesirable) < 0 or not self.desirable + self.undesirable > 0:
            raise RecipeError(
                f"KTO(desirable={self.desirable}, undesirable={self.undesirable}): weights from 0 up, one of them above 0.\n"
                "  Write desirable=1.33 where there are three desirable replies to four others."
            )

    def count(self, batch: RatedBatch) -> Tensor:
        """Rows with trained tokens."""
        return batch.sequences.mask_BT.any(1).sum()

    def total(self, logp_BT: Tensor, batch: RatedBatch) -> Tensor:
        """The loss summed over rows."""
        ratio_B, kl_B = self._ratios(logp_BT, batch)
        ahead_B = (ratio_B - kl_B) * (batch.good_B.to(ratio_B.dtype) * 2 - 1)
        weight_B = ratio_B.new_full(ratio_B.shape, self.undesirable).masked_fill(batch.good_B, self.desirable)
        # 1 - sigmoid(x) = sigmoid(-x), without the rounding of the difference.
        loss_B = weight_B * (-self.beta * ahead_B).sigmoid()
        return loss_B.masked_fill(~batch.sequences.mask_BT.any(1), 0.0).sum()

    def metrics(self, logp_BT: Tensor, batch: RatedBatch) -> dict[str, Tensor]:
        """`desirable`: rows of that kind; `desirable_reward`, `undesirable_reward`: beta r summed over the rows of each kind;
        `accuracy`: rows on the right side of z0; `kl`: z0 in nats.
        """
        ratio_B, kl_B = self._ratios(logp_BT.detach(), batch)
        live_B = batch.sequences.mask_BT.any(1)
        good_B, bad_B = live_B & batch.good_B, live_B & ~batch.good_B
        reward_B = self.beta * ratio_B
        return {
            "desirable": good_B.sum(),
            "desirable_reward": reward_B.masked_fill(~good_B, 0.0).sum(),
            "undesirable_reward": reward_B.masked_fill(~bad_B, 0.0).sum(),
            "accuracy": (((ratio_B > kl_B) & good_B) | ((ratio_B < kl_B) & bad_B)).sum(),
            "kl": kl_B.sum(),
        }

    def _ratios(self, logp_BT: Tensor, batch: RatedBatch) -> tuple[Tensor, Tensor]:
        """Log ratios and z0 [B] each; 0 for rows that do not count."""
        empty_B = ~batch.sequences.mask_BT.any(1)
        summed_B = logp_BT.masked_fill(~batch.sequences.mask_BT, 0.0).sum(1)
        ratio_B, kl_B = (x.to(summed_B.dtype) for x in (summed_B - batch.ref_B, batch.kl_B))
        return ratio_B.masked_fill(empty_B, 0.0), kl_B.masked_fill(empty_B, 0.0)
