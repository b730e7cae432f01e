"""Preference losses without a reference policy. Shapes: B = 2P rows (P chosen, then P rejected), T positions.

They read the mean log-prob a token of each reply, so PairBatch.ref_2P is not looked at. A pair of which either reply has no
trained token counts as nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from burnish.errors import RecipeError
from burnish.losses.batch import PairBatch
from burnish.losses.pairs import live_P, reply_logps, summed

# The odds of a reply of probability 1 are infinite: a mean log-prob nearer to 0 than this counts as this.
NEAREST = -1e-7


@dataclass(frozen=True, slots=True)
class SimPO:
    """- log sigmoid(beta (mean log-prob of the chosen - of the rejected) - gamma), a unit being a pair (arXiv:2405.14734 eq. 6).

    gamma: how much better the chosen reply should score. Papers often give gamma / beta: Tülu 3 tried 0.5 with beta 2 and 0.3
    with beta 10 (arXiv:2411.15124 table 18), which are gamma=1.0 and gamma=3.0 here.
    """

    beta: float = 2.0
    gamma: float = 1.0
    VERSION: ClassVar[int] = 1
    REFERENCE: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise RecipeError(f"SimPO(beta={self.beta}): must be above 0, or the pairs would teach nothing.")
        if not self.gamma >= 0:
            raise RecipeError(f"SimPO(gamma={self.gamma}): must not be below 0, or rejected replies may score better.")

    def count(self, batch: PairBatch) -> Tensor:
        """Pairs whose two replies both have trained tokens."""
        return live_P(batch).sum()

    def total(self, logp_BT: Tensor, batch: PairBatch) -> Tensor:
        """The loss summed over pairs."""
        chosen_P, rejected_P = reply_logps(logp_BT, batch, per_token=True)
        return summed(-logsigmoid(self.beta * (chosen_P - rejected_P) - self.gamma), batch)

    def metrics(self, logp_BT: Tensor, batch: PairBatch) -> dict[str, Tensor]:
        """accuracy, margin (without gamma), chosen_logp, rejected_logp: nats a token."""
        return _metrics(self.beta, logp_BT, batch)


@dataclass(frozen=True, slots=True)
class ORPO:
    """Negative log-likelihood of the chosen + beta x odds-ratio loss, a unit being a pair (arXiv:2403.07691 eq. 6, 7).

    The first is the mean over the chosen reply's trained tokens (the prompt is not imitated). The second is
    - log sigmoid(log odds of the chosen - of the rejected), the odds of a reply being p / (1 - p) with p = e^(mean log-prob a
    token). beta is the paper's lambda.
    """

    beta: float = 0.1
    VERSION: ClassVar[int] = 1
    REFERENCE: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise RecipeError(f"ORPO(beta={self.beta}): must be above 0, or rejected replies would teach nothing.")

    def count(self, batch: PairBatch) -> Tensor:
        """Pairs whose two replies both have trained tokens."""
        return live_P(batch).sum()

    def total(self, logp_BT: Tensor, batch: PairBatch) -> Tensor:
        """The loss summed over pairs."""
        chosen_P, rejected_P = reply_logps(logp_BT, batch, per_token=True)
        return summed(-chosen_P - self.beta * logsigmoid(_log_odds(chosen_P) - _log_odds(rejected_P)), batch)

    def metrics(self, logp_BT: Tensor, batch: PairBatch) -> dict[str, Tensor]:
        """accuracy, margin (of log-probs), chosen_logp, rejected_logp: nats a token."""
        return _metrics(self.beta, logp_BT, batch)


def _log_odds(mean_P: Tensor) -> Tensor:
    """Log p - log(1 - p) of p = e^mean."""
    mean_P = mean_P.clamp(max=NEAREST)
    return mean_P - (-mean_P.expm1()).log()


def _metrics(beta: float, logp_BT: Tensor, batch: PairBatch) -> dict[str, Tensor]:
    chosen_P, rejected_P = reply_logps(logp_BT.detach(), batch, per_token=True)
    return {
        "accuracy": (chosen_P > rejected_P).sum(),
        "margin": (beta * (chosen_P - rejected_P)).sum(),
        "chosen_logp": chosen_P.sum(),
        "rejected_logp": rejected_P.sum(),
    }
