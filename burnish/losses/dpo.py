"""Direct preference optimisation and its variants with a reference. Shapes: B = 2P rows (P chosen, then P rejected), T positions.

The log ratio of a reply y is log pi(y)/pi_ref(y); length-normalised it is divided by the tokens of y. A pair of which either
reply has no trained token counts as nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn.functional import logsigmoid

from burnish.errors import RecipeError
from burnish.losses.batch import PairBatch
from burnish.losses.pairs import live_P, log_ratios, ratio_metrics, summed


@dataclass(frozen=True, slots=True)
class DPO:
    """- log sigmoid(beta (log ratio of the chosen - log ratio of the rejected)), a unit being a pair.

    arXiv:2305.18290 eq. 7; length-normalised as in arXiv:2411.15124 §5, with beta 5. Without length normalisation beta is
    usually 0.1.
    label_smoothing: the assumed share s of flipped labels. Conservative DPO (note of Mitchell 2023): (1 - s) loss + s loss
                     of the swapped pair.
    unbiased:        the robust form (arXiv:2403.00409 eq. 12): ((1 - s) loss - s loss of the swapped pair) / (1 - 2s),
                     whose mean over labels flipped at rate s is the loss on the true ones.
    """

    beta: float = 5.0
    length_normalized: bool = True
    label_smoothing: float = 0.0
    unbiased: bool = False
    VERSION: ClassVar[int] = 1
    REFERENCE: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_beta("DPO", self.beta)
        if not 0 <= self.label_smoothing < 0.5:
            raise RecipeError(
                f"DPO(label_smoothing={self.label_smoothing}): must be in [0, 0.5); half or more flips it."
            )
        if self.unbiased and not self.label_smoothing:
            raise RecipeError(
                "DPO(unbiased=True) corrects for flipped labels, but label_smoothing=0 says that there are none.\n"
                "  Write label_smoothing=0.1 for one in ten, or leave unbiased out."
            )

    def count(self, batch: PairBatch) -> Tensor:
        """Pairs whose two replies both have trained tokens."""
        return live_P(batch).sum()

    def total(self, logp_BT: Tensor, batch: PairBatch) -> Tensor:
        """The loss summed over pairs."""
        chosen_P, rejected_P = log_ratios(logp_BT, batch, per_token=self.length_normalized)
        margin_P = self.beta * (chosen_P - rejected_P)
        flipped = -self.label_smoothing if self.unbiased else self.label_smoothing
        loss_P = -(1 - self.label_smoothing) * logsigmoid(margin_P) - flipped * logsigmoid(-margin_P)
        return summed(loss_P / (1 - 2 * self.label_smoothing) if self.unbiased else loss_P, batch)

    def metrics(self, logp_BT: Tensor, batch: PairBatch) -> dict[str, Tensor]:
        """accuracy, margin, chosen_logratio, rejected_logratio, as in `ratio_metrics`."""
        return ratio_metrics(self.beta, *log_ratios(logp_BT.detach(), batch, per_token=self.length_normalized))


@dataclass(frozen=True, slots=True)
class IPO:
    """(log ratio of the chosen - log ratio of the rejected - 1 / (2 beta))^2, a unit being a pair (arXiv:2310.12036 eq. 17).

    beta is the paper's tau: the margin aims at 1 / (2 beta) instead of growing without end. The log ratios are divided by
    the replies' lengths, as the authors' results were made (told to TRL's maintainers, whose trainer does the same).
    """

    beta: float = 0.1
    length_normalized: bool = True
    VERSION: ClassVar[int] = 1
    REFERENCE: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_beta("IPO", self.beta)

    def count(self, batch: PairBatch) -> Tensor:
        """Pairs whose two replies both have trained tokens."""
        return live_P(batch).sum()

    def total(self, logp_BT: Tensor, batch: PairBatch) -> Tensor:
        """The loss summed over pairs."""
        chosen_P, rejected_P = log_ratios(logp_BT, batch, per_token=self.length_normalized)
        return summed((chosen_P - rejected_P - 1 / (2 * self.beta)).square(), batch)

    def metrics(self, logp_BT: Tensor, batch: PairBatch) -> dict[str, Tensor]:
        """accuracy, margin, chosen_logratio, rejected_logratio, as in `ratio_metrics`."""
        return ratio_metrics(self.beta, *log_ratios(logp_BT.detach(), batch, per_token=self.length_normalized))


@dataclass(frozen=True, slots=True)
class APO:
    """Anchored preference optimisation (arXiv:2408.06266), with s(x) = sigmoid(beta x) and a unit being a pair.

    toward: "zero": 1 - s(chosen) + s(rejected), eq. 7: up with the chosen, down with the rejected, for chosen replies that
            are better than the model's own.
            "down": s(chosen) + 1 - s(chosen - rejected), eq. 8: both down, the rejected more, for a model that is better.
    """

    beta: float = 0.1
    toward: Literal["zero", "down"] = "zero"
    length_normalized: bool = False
    VERSION: ClassVar[int] = 1
    REFERENCE: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_beta("APO", self.beta)
        if self.toward not in ("zero", "down"):
            raise RecipeError(f'APO(toward={self.toward!r}): write "zero" or "down".')

    def count(self, batch: PairBatch) -> Tensor:
        """Pairs whose two replies both have trained tokens."""
        return live_P(batch).sum()

    def total(self, logp_BT: Tensor, batch: PairBatch) -> Tensor:
        """The loss summed over pairs."""
        chosen_P, rejected_P = log_ratios(logp_BT, batch, per_token=self.length_normalized)
        if self.toward == "zero":
            # 1 - sigmoid(x) = sigmoid(-x), without the rounding of the difference.
            return summed((-self.beta * chosen_P).sigmoid() + (self.beta * rejected_P).sigmoid(), batch)
        loss_P = (self.beta * chosen_P).sigmoid() + (self.beta * (rejected_P - chosen_P)).sigmoid()
        return summed(loss_P, batch)

    def metrics(self, logp_BT: Tensor, batch: PairBatch) -> dict[str, Tensor]:
        """accuracy, margin, chosen_logratio, rejected_logratio, as in `ratio_metrics`."""
        return ratio_metrics(self.beta, *log_ratios(logp_BT.detach(), batch, per_token=self.length_normalized))


def check_beta(loss: str, beta: float) -> None:
    """Raise RecipeError for a beta under which pairs would teach nothing."""
    if not beta > 0:
        raise RecipeError(f"{loss}(beta={beta}): must be above 0, or the pairs would teach nothing.")
