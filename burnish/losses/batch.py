"""What a loss sees. Shapes: B sequences, T positions, P pairs.

Position t of logp_BT is log p(token t | tokens before t) in nats; it is 0 wherever mask_BT is False.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sequences:
    """Token rows, right-padded. The policy packs them inside; losses never see padding as data.

    tokens_BT: int64, 0 beyond a row's length.
    lengths_B: int64, the real tokens of each row.
    mask_BT:   bool, True at the tokens whose log-probability counts. Never True at position 0 of a row.
    """

    tokens_BT: Tensor
    lengths_B: Tensor
    mask_BT: Tensor

    @property
    def size(self) -> int:
        """Real tokens, padding not counted."""
        return int(self.lengths_B.sum())


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Sequences to imitate (SFT)."""

    sequences: Sequences


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Preference pairs: rows 0..P-1 of `sequences` are the chosen replies, rows P..2P-1 the rejected, in the same order.

    ref_2P: the reference policy's summed log-prob of each row's masked tokens (nats).
    """

    sequences: Sequences
    ref_2P: Tensor


@dataclass(frozen=True, slots=True)
class RolloutBatch:
    """Sampled replies with their advantages (policy gradient).

    old_BT: log-probs under the policy that sampled, ref_BT: under the reference; both 0 off the mask. adv_BT: one number a token.
    """

    sequences: Sequences
    old_BT: Tensor
    ref_BT: Tensor
    adv_BT: Tensor


class Batch(Protocol):
    """Anything with sequences: what the learner needs to compute log-probs."""

    @property
    def sequences(self) -> Sequences:
        """The token rows."""


B_contra = TypeVar("B_contra", contravariant=True)


class Loss(Protocol[B_contra]):
    """A loss returns a SUM over its units and how many units there were; the learner divides by the count of the whole
    optimizer step, so micro-batches, padding, packing and ranks cannot change the gradient.
    """

    def count(self, batch: B_contra) -> Tensor:
        """How many units (tokens, sequences, pairs) this batch adds to the mean: a scalar."""

    def total(self, logp_BT: Tensor, batch: B_contra) -> Tensor:
        """The sum of the loss over those units: a scalar that carries the gradient."""

    def metrics(self, logp_BT: Tensor, batch: B_contra) -> dict[str, Tensor]:
        """Sums over the same units of what is worth logging; the learner divides by the same count."""
