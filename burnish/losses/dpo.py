"""Direct preference optimisation. Shapes: B = 2P rows (P chosen, then P rejected), T positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from burnish.errors import RecipeError
from burnish.losses.batch import PairBatch


@dataclass(frozen=True, slots=True)
class DPO:
    """- log sigmoid(beta (log ratio of the chosen - log ratio of the rejected)), a unit being a pair.

    The log ratio of a reply y is log pi(y)/pi_ref(y) (arXiv:2305.18290 eq. 7); length-normalised it is divided by the tokens
    of y (arXiv:2411.15124 §5, with beta 5). Without length normalisation beta is usually 0.1.
    label_smoothing is the assumed share of flipped labels (conservative DPO): (1 - s) loss + s loss of the swapped pair.
    A pair of which either reply has no trained token counts as nothing.
    """

    beta: float = 5.0
    length_normalized: bool = True
    label_smoothing: float = 0.0
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise RecipeError(f"DPO(beta={self.beta}): must be above 0, or the pairs would teach nothing.")
        if not 0 <= self.label_smoothing < 0.5:
            raise RecipeError(
                f"DPO(label_smoothing={self.label_smoothing}): must be in [0, 0.5); half or more flips it."
            )

    def count(self, batch: PairBatch) -> Tensor:
        """Pairs whose two replies both have trained tokens."""
        return _live_P(batch).sum()

    def total(self, logp_BT: Tensor, batch: PairBatch) -> Tensor:
        """The loss summed over pairs."""
        chosen_P, rejected_P = self._log_ratios(logp_BT, batch)
        margin_P = self.beta * (chosen_P - rejected_P)
        loss_P = -(1 - self.label_smoothing) * logsigmoid(margin_P) - self.label_smoothing * logsigmoid(-margin_P)
        return loss_P.masked_fill(~_live_P(batch), 0.0).sum()

    def metrics(self, logp_BT: Tensor, batch: PairBatch) -> dict[str, Tensor]:
        """`accuracy`: pairs whose margin is above 0; `margin`: beta x the difference of log ratios;
        `chosen_logratio`, `rejected_logratio`: in nats, a token where length-normalised, a reply otherwise.
        """
        chosen_P, rejected_P = self._log_ratios(logp_BT.detach(), batch)
        return {
            "accuracy": (chosen_P > rejected_P).sum(),
            "margin": (self.beta * (chosen_P - rejected_P)).sum(),
            "chosen_logratio": chosen_P.sum(),
            "rejected_logratio": rejected_P.sum(),
        }

    def _log_ratios(self, logp_BT: Tensor, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Log pi/pi_ref of the chosen and of the rejected replies [P] each; 0 for pairs that do not count."""
        mask_BT = batch.sequences.mask_BT
        ratio_2P = logp_BT.masked_fill(~mask_BT, 0.0).sum(1) - batch.ref_2P
        if self.length_normalized:
            ratio_2P = ratio_2P / mask_BT.sum(1).clamp(min=1)
        ratio_2P = ratio_2P.masked_fill(~_live_P(batch).repeat(2), 0.0)
        chosen_P, rejected_P = ratio_2P.chunk(2)
        return chosen_P, rejected_P


def _live_P(batch: PairBatch) -> Tensor:
    chosen_P, rejected_P = batch.sequences.mask_BT.any(1).chunk(2)
    return chosen_P & rejected_P
