"""What a loss sees. Shapes: B sequences, T positions, P pairs.

Position t of logp_BT is log p(token t | tokens before t) in nats; it is 0 wherever mask_BT is False.

A batch is made of units that may be put into any micro-batch: rows, or pairs of rows. `units` is how many there are,
`rows(index)` the rows of some of them, `take(index)` the batch of only those. Units without any True in their mask are
padding: they count for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import torch
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

    def take(self, rows: Tensor) -> Sequences:
        """The rows at these indices, in that order."""
        return Sequences(self.tokens_BT[rows], self.lengths_B[rows], self.mask_BT[rows])


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Sequences to imitate (SFT)."""

    sequences: Sequences

    @property
    def units(self) -> int:
        """Rows."""
        return len(self.sequences.lengths_B)

    def rows(self, index: Tensor) -> Tensor:
        """The rows of some units."""
        return index

    def take(self, index: Tensor) -> TokenBatch:
        """The batch of only those units."""
        return TokenBatch(self.sequences.take(index))


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Preference pairs: rows 0..P-1 of `sequences` are the chosen replies, rows P..2P-1 the rejected, in the same order.

    ref_2P: the reference policy's summed log-prob of each row's masked tokens (nats).
    """

    sequences: Sequences
    ref_2P: Tensor

    @property
    def units(self) -> int:
        """Pairs."""
        return len(self.sequences.lengths_B) // 2

    def rows(self, index: Tensor) -> Tensor:
        """The rows of some pairs: their chosen rows, then their rejected rows."""
        return torch.cat([index, index + self.units])

    def take(self, index: Tensor) -> PairBatch:
        """The batch of only those pairs."""
        rows = self.rows(index)
        return PairBatch(self.sequences.take(rows), self.ref_2P[rows])


@dataclass(frozen=True, slots=True)
class ScoredPairBatch:
    """Preference pairs for a reward model, laid out as in PairBatch.

    margin_P: how much better the chosen reply is known to be, in units of the reward; 0 where nothing is known.
    """

    sequences: Sequences
    margin_P: Tensor

    @property
    def units(self) -> int:
        """Pairs."""
        return len(self.sequences.lengths_B) // 2

    def rows(self, index: Tensor) -> Tensor:
        """The rows of some pairs: their chosen rows, then their rejected rows."""
        return torch.cat([index, index + self.units])

    def take(self, index: Tensor) -> ScoredPairBatch:
        """The batch of only those pairs."""
        return ScoredPairBatch(self.sequences.take(self.rows(index)), self.margin_P[index])


@dataclass(frozen=True, slots=True)
class RolloutBatch:
    """Sampled replies with their advantages (policy gradient).

    old_BT: log-probs under the policy that sampled, ref_BT: under the reference; both 0 off the mask. adv_BT: one number a token.
    """

    sequences: Sequences
    old_BT: Tensor
    ref_BT: Tensor
    adv_BT: Tensor

    @property
    def units(self) -> int:
        """Rows."""
        return len(self.sequences.lengths_B)

    def rows(self, index: Tensor) -> Tensor:
        """The rows of some units."""
        return index

    def take(self, index: Tensor) -> RolloutBatch:
        """The batch of only those units."""
        return RolloutBatch(self.sequences.take(index), self.old_BT[index], self.ref_BT[index], self.adv_BT[index])


@dataclass(frozen=True, slots=True)
class ValueBatch:
    """Sampled replies with the returns a value model learns to predict.

    old_BT: the values when the replies were sampled, returns_BT: advantage + old value; both in reward units, 0 off the mask.
    """

    sequences: Sequences
    old_BT: Tensor
    returns_BT: Tensor

    @property
    def units(self) -> int:
        """Rows."""
        return len(self.sequences.lengths_B)

    def rows(self, index: Tensor) -> Tensor:
        """The rows of some units."""
        return index

    def take(self, index: Tensor) -> ValueBatch:
        """The batch of only those units."""
        return ValueBatch(self.sequences.take(index), self.old_BT[index], self.returns_BT[index])


class Batch(Protocol):
    """Anything with sequences, made of units: what the learner needs to compute log-probs and to make micro-batches."""

    @property
    def sequences(self) -> Sequences:
        """The token rows."""

    @property
    def units(self) -> int:
        """How many units, padding units included."""

    def rows(self, index: Tensor) -> Tensor:
        """int64 indices of the rows that belong to the units at these int64 indices."""

    def take(self, index: Tensor) -> Self:
        """The batch of only those units, in that order."""


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
        """Sums over the same units of what is worth logging, without gradient; the learner divides by the same count."""
