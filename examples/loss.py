"""A loss in one file: IPO (arXiv:2310.12036 eq. 17), with the laws that every loss must obey.

python examples/loss.py
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from burnish.losses.batch import PairBatch, Sequences
from burnish.testing.laws import check_loss


@dataclass(frozen=True, slots=True)
class IPO:
    """(h − 1/(2τ))² where h is the chosen log-ratio minus the rejected one; no sigmoid, so h cannot run away."""

    tau: float = 0.1
    VERSION: ClassVar[int] = 1

    def count(self, batch: PairBatch) -> Tensor:
        """Pairs; one without a trained token on either side counts as nothing."""
        return self._live_P(batch).sum()

    def total(self, logp_BT: Tensor, batch: PairBatch) -> Tensor:
        """The SUM over pairs; the learner divides by the count of the whole optimizer step."""
        logratio_2P = logp_BT.masked_fill(~batch.sequences.mask_BT, 0.0).sum(1) - batch.ref_2P
        chosen_P, rejected_P = logratio_2P.chunk(2)
        loss_P = (chosen_P - rejected_P - 1 / (2 * self.tau)) ** 2
        return loss_P.masked_fill(~self._live_P(batch), 0.0).sum()

    def _live_P(self, batch: PairBatch) -> Tensor:
        chosen_P, rejected_P = batch.sequences.mask_BT.any(1).chunk(2)
        return chosen_P & rejected_P

    def metrics(self, logp_BT: Tensor, batch: PairBatch) -> dict[str, Tensor]:
        """Nothing to log beyond the loss."""
        return {}


def make_batch(seed: int) -> tuple[Tensor, PairBatch]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(6, 6, generator=generator) < 0.6
    mask[:, 0], mask[:, 1] = False, True
    logp = -torch.rand(6, 6, generator=generator, dtype=torch.float64) * mask
    lengths = torch.full((6,), 6)
    rows = Sequences(torch.ones(6, 6, dtype=torch.long), lengths, mask)
    return logp, PairBatch(rows, -torch.rand(6, generator=generator, dtype=torch.float64))


if __name__ == "__main__":
    check_loss(IPO(), make_batch)
    logp, batch = make_batch(0)
    print(
        f"IPO obeys the laws; its loss on a random batch is {float(IPO().total(logp, batch) / IPO().count(batch)):.3f}"
    )
