"""What SFT, preference tuning and reward modelling share: passes over the rows of a dataset, a new order each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from burnish.losses.batch import Batch, Loss
from burnish.pipeline.stage import Context, Stage
from burnish.train.learner import Learner
from burnish.train.optimizer import AdamW, Optimizer
from burnish.train.rows import check_numbers, rows_of_step, split, steps_in
from burnish.train.schedule import Linear, Schedule
from burnish.train.session import Probe, Session


class TrainRow(Protocol):
    """A row, or a pair of rows, ready to be trained."""

    @property
    def id(self) -> str:
        """The id of the dataset's row."""

    @property
    def tokens(self) -> int:
        """Its tokens, prompts included."""


AnyRow = TypeVar("AnyRow", bound=TrainRow)
AnyBatch = TypeVar("AnyBatch", bound=Batch)


@dataclass(frozen=True)
class Epochs(Stage):
    """Abstract: trains `start` on the rows of `data`, whole epochs of them.

    global_batch: rows an optimizer step; an epoch's last step takes what is left.
    max_tokens:   longer rows are dropped and counted, never cut: a cut one would teach an ending that is none.
    """

    OWN_PROCESS: ClassVar[bool] = True

    start: Stage
    data: Stage
    epochs: int = 1
    global_batch: int = 128
    lr: Schedule = field(default_factory=lambda: Linear(5e-6))
    max_tokens: int = 2048
    optimizer: Optimizer = field(default_factory=AdamW)
    clip_norm: float = 1.0
    seed: int = 0

    def headline(self) -> dict[str, Any]:
        """Epochs, batch, learning rate and longest row."""
        return {
            "epochs": self.epochs, "global_batch": self.global_batch, "lr": self.lr.peak, "max_tokens": self.max_tokens,
        }  # fmt: skip

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for numbers that cannot work."""
        check_numbers(self.name, epochs=self.epochs, global_batch=self.global_batch, max_tokens=self.max_tokens)


def train_epochs(
    stage: Epochs, ctx: Context, learner: Learner, rows: Sequence[AnyRow], loss: Loss[AnyBatch],
    batch_of: Callable[[Sequence[AnyRow]], AnyBatch], *, probe: Probe | None = None,
) -> Session:  # fmt: skip
    """The loop over all steps that are left; returns the session, which the caller finishes.

    batch_of: some rows as one micro-batch.
    """
    steps = steps_in(len(rows), stage.global_batch, stage.epochs)
    with Session.open(ctx, learner, title=stage.name, steps=steps, probe=probe) as session:
        for step in session.remaining():
            chosen = [rows[i] for i in rows_of_step(step, len(rows), stage.global_batch, stage.seed)]
            parts = split(chosen, [row.tokens for row in chosen], ctx.machine.micro_tokens)
            names = [[row.id for row in part] for part in parts]
            found = learner.forward_backward([batch_of(part) for part in parts], loss, names=names)
            lr = stage.lr.lr(step, steps)
            norm = learner.step(lr)
            session.done(step, {"lr": lr, "grad_norm": norm, "tokens": sum(row.tokens for row in chosen), **found})
    return session
