"""What a loss sees. Shapes: B sequences, T positions, P pairs.

Position t of logp_BT is log p(token t | tokens before t) in nats; it is 0 wherever mask_BT is False.

A batch is made of units that may be put into any micro-batch: rows, or pairs of rows. `units` is how many there are,
`rows(index)` the rows of some of them, `take(index)` the batch of only those. Units without any True in their mask are
padding: they count for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

Value = TypeVar("Value")


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
class CandidateSequences(Sequences):
    """Sequences at whose masked tokens the log-probs of several candidates are asked for, not only of the token itself.

    candidates_BTk: int64, k different token ids for each position; the first is the token there. 0 off the mask.
    temperature:    what divides the logits of the distribution over candidates.
    """

    candidates_BTk: Tensor
    temperature: float = 1.0

    def take(self, rows: Tensor) -> CandidateSequences:
        """The rows at these indices, in that order."""
        return CandidateSequences(
            self.tokens_BT[rows], self.lengths_B[rows], self.mask_BT[rows], self.candidates_BTk[rows], self.temperature
        )


class OfRows:
    """A batch whose unit is a row."""

    __slots__ = ()
    sequences: Sequences

    @property
    def units(self) -> int:
        """Rows."""
        return len(self.sequences.lengths_B)

    def rows(self, index: Tensor) -> Tensor:
        """The rows of some units."""
        return index


class OfPairs:
    """A batch whose unit is a pair: rows 0..P-1 of `sequences` are one half, rows P..2P-1 the other, in the same order."""

    __slots__ = ()
    sequences: Sequences

    @property
    def units(self) -> int:
        """Pairs."""
        return len(self.sequences.lengths_B) // 2

    def rows(self, index: Tensor) -> Tensor:
        """The rows of some pairs: their chosen rows, then their rejected rows."""
        return torch.cat([index, index + self.units])


@dataclass(frozen=True, slots=True)
class TokenBatch(OfRows):
    """Sequences to imitate (SFT).

    weight_B: how much each row counts, 0 or more: 2 is the row twice, 0 is no row. None: every row counts 1.
    """

    sequences: Sequences
    weight_B: Tensor | None = None

    def take(self, index: Tensor) -> TokenBatch:
        """The batch of only those units."""
        return TokenBatch(self.sequences.take(index), None if self.weight_B is None else self.weight_B[index])


@dataclass(frozen=True, slots=True)
class TeacherBatch(OfRows):
    """Sequences at whose masked tokens a teacher is imitated (distillation).

    teacher_BTk1: the teacher's log-probs (nats), at the sequences' temperature, of the k candidates and, last, of all other
                  tokens together. Anything off the mask.
    weight_B:     as in TokenBatch.
    """

    sequences: CandidateSequences
    teacher_BTk1: Tensor
    weight_B: Tensor | None = None

    def take(self, index: Tensor) -> TeacherBatch:
        """The batch of only those units."""
        weight_B = None if self.weight_B is None else self.weight_B[index]
        return TeacherBatch(self.sequences.take(index), self.teacher_BTk1[index], weight_B)


@dataclass(frozen=True, slots=True)
class PairBatch(OfPairs):
    """Preference pairs: rows 0..P-1 of `sequences` are the chosen replies, rows P..2P-1 the rejected, in the same order.

    ref_2P: the reference policy's summed log-prob of each row's masked tokens (nats).
    """

    sequences: Sequences
    ref_2P: Tensor

    def take(self, index: Tensor) -> PairBatch:
        """The batch of only those pairs."""
        rows = self.rows(index)
        return PairBatch(self.sequences.take(rows), self.ref_2P[rows])


@dataclass(frozen=True, slots=True)
class ScoredPairBatch(OfPairs):
    """Preference pairs for a reward model, laid out as in PairBatch.

    margin_P: how much better the chosen reply is known to be, in units of the reward; 0 where nothing is known.
    """

    sequences: Sequences
    margin_P: Tensor

    def take(self, index: Tensor) -> ScoredPairBatch:
        """The batch of only those pairs."""
        return ScoredPairBatch(self.sequences.take(self.rows(index)), self.margin_P[index])


@dataclass(frozen=True, slots=True)
class RatedBatch(OfRows):
    """Single replies, each found good or bad (KTO).

    good_B: bool. ref_B: the reference policy's summed log-prob of each row's masked tokens (nats).
    kl_B:   how far the policy has moved from the reference (nats), estimated over the whole optimizer step: the same for all
            rows of a step, whatever micro-batch they are in.
    """

    sequences: Sequences
    good_B: Tensor
    ref_B: Tensor
    kl_B: Tensor

    def take(self, index: Tensor) -> RatedBatch:
        """The batch of only those units."""
        return RatedBatch(self.sequences.take(index), self.good_B[index], self.ref_B[index], self.kl_B[index])


@dataclass(frozen=True, slots=True)
class RolloutBatch(OfRows):
    """Sampled replies with their advantages (policy gradient). Anything off the mask.

    old_BT:    log-probs under the policy that sampled.
    ref_BT:    log-probs under the reference; None where there is none.
    adv_BT:    one number a token.
    weight_BT: what each token's part of the policy gradient is multiplied by, never differentiated: the importance of the
               learner's policy over the engine's that sampled, bounded. None: 1 everywhere.
    """

    sequences: Sequences
    old_BT: Tensor
    ref_BT: Tensor | None
    adv_BT: Tensor
    weight_BT: Tensor | None = None

    def take(self, index: Tensor) -> RolloutBatch:
        """The batch of only those units."""
        ref_BT, weight_BT = (None if x is None else x[index] for x in (self.ref_BT, self.weight_BT))
        return RolloutBatch(self.sequences.take(index), self.old_BT[index], ref_BT, self.adv_BT[index], weight_BT)


@dataclass(frozen=True, slots=True)
class ValueBatch(OfRows):
    """Sampled replies with the returns a value model learns to predict.

    old_BT: the values when the replies were sampled, returns_BT: advantage + old value; both in reward units, 0 off the mask.
    """

    sequences: Sequences
    old_BT: Tensor
    returns_BT: Tensor

    def take(self, index: Tensor) -> ValueBatch:
        """The batch of only those units."""
        return ValueBatch(self.sequences.take(index), self.old_BT[index], self.returns_BT[index])


def weigh(value_B: Tensor, sequences: Sequences, weight_B: Tensor | None) -> Tensor:
    """A number of each row [B] times the row's weight; the number itself where there are no weights.

    Rows without trained tokens are padding, whose weight means nothing: they give 0.
    """
    if weight_B is None:
        return value_B
    live_B = sequences.mask_BT.any(1).to(value_B.device)
    return value_B * weight_B.to(value_B.device).masked_fill(~live_B, 0.0)


def moved(value: Value, device: torch.device) -> Value:
    """The same batch with all its tensors on `device`; a batch that lies there already keeps its tensors."""
    if isinstance(value, Tensor):
        return value.to(device)  # type: ignore[return-value]
    if not is_dataclass(value) or isinstance(value, type):
        return value
    return replace(value, **{f.name: moved(getattr(value, f.name), device) for f in fields(value)})


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
