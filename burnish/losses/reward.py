"""The reward model's loss. Shapes: B = 2P rows (P chosen, then P rejected)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from burnish.errors import RecipeError
from burnish.losses.batch import ScoredPairBatch


@dataclass(frozen=True, slots=True)
class BradleyTerry:
    """- log sigmoid(score of the chosen - score of the rejected - margin), a unit being a pair.

    Without a margin: arXiv:2203.02155 eq. 1. use_margin takes the batch's margin_P, larger where the preference is clearer
    (arXiv:2307.09288 eq. 2). center adds center * (score of the chosen + of the rejected)^2, which keeps scores around 0
    (arXiv:2312.09244 §2). `scores_2P`, one score a row, takes the place of log-probs. Rows of length 0 are padding.
    """

    use_margin: bool = False
    center: float = 0.0
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not self.center >= 0:
            raise RecipeError(
                f"BradleyTerry(center={self.center}): must not be below 0, or scores are driven away from 0."
            )

    def count(self, batch: ScoredPairBatch) -> Tensor:
        """Pairs."""
        return _live_P(batch).sum()

    def total(self, scores_2P: Tensor, batch: ScoredPairBatch) -> Tensor:
        """The loss summed over pairs."""
        chosen_P, rejected_P = self._scores(scores_2P, batch)
        ahead_P = chosen_P - rejected_P
        if self.use_margin:
            ahead_P = ahead_P - batch.margin_P
        loss_P = -logsigmoid(ahead_P)
        if self.center:
            loss_P = loss_P + self.center * (chosen_P + rejected_P).square()
        return loss_P.masked_fill(~_live_P(batch), 0.0).sum()

    def metrics(self, scores_2P: Tensor, batch: ScoredPairBatch) -> dict[str, Tensor]:
        """`accuracy`: pairs ranked right; `margin`: the difference of scores; `chosen_score`, `rejected_score`."""
        chosen_P, rejected_P = self._scores(scores_2P.detach(), batch)
        return {
            "accuracy": (chosen_P > rejected_P).sum(),
            "margin": (chosen_P - rejected_P).sum(),
            "chosen_score": chosen_P.sum(),
            "rejected_score": rejected_P.sum(),
        }

    def _scores(self, scores_2P: Tensor, batch: ScoredPairBatch) -> tuple[Tensor, Tensor]:
        chosen_P, rejected_P = scores_2P.masked_fill(~_live_P(batch).repeat(2), 0.0).chunk(2)
        return chosen_P, rejected_P


def _live_P(batch: ScoredPairBatch) -> Tensor:
    chosen_P, rejected_P = (batch.sequences.lengths_B > 0).chunk(2)
    return chosen_P & rejected_P
