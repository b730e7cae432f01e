"""A loss in one file: SPPO with hard labels (arXiv:2405.00675 eq. 4.7), with the laws that every loss must obey.

python examples/loss.py
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from burnish.losses.batch import PairBatch, Sequences
from burnish.losses.pairs import live_P, log_ratios, ratio_metrics, summed
from burnish.testing.laws import check_loss


@dataclass(frozen=True, slots=True)
class SPPO:
    """(chosen − 1/(2β))² + (rejected + 1/(2β))²: each log-ratio has a goal of its own, not only their difference."""

    beta: float = 0.1
    VERSION: ClassVar[int] = 1
    REFERENCE: ClassVar[bool] = True  # reads the reference's log-probs, so the stage computes them

    def count(self, batch: PairBatch) -> Tensor:
        """Pairs; one without a trained token on either side counts as nothing."""
        return live_P(batch).sum()

    def total(self, logp_BT: Tensor, batch: PairBatch) -> Tensor:
        """The SUM over pairs; the learner divides by the count of the whole optimizer step."""
        chosen_P, rejected_P = log_ratios(logp_BT, batch, per_token=False)
        goal = 1 / (2 * self.beta)
        return summed((chosen_P - goal).square() + (rejected_P + goal).square(), batch)

    def metrics(self, logp_BT: Tensor, batch: PairBatch) -> dict[str, Tensor]:
        """Accuracy, margin and how far each reply drifted."""
        return ratio_metrics(self.beta, *log_ratios(logp_BT.detach(), batch, per_token=False))


def make_batch(seed: int) -> tuple[Tensor, PairBatch]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(6, 6, generator=generator) < 0.6
    mask[:, 0], mask[:, 1] = False, True
    logp = -torch.rand(6, 6, generator=generator, dtype=torch.float64) * mask
    rows = Sequences(torch.ones(6, 6, dtype=torch.long), torch.full((6,), 6), mask)
    return logp, PairBatch(rows, -torch.rand(6, generator=generator, dtype=torch.float64))


if __name__ == "__main__":
    check_loss(SPPO(), make_batch)
    logp, batch = make_batch(0)
    mean = float(SPPO().total(logp, batch) / SPPO().count(batch))
    print(f"SPPO obeys the laws; its loss on a random batch is {mean:.3f}")
