"""Distillation: a student learns a teacher's probabilities of every trained token. Shapes: B sequences, T positions, k candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from burnish.errors import RecipeError
from burnish.losses.batch import TeacherBatch, weigh


@dataclass(frozen=True, slots=True)
class Distillation:
    """Forward KL(teacher || student) over k candidates of each trained token (arXiv:1503.02531 §2), a unit being a token.

    Probabilities are softmax(logits / T) with the temperature T of the batch; the KL is multiplied by T^2, as in the paper, so
    that its gradient keeps its size.
    rest: what becomes of the tokens that are no candidates.
          "bucket": together they are one more outcome: the KL of the two partitions, never above the whole KL and equal to
                    it where k is the vocabulary.
          "renormalized": they are left out, and both distributions are scaled to sum to 1 over the candidates; the student
                    is free to put mass elsewhere.
    nll:  the share of the data's own negative log-likelihood (at temperature 1): the loss is (1 - nll) T^2 KL + nll NLL.
    """

    rest: Literal["bucket", "renormalized"] = "bucket"
    nll: float = 0.0
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.rest not in ("bucket", "renormalized"):
            raise RecipeError(f'Distillation(rest={self.rest!r}): write "bucket" or "renormalized".')
        if not 0 <= self.nll < 1:
            raise RecipeError(
                f"Distillation(nll={self.nll}): must be in [0, 1); at 1 the teacher says nothing: use SFT."
            )

    def count(self, batch: TeacherBatch) -> Tensor:
        """Trained tokens, each as often as its row's weight says."""
        return weigh(batch.sequences.mask_BT.sum(1), batch.sequences, batch.weight_B).sum()

    def total(self, logp_BTk2: Tensor, batch: TeacherBatch) -> Tensor:
        """The weighted sum over tokens, in nats.

        logp_BTk2: the student's log-prob of the token itself at temperature 1; then, at the batch's temperature, of each
        candidate and of the rest.
        """
        loss_BT = (1 - self.nll) * batch.sequences.temperature**2 * self._kl(logp_BTk2, batch)
        if self.nll:
            loss_BT = loss_BT - self.nll * logp_BTk2[..., 0].masked_fill(~batch.sequences.mask_BT, 0.0)
        return weigh(loss_BT.sum(1), batch.sequences, batch.weight_B).sum()

    def metrics(self, logp_BTk2: Tensor, batch: TeacherBatch) -> dict[str, Tensor]:
        """`kl` and `nll` in nats a token; `agreement`: tokens whose likeliest candidate is the same for both;
        `rest`: the teacher's probability outside the candidates.
        """
        mask_BT, logp = batch.sequences.mask_BT, logp_BTk2.detach()
        agree_BT = logp[..., 1:-1].argmax(-1) == batch.teacher_BTk1[..., :-1].argmax(-1)
        found_BT = {
            "kl": self._kl(logp, batch),
            "nll": -logp[..., 0],
            "agreement": agree_BT.to(logp.dtype),
            "rest": batch.teacher_BTk1[..., -1].exp(),
        }
        return {
            name: weigh(value.masked_fill(~mask_BT, 0.0).sum(1), batch.sequences, batch.weight_B).sum()
            for name, value in found_BT.items()
        }

    def _kl(self, logp_BTk2: Tensor, batch: TeacherBatch) -> Tensor:
        """[B, T] KL of the two distributions over outcomes; 0 off the mask."""
        off_BT1 = ~batch.sequences.mask_BT[..., None]
        teacher, student = batch.teacher_BTk1.masked_fill(off_BT1, 0.0), logp_BTk2[..., 1:].masked_fill(off_BT1, 0.0)
        if self.rest == "renormalized":
            teacher, student = teacher[..., :-1], student[..., :-1].log_softmax(-1)
        # What is on disk was rounded, so that it sums to 1 only nearly.
        teacher = teacher.to(student.dtype).log_softmax(-1)
        share = teacher.exp()
        # An outcome that the teacher gives no probability (the rest, where every token is a candidate) adds 0, not 0 x inf.
        none = share == 0
        return (
            (share * (teacher.masked_fill(none, 0.0) - student.masked_fill(none, 0.0)))
            .masked_fill(off_BT1, 0.0)
            .sum(-1)
        )
